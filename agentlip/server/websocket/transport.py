"""A WebSocket's bytes: the handshake, and after it frames.

simple-websocket, which flask-sock would run here, sends once and ignores the count, so a slow client would get cut
frames.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Sequence

from ... import wire
from ...hub.sendqueue import SendQueue
from ...hub.session import Session
from ...store.log import Entry
from .inbound import Inbound, Violation
from .queued import QueuedTransport

_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
)


def switching_protocols(key: str) -> bytes:
    """The answer 101 to a request that the caller has checked.

    No extension is taken up: with deflate a socket would hold 141 KB.
    """
    return _SWITCHING % base64.b64encode(hashlib.sha1(key.strip().encode() + _KEY_SUFFIX).digest())


def encode(entries: Sequence[Entry]) -> bytes:
    """Events as frames."""
    return wire.frames([entry.envelope for entry in entries])


class FrameQueue(SendQueue):
    """Nothing goes between the two parts of a half-sent WebSocket frame."""

    __slots__ = ()
    last_words = wire.close_frame(wire.SEND_FAILED)
    ends = staticmethod(wire.frame_ends)


class SocketTransport(QueuedTransport):
    """Implements hub.session.Transport for a WebSocket."""

    queue = FrameQueue
    encode = staticmethod(encode)

    def run(self, session: Session) -> None:
        self._inbound = Inbound()
        super().run(session)

    def _receive(self, session: Session, data: bytes) -> bool:
        try:
            for kind, payload in self._inbound.feed(data):
                if isinstance(payload, wire.Close):
                    if session.end(payload):
                        self.close(payload)
                    self._wait_for_answer()
                    return False
                if kind == wire.PING:
                    self.settle(self._queue.control(wire.frame(wire.PONG, payload)))  # type: ignore[arg-type]
                elif kind != wire.PONG:
                    session.on_message(payload)
        except Violation as violation:
            session.close(violation.close)
        return True

    def _wait_for_answer(self) -> None:
        """The peer has closed and may be reading what was sent before: our Close is behind it."""
        while self._queue.is_flushing and not self.overdue(time.monotonic()):
            time.sleep(0.005)

    def message(self, payload: bytes) -> bytes:
        return wire.frame(wire.TEXT, payload)

    def ping(self) -> None:
        self.settle(self._queue.control(wire.frame(wire.PING, b"")))

    def _farewell(self, close: wire.Close) -> bytes:
        return wire.close_frame(close) if close.code != 1005 else wire.frame(wire.CLOSE, b"")
