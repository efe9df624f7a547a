"""A subscriber inside the process: host code that reads the log as it grows.

It reads pages from the log itself and takes from the registry only the wake-up, so it needs no queue and can be as
slow as it likes. One thread or greenlet iterates; `close` may be called from any.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .. import concurrency
from ..errors import AgentlipError
from ..model import Event
from .subscription import Subscription

if TYPE_CHECKING:
    from .hub import Hub

_PAGE_EVENTS = 250
# Wake-ups come through the registry; this is only the net below them.
_LOOK_SECONDS = 1.0

logger = logging.getLogger("agentlip.hub")


class _Bell:
    """What the registry knows of a follower: rung when something matching was published."""

    def __init__(self, subscription: Subscription, position: int) -> None:
        self.subscription = subscription
        self.cursor = position
        self.wakeup: concurrency.Wakeup | None = None  # while nobody waits yet, nobody need be woken

    def deliver(self, blob: bytes, events: int) -> None:
        if self.wakeup is not None:
            self.wakeup.set()


class Follower:
    """Iterates over the events after a cursor, and waits for more. Made by Hub.follow; close it, or use `with`.

    `cursor` is the id of the last event that was processed: an event is when the next one is asked for.
    """

    def __init__(self, hub: Hub, after: int, subscription: Subscription) -> None:
        self.cursor = after
        self._hub = hub
        self._read_to = after
        self._page: deque[Event] = deque()
        self._given = after
        self._closed = False
        self._bell = _Bell(subscription, hub.registry.position)
        while not hub.registry.join(self._bell):
            self._bell.cursor = hub.registry.position

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        """The next event; blocks until there is one. Raises StopIteration after `close`.

        Raises ServiceUnavailable when the log can not be read; asking again is right then.
        """
        self.cursor = self._given
        if self._bell.wakeup is None:
            self._bell.wakeup = concurrency.new_wakeup()  # it belongs to the thread that waits
        while not self._closed:
            if self._page or self._read():
                event = self._page.popleft()
                self._given = event.event_id
                return event
            self._bell.wakeup.wait(_LOOK_SECONDS)
        raise StopIteration

    def _read(self) -> bool:
        """Read the next page; False when nothing new matches."""
        wanted, store = self._bell.subscription, self._hub.store
        head = store.latest()
        if head > self._read_to and not wanted.is_nothing:
            channels, topics = sorted(wanted.channels or ()), sorted(wanted.topics or ())
            page = store.events(self._read_to, head, _PAGE_EVENTS, False, channels, topics)
            self._read_to = page[-1].event_id if len(page) == _PAGE_EVENTS else head
            self._page.extend(page)
        return bool(self._page)

    def call(self, listener: Callable[[Event], None]) -> None:
        """Give every event to `listener`, until closed. What it raises is logged, and the next event follows."""
        while not self._closed:
            try:
                event = next(self)
            except StopIteration:
                return
            except AgentlipError:
                logger.exception("A listener's events can not be read; trying again")
                time.sleep(_LOOK_SECONDS)
                continue
            try:
                listener(event)
            except Exception:
                logger.exception("A listener failed at event %d", event.event_id)

    def close(self) -> None:
        """End the iteration; whoever waits in it returns. From any thread or greenlet, also twice."""
        self._closed = True
        self._hub.unfollow(self)
        self._hub.registry.leave(self._bell)
        if self._bell.wakeup is not None:
            self._bell.wakeup.set()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
