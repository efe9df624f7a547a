"""The tail: the most recent events of the log, in memory.

Live sessions that fall a little behind, late joiners near the head and clients that reconnect all
at once are served from here, without SQL.  It is only a cache: it knows exactly which stretch of
the log it holds, and whatever is older is read from the file.

The tailer alone extends and restarts it, so its head is the registry's position, or ahead of it while a
batch is being published; sessions read it from any thread or greenlet.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from .. import concurrency
from ..store.log import Entry

TAIL_EVENTS = 2048
TAIL_BYTES = 4 * 1024 * 1024


class Tail:
    """All events with `floor < event_id <= head`."""

    def __init__(self, head: int) -> None:
        self._lock = concurrency.native_lock()
        self._ids: list[int] = []
        self._entries: list[Entry] = []
        self._bytes = 0
        self._floor = self._head = head

    def extend(self, entries: Sequence[Entry]) -> None:
        """Add the events that follow directly after the head, ascending.

        A batch may come again when publishing it failed: it then takes the place of what it left here.
        """
        with self._lock:
            if self._ids and self._ids[-1] >= entries[0].event_id:
                self._cut(entries[0].event_id)
            self._ids.extend([entry.event_id for entry in entries])
            self._entries.extend(entries)
            self._bytes += sum([entry.size for entry in entries])
            self._head = entries[-1].event_id
            # Old events go in large steps, so that each costs little.
            if len(self._ids) > 2 * TAIL_EVENTS or self._bytes > 2 * TAIL_BYTES:
                self._shrink()

    def restart(self, head: int) -> None:
        """Forget everything: the log has moved on to `head`, and what lies between was not read."""
        with self._lock:
            self._ids, self._entries, self._bytes = [], [], 0
            self._floor = self._head = head

    def after(self, cursor: int, until: int) -> tuple[list[Entry], int] | None:
        """The events with `cursor < event_id <= end`, and `end`: `until`, or the head if that comes first.

        None when the tail does not reach back to the cursor, or has nothing beyond it.
        """
        with self._lock:
            end = min(until, self._head)
            if cursor < self._floor or end <= cursor:
                return None
            return self._entries[bisect_right(self._ids, cursor) : bisect_right(self._ids, end)], end

    def _cut(self, event_id: int) -> None:
        """Forget the events from this one on. The lock is held."""
        keep = bisect_left(self._ids, event_id)
        self._bytes -= sum([entry.size for entry in self._entries[keep:]])
        del self._ids[keep:], self._entries[keep:]

    def _shrink(self) -> None:
        keep = min(TAIL_EVENTS, len(self._ids))
        size = sum([entry.size for entry in self._entries[-keep:]])
        while size > TAIL_BYTES and keep:
            size -= self._entries[-keep].size
            keep -= 1
        drop = len(self._ids) - keep
        self._floor = self._ids[drop - 1] if drop else self._floor
        self._ids, self._entries, self._bytes = self._ids[drop:], self._entries[drop:], size
