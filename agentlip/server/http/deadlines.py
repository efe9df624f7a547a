"""How long a body may take to arrive, below any server.

Servers wait for the bytes of a body as long as the peer likes.  When the time is over the reading side of the
connection is shut: whichever thread or greenlet waits for it then meets the end, and the answer can still be sent.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress

from ... import concurrency

_TICK_SECONDS = 0.25


class Deadlines:
    """Connections whose bodies are being read; any thread or greenlet may call."""

    def __init__(self) -> None:
        self._lock = concurrency.native_lock()
        self._ends: dict[socket.socket, float] = {}
        self._watched = False

    def start(self, sock: socket.socket, seconds: float) -> None:
        """Give the reader of this connection so many seconds; it says `stop` when it is done."""
        with self._lock:
            self._ends[sock] = time.monotonic() + seconds
            if self._watched:
                return
            self._watched = True
        try:
            concurrency.spawn(self._watch)
        except BaseException:
            self._watched = False
            raise

    def stop(self, sock: socket.socket) -> bool:
        """The reader is done; whether it was in time."""
        with self._lock:
            return self._ends.pop(sock, None) is not None

    def _watch(self) -> None:
        """Runs while bodies are being read. The lock is held over the shutdown: nobody may close the socket before."""
        while True:
            time.sleep(_TICK_SECONDS)
            now = time.monotonic()
            with self._lock:
                for sock in [sock for sock, end in self._ends.items() if now > end]:
                    del self._ends[sock]
                    _shut_reading(sock)
                if not self._ends:
                    self._watched = False
                    return


def _shut_reading(sock: socket.socket) -> None:
    with suppress(OSError, ValueError):
        native = concurrency.native_socket(sock)  # an SSL socket would forget its encryption at a shutdown
        try:
            native.shutdown(socket.SHUT_RD)
        finally:
            native.detach()
