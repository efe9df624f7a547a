"""The hub of one process: its connection slots, open sessions and followers, the sweeper, and how all of it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from .. import concurrency, wire
from ..config import Settings
from ..errors import ServiceUnavailable, ThreadLimit
from ..model import Event
from ..store.store import Store
from .feed import Feed
from .follower import Bell, Follower
from .session import Session, Transport
from .subscription import Subscription
from .waiting import Waiting

logger = logging.getLogger("agentlip.hub")


class Hub:
    """All public methods may be called from any thread or greenlet; none of them blocks."""

    def __init__(self, store: Store, settings: Settings, instance_id: str) -> None:
        """Call it where the hub shall run: under gevent on the event loop's thread. Reads the log's head."""
        self.store = store
        self.settings = settings
        self.instance_id = instance_id
        self.draining = False
        self.feed = Feed(store, settings.queue_events, self._database_lost)
        self._open: set[Session] = set()  # counted: not yet closed
        self._present: set[Session] = set()  # until the reader has ended
        self._bells: set[Bell] = set()  # of all followers and callers who wait
        self._reserved = 0
        self._slots = settings.max_connections
        self._lock = concurrency.native_lock()  # of the count of slots
        self.ending = concurrency.native_lock()  # of the sessions' `closed_with`
        self._stopped = False
        self._stopping = concurrency.new_wakeup()
        self._tasks: list[concurrency.Task] = []

    def start(self) -> None:
        """Start the feed and the sweeper. Raises ThreadLimit; `close` it then."""
        self.feed.start()
        self._tasks.append(concurrency.spawn(self._sweep))

    def connection_count(self) -> int:
        """Open WebSockets of this process, whether or not they have said hello."""
        return len(self._open)

    def close_all(self) -> None:
        """Close every WebSocket of this process with 1001 `Server shutting down`."""
        for session in list(self._open):
            session.close(wire.SHUTTING_DOWN)

    def follow(
        self,
        after: int,
        channels: frozenset[str] | None,
        topics: frozenset[str] | None,
        listener: Callable[[Event], None] | None = None,
    ) -> Follower:
        """Follow the log after an event id, inside the process; a `listener` gets a greenlet or thread of its own.

        After `shut_down` the follower is closed from the start.
        """
        follower = Follower(self, after, Subscription(channels, topics))
        self._bells.add(follower.bell)
        if self.draining:  # asked after the adding: `shut_down` says so before it closes those it finds
            follower.close()
            return follower
        if listener is not None:
            try:
                follower.bell.tasks.append(concurrency.spawn(follower.call, listener))
            except ThreadLimit:
                follower.close()
                raise
        return follower

    def wait(
        self,
        seconds: float,
        channels: frozenset[str] | None,
        topics: frozenset[str] | None,
        is_gone: Callable[[], bool],
    ) -> Waiting:
        """Wait for events in one of the connection slots; use it with `with`.

        Raises ServiceUnavailable when no slot is free. `is_gone` says whether the caller has hung up: then the wait
        ends early, as it does at `shut_down`.
        """
        if not self.reserve():
            raise ServiceUnavailable("connection limit")
        waiting = Waiting(self, Subscription(channels, topics), seconds, is_gone)
        self._bells.add(waiting.bell)
        if self.draining:  # asked after the adding, as in `follow`
            waiting.bell.drop()
        return waiting

    def unfollow(self, bell: Bell) -> None:
        """It is to ring no more."""
        self._bells.discard(bell)
        self.feed.leave(bell)

    def limit_connections(self, slots: int) -> bool:
        """Have at most so many connection slots; True when there were more until now."""
        more, self._slots = self._slots > slots, min(self._slots, slots)
        return more

    @property
    def is_in_use(self) -> bool:
        """Whether a connection slot is taken, by a WebSocket or by a caller who waits."""
        return self._reserved > 0

    @property
    def has_room(self) -> bool:
        """Whether a connection slot is free now."""
        return self._reserved < self._slots

    def reserve(self) -> bool:
        """Take one of the connection slots; False when all are taken. Give it back with `release`."""
        with self._lock:
            if self._reserved >= self._slots:
                return False
            self._reserved += 1
            return True

    def release(self) -> None:
        """Give a reserved slot back."""
        with self._lock:
            self._reserved -= 1

    def open(self, transport: Transport) -> Session:
        """A new session over the transport; its reader must call `leave` at the end."""
        session = Session(self, transport)
        self._present.add(session)
        self._open.add(session)
        if self.draining:
            session.close(wire.SHUTTING_DOWN)
        return session

    def _database_lost(self) -> None:
        """Have clients come back later: they would wait here for events that do not come."""
        for session in list(self._open):
            session.close(wire.DATABASE_LOST)

    def forget(self, session: Session) -> None:
        """The session is closed: it is no longer counted and gets no events."""
        self._open.discard(session)
        self.feed.leave(session)

    def leave(self, session: Session) -> None:
        """The session's reader has ended."""
        session.end(wire.Close(1006, ""))
        self._present.discard(session)

    def shut_down(self, timeout: float = 0.0) -> None:
        """Take no new sessions, close all, and the followers; wait up to `timeout` seconds for the peers' answers."""
        self.draining = True
        deadline = time.monotonic() + timeout
        self.close_all()
        for bell in list(self._bells):
            bell.drop()
        while self._present and time.monotonic() < deadline:
            time.sleep(0.02)

    def stop(self) -> None:
        """End the feed and the sweeper."""
        self._stopped = True
        self.feed.stop()
        self._stopping.set()

    def close(self, timeout: float) -> None:
        """End everything, with a Close for each WebSocket; waits up to `timeout` seconds. Also twice."""
        deadline = time.monotonic() + timeout
        tasks = [task for bell in list(self._bells) for task in bell.tasks]
        self.shut_down(timeout / 2)
        self.stop()
        for session in list(self._present):
            session.drop()
        ended = concurrency.wait_for([*tasks, *self._tasks, *self.feed.tasks], deadline)
        while self._present and time.monotonic() < deadline:
            time.sleep(0.002)
        if self._present or not ended:
            logger.warning("The hub is still working %g s after it was closed", timeout)

    def _sweep(self) -> None:
        settings = self.settings
        pause = min(0.5, settings.hello_timeout / 4, settings.ping_interval / 4, settings.send_timeout / 4)
        while not self._stopped:
            self._stopping.wait(pause)
            now = time.monotonic()
            for session in list(self._present):
                try:
                    session.tick(now)
                except Exception:
                    logger.exception("A session's tick failed")
                    session.drop()
            for bell in [bell for bell in list(self._bells) if bell.is_forgotten()]:
                bell.drop()
