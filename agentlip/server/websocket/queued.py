"""The bytes of one socket that the server has left to us: its only reader and writer, whatever is spoken on it.

`run` is the only reader, on the greenlet or thread that accepted the request.  Writes never block: see hub.sendqueue;
what they write to is a stream.

Closing: the last words go out behind nothing but a half-sent frame, then the write side is shut, and the reader waits
for the peer's end; the hub's sweeper ends what takes too long.
"""

from __future__ import annotations

import logging
import math
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import ClassVar

from ... import concurrency, wire
from ...config import Settings
from ...hub.sendqueue import SendQueue, Verdict
from ...hub.session import Session
from ...store.log import Entry
from .stream import TcpStream

SEND_BUFFER = 128 * 1024
RECEIVE_BYTES = 16 * 1024
# Once it is closing: what comes may be thousands of tiny frames, which only delay others.
CLOSING_RECEIVE_BYTES = 1024
CLOSE_SECONDS = 2.0
# A slow consumer may still be reading what the kernel holds; the Close frame waits behind it.
BACKPRESSURE_CLOSE_SECONDS = 10.0
FLUSHER_END_SECONDS = 10.0

logger = logging.getLogger("agentlip.ws")


class QueuedTransport:
    """Implements what all kinds of hub.session.Transport share; a kind says what it sends, and reads what comes.

    `run` and `finish` are for the owner; the rest may be called from anywhere.
    """

    queue: ClassVar[type[SendQueue]]
    ping_seconds: ClassVar[float] = math.inf
    is_answered: ClassVar[bool] = True

    def __init__(self, stream: TcpStream, settings: Settings) -> None:
        self._stream = stream
        self._queue = self.queue(stream.send, settings.queue_events, settings.queue_bytes)
        self.offer: Callable[[bytes, int], Verdict] = self._queue.offer
        self._send_timeout = settings.send_timeout
        self._patience = CLOSE_SECONDS
        self._deadline: float | None = None  # of a closing handshake
        self._session: Session | None = None
        self.last_inbound = time.monotonic()  # or the last time that a peer that is behind has read something
        stream.set_option(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        stream.set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        vanished_after = int(1000 * max(30.0, 2 * settings.ping_interval))
        stream.set_option(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, vanished_after)

    def run(self, session: Session) -> None:
        """Read until the connection is over; blocks. The owner must call `finish` afterwards."""
        self._session = session
        recv = self._stream.recv
        with suppress(OSError):  # reset, timed out or shut down by `kill`: the connection is over
            size = RECEIVE_BYTES
            while data := recv(size):
                self.last_inbound = time.monotonic()
                if not self._receive(session, data):
                    break
                if self._deadline is not None and self.last_inbound > self._deadline:
                    break
                if len(data) > size // 4:
                    concurrency.cede()  # under gevent a socket that always has bytes never waits: others must run
                if self._deadline is not None:
                    size = CLOSING_RECEIVE_BYTES

    @staticmethod
    def encode(entries: Sequence[Entry]) -> bytes:
        raise NotImplementedError

    def message(self, payload: bytes) -> bytes:
        raise NotImplementedError

    def ping(self) -> None:
        raise NotImplementedError

    def _receive(self, session: Session, data: bytes) -> bool:
        """Take in what the peer says; False when the connection is over."""
        raise NotImplementedError

    def _farewell(self, close: wire.Close) -> bytes:
        """The last that the peer is sent."""
        raise NotImplementedError

    def finish(self) -> None:
        """End the connection; afterwards nothing is written to the socket, which the server may close."""
        unsent = not self._queue.is_empty
        self._queue.discard()
        if unsent:
            self._reset_on_close()
        self._stream.shut_down(socket.SHUT_RDWR)
        deadline = time.monotonic() + FLUSHER_END_SECONDS
        # The shutdown wakes it, unless it reads a page; it must not poll a descriptor that has a new owner.
        while self._queue.is_flushing and time.monotonic() < deadline:
            time.sleep(0.001)
        self._stream.release()

    def close(self, close: wire.Close) -> None:
        self._patience = BACKPRESSURE_CLOSE_SECONDS if close == wire.BACKPRESSURE else CLOSE_SECONDS
        self._deadline = time.monotonic() + self._patience
        self.settle(self._queue.close(self._farewell(close)))

    def kill(self) -> None:
        if not self._queue.is_empty:
            self._reset_on_close()
        self._stream.shut_down(socket.SHUT_RDWR)

    def overdue(self, now: float) -> bool:
        return self._deadline is None or now > self._deadline

    def settle(self, verdict: Verdict) -> None:
        """Act on a verdict of the queue: start the flusher, end our side, or give up a broken socket."""
        if verdict is Verdict.STALLED:
            self._start_flusher()
        elif verdict is Verdict.FINISHED:
            self._deadline = time.monotonic() + self._patience
            self._stream.shut_down(socket.SHUT_WR)
        elif verdict is Verdict.CLOSED and self._queue.error is not None:
            self._give_up(wire.SEND_FAILED)

    def _give_up(self, close: wire.Close) -> None:
        if self._session is not None:
            self._session.end(close)
        self.kill()

    def _start_flusher(self) -> None:
        try:
            concurrency.spawn(self._flush)
        except Exception:  # no more threads
            self._stop_flushing()

    def _flush(self) -> None:
        """The flusher: started at a stall, it ends when everything is with the kernel."""
        try:
            while self._wait_writable():
                verdict = self._queue.flush()
                if verdict is Verdict.SENT:
                    if self._session is not None:
                        self._session.on_drained()
                    if self._queue.finish_flush():
                        return  # from now on the next stall has a flusher of its own
                elif verdict is not Verdict.QUEUED:
                    self.settle(verdict)
                    break
            self._queue.abandon()
        except Exception:
            self._stop_flushing()

    def _stop_flushing(self) -> None:
        logger.exception("A slow WebSocket was dropped: the bytes that wait for it cannot be sent")
        self._queue.abandon()
        self._give_up(wire.Close(1006, ""))

    def _wait_writable(self) -> bool:
        """Wait until the kernel takes bytes; a peer that has read none of them for the send timeout is closed.

        The kernel takes none before a good part of its buffer is free, which may be long with a peer that reads slowly
        but all the time: what it has read shows in steps, and on one machine they are as large as its kernel's buffer.
        So half the time more is given for the first step, and twice the time for further ones.
        """
        stream, pause, patience = self._stream, min(1.0, self._send_timeout / 4), 1.5 * self._send_timeout
        since, left = time.monotonic(), 0
        while not stream.wait_writable(pause):
            now, before = time.monotonic(), left
            left = stream.unacknowledged()
            if left < before:
                self.last_inbound = since = now
                patience = 2 * self._send_timeout
                if self._deadline is not None:
                    self._deadline = now + self._patience
            elif self._deadline is not None:
                if now > self._deadline:
                    self.kill()
                    return False
            elif now - since > patience and self._session is not None:
                self._session.close(wire.BACKPRESSURE)
        self.last_inbound = time.monotonic()
        return True

    def _reset_on_close(self) -> None:
        self._stream.set_option(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
