"""The live log of one process: what was committed, by whomever, reaches those who listen, in order and exactly once.

Commits ring (`wake`, `look`), the tailer reads from its own position and publishes to the registry, and who is behind
reads pages until it can join. Everything may be called from any thread or greenlet, and nothing blocks but a page that
is read from the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .. import concurrency
from ..errors import ServiceUnavailable
from ..model import Event
from ..store.log import Entry
from ..store.store import Store
from .pages import Pages
from .registry import Listener, Registry
from .tail import Tail
from .tailer import Tailer


class Feed:
    """Registry, tail, tailer and pages of one store."""

    def __init__(self, store: Store, queue_events: int, on_lost: Callable[[], None]) -> None:
        """Call it where the tailer shall run: under gevent on the event loop's thread. Reads the log's head.

        `on_lost` is called again and again while the database is not the one that was opened.
        """
        self.registry = Registry(_head_of(store))
        tail = Tail(self.registry.position)
        self.pages = Pages(store, tail, queue_events)
        self.tailer = Tailer(store, self.registry, tail, queue_events, on_lost)
        self._missed = False

    def start(self) -> None:
        """Raises ThreadLimit."""
        self.tailer.start()

    def stop(self) -> None:
        """End the tailer; `tasks` tell when it has."""
        self.tailer.stop()

    @property
    def tasks(self) -> list[concurrency.Task]:
        return self.tailer.tasks

    @property
    def position(self) -> int:
        """The id of the last event that was published."""
        return self.registry.position

    def wake(self, entries: Sequence[Entry] = ()) -> None:
        """The entries were committed by this process, or, without any, something was by somebody."""
        self.tailer.wake(entries)

    def look(self) -> None:
        """Another process has committed. While nobody is live the tailer has time until its next poll."""
        self._missed = True  # before the question: who joins after it will see this
        if self.registry.is_live:
            self._missed = False
            self.wake()

    def join(self, listener: Listener) -> bool:
        """Make it live, if it has read the log up to `position`; else False, and it must read on.

        What was committed a moment before does not wait for the next look.
        """
        if not self.registry.join(listener):
            return False
        if self._missed or self.tailer.resting:
            self._missed = False
            self.wake()
        return True

    def leave(self, listener: Listener) -> None:
        """Forget the listener; leaving twice, or without having joined, is fine."""
        self.registry.leave(listener)

    def publish_event(self, event: Event | Mapping[str, Any]) -> None:
        """Tell of a committed event. It is delivered from the log, in order and exactly once.

        Events are found without it; this only saves the poll interval when another process
        committed. Raises TypeError or ValueError when `event` carries no event id.
        """
        event_id = event.get("event_id") if isinstance(event, Mapping) else getattr(event, "event_id", None)
        self.publish_event_ids([event_id])  # type: ignore[list-item]  # it looks

    def publish_event_ids(self, event_ids: Iterable[int]) -> None:
        """Tell of committed events by their ids; see `publish_event`."""
        ids = list(event_ids)
        for event_id in ids:
            if isinstance(event_id, bool) or not isinstance(event_id, int) or event_id < 1:
                raise ValueError("event ids are whole numbers from 1")
        if any(event_id > self.position for event_id in ids):
            self.wake()


def _head_of(store: Store) -> int:
    """The head of the log; 0 when it cannot be read now: the tailer moves on when it can."""
    try:
        return store.latest()
    except ServiceUnavailable:
        return 0
