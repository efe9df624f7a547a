"""One WebSocket's bytes: the handshake, and after it the only reader and writer of the socket.

simple-websocket only tells where each server keeps its socket.  It never writes: it sends once and
ignores the count, so a slow client would get cut frames.  Its reader thread is never started either:
`run` is the only reader, on the greenlet or thread that accepted the request.  Writes never block:
see hub.sendqueue.

Closing: the Close frame goes out behind nothing but a half-sent frame, then the write side is
shut, and the reader waits for the peer's Close; the hub's sweeper ends what takes too long.
"""

from __future__ import annotations

import base64
import hashlib
import select
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from simple_websocket import Server

from .. import concurrency, wire
from ..config import Settings
from ..hub.sendqueue import SendQueue, Verdict
from ..hub.session import Session
from .inbound import Inbound, Violation

SEND_BUFFER = 128 * 1024
RECEIVE_BYTES = 16 * 1024
_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
)
CLOSE_SECONDS = 2.0
# A slow consumer may still be reading what the kernel holds; the Close frame waits behind it.
BACKPRESSURE_CLOSE_SECONDS = 10.0


class _NoThread:
    """Stands in for the thread and event classes of simple-websocket: nothing starts."""

    name = ""

    def __init__(self, **_kwargs: Any) -> None:
        pass

    def start(self) -> None:
        pass

    def set(self) -> None:
        pass


class _Finder(Server):  # type: ignore[misc]
    def handshake(self) -> None:
        """Ours is made below."""
        self.connected = True


def find_socket(environ: dict[str, Any]) -> tuple[socket.socket, str]:
    """The socket of a request, and the kind of server it came from. Raises when the server does not show it."""
    sock: socket.socket | None = environ.get("gunicorn.socket")
    mode = "gunicorn"
    if sock is None:
        server = _Finder(environ, thread_class=_NoThread, event_class=_NoThread)
        sock, mode = server.sock, server.mode
    assert sock is not None
    return sock, mode


def switch_protocols(sock: socket.socket, environ: Mapping[str, Any]) -> None:
    """Answer 101 to a request that the caller has checked; may block. Raises OSError when the peer is gone.

    No extension is taken up: with deflate a socket would hold 141 KB.
    """
    digest = hashlib.sha1(environ["HTTP_SEC_WEBSOCKET_KEY"].strip().encode() + _KEY_SUFFIX).digest()
    sock.sendall(_SWITCHING % base64.b64encode(digest))


class SocketTransport:
    """Implements hub.session.Transport. `run` is for the owner; the rest may be called from anywhere."""

    def __init__(self, sock: socket.socket, settings: Settings) -> None:
        self._sock = sock
        self._native = concurrency.native_socket(sock)
        self._queue = SendQueue(self._native.send, settings.queue_events, settings.queue_bytes)
        self.offer: Callable[[bytes, int], Verdict] = self._queue.offer
        self._send_timeout = settings.send_timeout
        self._deadline: float | None = None
        self._flushing = False
        self._session: Session | None = None
        self.last_inbound = time.monotonic()
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * max(30.0, 2 * settings.ping_interval))
            )

    def run(self, session: Session) -> None:
        """Read until the connection is over; blocks. Afterwards nothing is written to the socket."""
        self._session = session
        inbound = Inbound()
        try:
            while data := self._sock.recv(RECEIVE_BYTES):
                self.last_inbound = time.monotonic()
                if not self._receive(session, inbound, data):
                    break
                if self._deadline is not None and self.last_inbound > self._deadline:
                    break
                if len(data) > RECEIVE_BYTES // 4:
                    concurrency.cede()  # under gevent a socket that always has bytes never waits: others must run
        except OSError:
            pass  # reset, timed out or shut down by `kill`: the connection is over
        finally:
            self._finish()

    def _receive(self, session: Session, inbound: Inbound, data: bytes) -> bool:
        try:
            for kind, payload in inbound.feed(data):
                if isinstance(payload, wire.Close):
                    if session.end(payload):
                        self.close(payload)
                    return False
                if kind == wire.PING:
                    self.settle(self._queue.control(wire.frame(wire.PONG, payload)))  # type: ignore[arg-type]
                elif kind != wire.PONG:
                    session.on_message(payload)
        except Violation as violation:
            session.close(violation.close)
        return True

    def _finish(self) -> None:
        unsent = not self._queue.is_empty
        self._queue.discard()
        if unsent:
            self._reset_on_close()
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        while self._flushing:  # woken by the shutdown; it must not poll a descriptor that has a new owner
            time.sleep(0.001)
        self._native.detach()

    def ping(self) -> None:
        self.settle(self._queue.control(wire.frame(wire.PING, b"")))

    def close(self, close: wire.Close) -> None:
        patience = BACKPRESSURE_CLOSE_SECONDS if close == wire.BACKPRESSURE else CLOSE_SECONDS
        self._deadline = time.monotonic() + patience
        verdict = self._queue.close(wire.close_frame(close) if close.code != 1005 else wire.frame(wire.CLOSE, b""))
        if verdict is Verdict.SENT:
            self._half_close()
        else:
            self.settle(verdict)

    def kill(self) -> None:
        if not self._queue.is_empty:
            self._reset_on_close()
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def overdue(self, now: float) -> bool:
        return self._deadline is None or now > self._deadline

    def settle(self, verdict: Verdict) -> None:
        """Act on a verdict of the queue: start the flusher, or give up a broken socket."""
        if verdict is Verdict.STALLED:
            self._flushing = True
            concurrency.spawn(self._flush)
        elif verdict is Verdict.CLOSED and self._queue.error is not None:
            self._failed(self._queue.error)

    def _failed(self, error: OSError) -> None:
        """A write failed. A lost peer needs no Close; anything else is worth a try."""
        self._queue.error = None
        if self._session is not None:
            self._session.end(wire.SEND_FAILED)
        if not isinstance(error, ConnectionError):
            with suppress(OSError):
                self._native.send(wire.close_frame(wire.SEND_FAILED), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        self.kill()

    def _flush(self) -> None:
        """The flusher: started at a stall, it ends when everything is with the kernel."""
        try:
            while self._wait_writable():
                verdict = self._queue.flush()
                if verdict is Verdict.CLOSED:
                    self.settle(verdict)
                    break
                if verdict is Verdict.SENT:
                    if self._deadline is not None:
                        self._half_close()
                    elif self._session is not None:
                        self._session.on_drained()
                    if self._queue.finish_flush():
                        break
        finally:
            self._flushing = False

    def _wait_writable(self) -> bool:
        """Wait until the kernel takes bytes; a peer that takes none for the send timeout is closed."""
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLOUT)
        if poll.poll(1000 * self._send_timeout):
            return True
        if self._session is not None and self._deadline is None:
            self._session.close(wire.BACKPRESSURE)
        if poll.poll(1000 * BACKPRESSURE_CLOSE_SECONDS):
            return True
        self.kill()
        return False

    def _half_close(self) -> None:
        self._deadline = time.monotonic() + CLOSE_SECONDS
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def _reset_on_close(self) -> None:
        with suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
