"""Giving up a call that another thread is making: for callers that are cancelled."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from urllib3.connection import HTTPConnection

from .errors import HubUnreachable

_current: ContextVar[GivingUp | None] = ContextVar("agentlip_giving_up", default=None)


class GivingUp:
    """All calls of one thread. `now` may be called from any other; the call then ends soon, whatever it waits for.

    Only connecting goes on to its end, and then nothing is sent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held while the socket is shut, so that no later call has it by then
        self._over = threading.Event()
        self._connection: HTTPConnection | None = None

    def begin(self) -> None:
        """Let the calls that this thread makes from now on be given up."""
        _current.set(self)

    def now(self) -> None:
        self._over.set()
        with self._lock:
            sock = None if self._connection is None else self._connection.sock
            if sock is not None:
                with suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)  # below TLS, which the other thread may be in

    def _use(self, connection: HTTPConnection | None) -> None:
        with self._lock:
            self._connection = connection

    def _check(self) -> None:
        if self._over.is_set():
            raise HubUnreachable("The call was given up")


@contextmanager
def giving_up(connection: HTTPConnection) -> Iterator[None]:
    """While this thread uses the connection. Raises HubUnreachable when its calls have been given up."""
    current = _current.get()
    if current is None:
        yield
        return
    current._use(connection)
    try:
        current._check()
        yield
    finally:
        current._use(None)


def sleep(seconds: float) -> None:
    """As time.sleep. Raises HubUnreachable when the calls of this thread are given up."""
    current = _current.get()
    if current is None:
        time.sleep(seconds)
    else:
        current._over.wait(seconds)
        current._check()
