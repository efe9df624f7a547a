"""A subscriber inside the process: host code that reads the log as it grows.

It reads pages from the log itself and takes from the registry only the wake-up, so it needs no queue and can be as
slow as it likes. One thread or greenlet iterates at a time; `close` may be called from any.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from .. import concurrency
from ..model import Event
from ..store import log
from ..store.store import Store
from .feed import Feed
from .subscription import Subscription

_PAGE_EVENTS = 250
# Wake-ups come through the registry; this is only the net below them.
_LOOK_SECONDS = 1.0

logger = logging.getLogger("agentlip.hub")


class Home(Protocol):
    """What a follower needs of its hub."""

    store: Store
    feed: Feed

    def unfollow(self, bell: Bell) -> None: ...


class Bell:
    """What the hub knows of who waits for events: rung when something matching was published, until it is dropped.

    It does not keep a follower alive: hosts forget to close what they no longer use, and threads end.
    """

    def __init__(self, hub: Home, subscription: Subscription, is_forgotten: Callable[[], bool]) -> None:
        """`is_forgotten` is asked now and then, of any thread, whether nobody has a use for it any more."""
        self.subscription = subscription
        self.cursor = hub.feed.position
        self.is_forgotten = is_forgotten
        self.closed = False
        self.tasks: list[concurrency.Task] = []  # the one that calls a listener
        self.wakeup: concurrency.Wakeup | None = None  # while nobody waits yet, nobody need be woken
        self._hub = hub

    def join(self) -> None:
        """From now on it rings."""
        while not self._hub.feed.join(self):
            self.cursor = self._hub.feed.position

    @staticmethod
    def encode(_entries: Sequence[log.Entry]) -> bytes:
        """Nothing: a follower reads the log itself."""
        return b""

    def deliver(self, blob: bytes, events: int) -> None:
        """Ring. Who waits nowhere any more, as its thread has ended, is dropped."""
        if self.is_forgotten() or (self.wakeup is not None and not self.wakeup.set()):
            self.drop()

    def drop(self) -> None:
        """End the iteration; whoever waits in it returns. From any thread or greenlet, also twice; never raises."""
        self.closed = True  # first: who is about to wait looks at it after making its wake-up
        self._hub.unfollow(self)
        if self.wakeup is not None:
            self.wakeup.set()


class Follower:
    """Iterates over the events after a cursor, and waits for more. Made by Hub.follow; close it, or use `with`.

    `cursor` is the id of the last event that was processed: an event is when the next one is asked for.
    """

    def __init__(self, hub: Home, after: int, subscription: Subscription) -> None:
        self.cursor = after
        self._store = hub.store
        self._read_to = after
        self._page: deque[Event] = deque()
        self._given = after
        alive = weakref.ref(self)
        self.bell = Bell(hub, subscription, lambda: alive() is None)
        self.bell.join()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        """The next event; blocks until there is one. Raises StopIteration after `close`, and once the hub has ended.

        Raises ServiceUnavailable when the log cannot be read; asking again is right then.
        """
        self.cursor = self._given
        bell = self.bell
        if bell.wakeup is None or not bell.wakeup.belongs_here():
            bell.wakeup = concurrency.new_wakeup()
        while not bell.closed:
            if self._page:
                event = self._page.popleft()
                self._given = event.event_id
                return event
            if not self._read():
                bell.wakeup.wait(_LOOK_SECONDS)
        raise StopIteration

    def _read(self) -> bool:
        """Read the next page; False when there is none, as nothing new was committed."""
        wanted, head = self.bell.subscription, self._store.latest()
        if head <= self._read_to or wanted.is_nothing:
            return False
        started = time.monotonic()
        page, self._read_to = self._store.read(
            log.event_page, self._read_to, head, _PAGE_EVENTS, wanted.channels or (), wanted.topics or ()
        )
        self._page.extend(page)
        if not page:
            time.sleep(time.monotonic() - started)  # after a long search others get as much time
        return True

    def call(self, listener: Callable[[Event], None]) -> None:
        """Give every event to `listener`, until closed. What it raises is logged, and the next event follows."""
        with self:
            failing = False
            while not self.bell.closed:
                try:
                    event = next(self)
                except StopIteration:
                    return
                except Exception:
                    if not failing:
                        logger.exception("A listener's events cannot be read; trying again")
                    failing = True
                    time.sleep(_LOOK_SECONDS)
                    continue
                failing = False
                try:
                    listener(event)
                except Exception:
                    logger.exception("A listener failed at event %d", event.event_id)

    def close(self) -> None:
        """End the iteration; whoever waits in it returns. From any thread or greenlet, also twice."""
        self.bell.drop()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
