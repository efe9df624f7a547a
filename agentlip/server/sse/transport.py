"""A stream of server-sent events: what goes out, and a peer that has nothing to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from ... import wire
from ...config import Settings
from ...hub.sendqueue import SendQueue
from ...hub.session import Session
from ...store.log import Entry
from ..websocket.queued import QueuedTransport
from ..websocket.stream import TcpStream

# A peer that sends more than this is no reader of a stream.
MAX_INBOUND_BYTES = 64 * 1024


def encode(entries: Sequence[Entry]) -> bytes:
    return wire.sse_events([entry.envelope for entry in entries])


class EventQueue(SendQueue):
    """Nothing goes between the two parts of a half-sent event."""

    __slots__ = ()
    ends = staticmethod(wire.sse_ends)


class EventStream(QueuedTransport):
    """Implements hub.session.Transport; `head` is asked for with each heartbeat."""

    queue = EventQueue
    encode = staticmethod(encode)
    ping_seconds: ClassVar[float] = 15.0
    is_answered: ClassVar[bool] = False

    def __init__(self, head: Callable[[], int], stream: TcpStream, settings: Settings) -> None:
        super().__init__(stream, settings)
        self._head = head
        self._inbound = 0

    def _receive(self, session: Session, data: bytes) -> bool:
        self._inbound += len(data)
        return self._inbound <= MAX_INBOUND_BYTES

    def message(self, payload: bytes) -> bytes:
        """The first words: the answer to a hello is the only message, and nobody has said one here."""
        return wire.SSE_START

    def ping(self) -> None:
        self.settle(self._queue.control(wire.sse_heartbeat(self._head())))

    def _farewell(self, close: wire.Close) -> bytes:
        return wire.SSE_SHUTDOWN if close == wire.SHUTTING_DOWN else b""
