"""One WebSocket as a state machine: HELLO -> REPLAY -> LIVE -> CLOSED. It owns the cursor.

| state  | a message comes        | what goes out                                  | leaves when             |
| HELLO  | it must be hello       | none                                           | hello is answered       |
| REPLAY | close 1003             | pages of the log, paced by the client          | caught up with the live |
| LIVE   | close 1003             | what the registry delivers                     | close                   |
| CLOSED | ignored                | none                                           | never                   |

`on_message` is called by the socket's reader; `on_drained` by the flusher, after a stall; the
registry calls `deliver`; anybody may `close`.  Nothing here blocks, but for the page read from the log.

Each field has one owner.  Until LIVE the cursor and the stage belong to who drives the session: the
reader up to its answer to hello, then who holds `_driving`.  `closed_with` is set once, under the hub's
lock, and makes the session CLOSED whatever its stage.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from .. import concurrency, wire
from ..config import Settings
from ..errors import ThreadLimit
from ..store.store import Store
from .feed import Feed
from .pages import PAGE_EVENTS
from .registry import Encode
from .sendqueue import Verdict
from .subscription import Subscription

_EVERYTHING = Subscription(None, None)

logger = logging.getLogger("agentlip.hub")


class State(enum.Enum):
    HELLO = "hello"
    REPLAY = "replay"
    LIVE = "live"
    CLOSED = "closed"


class Transport(Protocol):
    """What moves the bytes of one socket. No method blocks."""

    ping_seconds: ClassVar[float]  # between two pings, at most
    is_answered: ClassVar[bool]  # whether a peer that says nothing is a dead one
    last_inbound: float  # time.monotonic() of the last sign of life: a byte received, or taken after a stall

    @property
    def offer(self) -> Callable[[bytes, int], Verdict]:
        """The send queue's `offer`."""

    @property
    def encode(self) -> Encode:
        """What is sent for events; the same function for all sockets."""

    def message(self, payload: bytes) -> bytes:
        """What is sent for any other message."""

    def settle(self, verdict: Verdict) -> None:
        """Act on a verdict of `offer` that is neither SENT nor OVERFLOW."""

    def ping(self) -> None: ...

    def close(self, close: wire.Close) -> None:
        """Send a Close frame and let the peer answer it; the reader ends soon afterwards."""

    def kill(self) -> None:
        """Drop the connection at once."""

    def overdue(self, now: float) -> bool:
        """A closing connection whose peer has used up its time."""


Ids = frozenset[str] | None


class Guest(Protocol):
    """Who is at the other end, if that is of importance."""

    def farewell(self) -> wire.Close | None:
        """How the session ends, once it must; asked at each tick."""

    def visible(self, channels: Ids, topics: Ids) -> tuple[Ids, Ids]:
        """What may be seen of these; both None means everything. Raises AgentlipError when it cannot be found out."""


class Home(Protocol):
    """What a session needs of its hub."""

    settings: Settings
    instance_id: str
    store: Store
    feed: Feed
    ending: Any  # the native lock of all sessions' `closed_with`

    def forget(self, session: Session) -> None: ...


class Session:
    """Made by Hub.open; see the table above."""

    __slots__ = (
        "__weakref__",
        "_boundary",
        "_driving",
        "_hub",
        "_next_ping",
        "_offer",
        "_stage",
        "closed_with",
        "cursor",
        "encode",
        "guest",
        "opened",
        "subscription",
        "transport",
    )  # fmt: skip

    def __init__(self, hub: Home, transport: Transport) -> None:
        self._hub = hub
        self.transport = transport
        self._offer = transport.offer
        self.encode = transport.encode
        self._stage = State.HELLO
        self.subscription = _EVERYTHING
        self.cursor = 0
        self._boundary = 0
        self._driving = threading.Lock()
        self.opened = time.monotonic()
        self._next_ping = self.opened + min(hub.settings.ping_interval, transport.ping_seconds)
        self.closed_with: wire.Close | None = None
        self.guest: Guest | None = None  # whose leave may end, or who may not see everything

    @property
    def state(self) -> State:
        return self._stage if self.closed_with is None else State.CLOSED

    def on_message(self, message: str | bytes) -> None:
        """The reader received a whole message."""
        if self.state is State.HELLO:
            hello = wire.parse_hello(message)
            if isinstance(hello, wire.Close):
                self.close(hello)
            else:
                self.answer(hello)
        elif self.state is not State.CLOSED:
            self.close(wire.UNEXPECTED_MESSAGE)

    def answer(self, hello: wire.Hello) -> None:
        """Begin with what the hello asks for; for the reader, once."""
        wanted = hello.channels, hello.topics
        try:
            oldest, head = self._hub.store.bounds()
            if self.guest is not None:
                wanted = self.guest.visible(*wanted)
        except Exception:
            self._replay_failed()
            return
        reason = None
        if hello.db_id is not None and hello.db_id != self._hub.store.db_id:
            reason = "epoch"
        elif hello.after_event_id > head:
            reason = "ahead"
        self.subscription = Subscription(*wanted)
        self.cursor = int(min(hello.after_event_id, head))
        self._boundary = head  # the tailer may be behind it; a replay is paced, so it goes there by itself
        self._stage = State.REPLAY
        answer = wire.hello_ok(head, self._hub.instance_id, self._hub.store.db_id, oldest, reason)
        sent = self._send(self.transport.message(answer), 0)
        if head > self._hub.feed.position:
            self._hub.feed.wake()
        if sent and head - self.cursor > PAGE_EVENTS:
            try:
                concurrency.spawn(self.on_drained)  # a long replay must not keep the reader from reading
            except ThreadLimit:
                self._replay_failed()
        elif sent:
            self.on_drained()

    def on_drained(self) -> None:
        """All bytes so far are with the kernel: send further pages until it refuses some, then go live."""
        # The lock: a pong that stalls during a replay starts a flusher, which then comes here too.
        with self._driving:
            try:
                while self.state is State.REPLAY and self._send_page():
                    concurrency.cede()
            except Exception:
                self._replay_failed()

    def _send_page(self) -> bool:
        """Send one page, or go live; True when the next page may follow at once."""
        feed, wanted = self._hub.feed, self.subscription
        until = max(feed.position, self._boundary)
        if wanted.is_nothing or self.cursor >= until:
            # Marked first: what the registry delivers right after joining belongs to a live session.
            self._stage = State.LIVE
            if feed.join(self):
                if self.is_closed:  # `end` may have looked for it before it was there
                    feed.leave(self)
                return False
            self._stage = State.REPLAY
            return True
        page = feed.pages.next(self.cursor, until, wanted, self.encode)
        self.cursor = page.last_id
        return not page.events or self._send(page.blob, page.events)

    def deliver(self, blob: bytes, events: int) -> None:
        """The registry's call: encoded live events, in order."""
        verdict = self._offer(blob, events)
        if verdict is not Verdict.SENT:
            self._settle(verdict)

    def _send(self, blob: bytes, events: int) -> bool:
        """Offer bytes; True when they are all with the kernel and more may follow at once."""
        verdict = self._offer(blob, events)
        if verdict is not Verdict.SENT:
            self._settle(verdict)
        return verdict is Verdict.SENT

    def _settle(self, verdict: Verdict) -> None:
        if verdict is Verdict.OVERFLOW:
            self.close(wire.BACKPRESSURE)  # nobody else waits for a slow consumer
        else:
            self.transport.settle(verdict)

    def _replay_failed(self) -> None:
        logger.exception("A replay failed")
        self.close(wire.REPLAY_FAILED)

    @property
    def is_closed(self) -> bool:
        return self.closed_with is not None

    def close(self, close: wire.Close) -> None:
        """Leave the live set and close the socket with the code and reason; the first call counts. Never raises."""
        if self.end(close):
            try:
                self.transport.close(close)
            except Exception:
                logger.exception("A WebSocket could not be closed; it is dropped")
                self._kill()

    def drop(self) -> None:
        """The peer is gone, or must go: no Close frame. Never raises."""
        self.end(wire.Close(1006, ""))
        self._kill()

    def _kill(self) -> None:
        try:
            self.transport.kill()
        except Exception:
            logger.exception("A WebSocket could not be dropped")

    def end(self, close: wire.Close) -> bool:
        """Become CLOSED with this code, for the log; False when it already was."""
        with self._hub.ending:  # two may come at once: one of them sends its Close, and that one is in the log
            if self.closed_with is not None:
                return False
            self.closed_with = close
        self._hub.forget(self)
        return True

    def tick(self, now: float) -> None:
        """The sweeper's call: hello timeout, pings, dead peers, closing handshakes that take too long."""
        if self.is_closed:
            if self.transport.overdue(now):
                self.transport.kill()
        elif self.state is State.HELLO and now - self.opened > self._hub.settings.hello_timeout:
            self.close(wire.HELLO_TIMEOUT)
        elif self.transport.is_answered and now - self.transport.last_inbound > 2 * self._hub.settings.ping_interval:
            self.drop()
        elif self.guest is not None and (farewell := self.guest.farewell()) is not None:
            self.close(farewell)
        elif now >= self._next_ping:
            self._next_ping = now + min(self._hub.settings.ping_interval, self.transport.ping_seconds)
            self.transport.ping()
