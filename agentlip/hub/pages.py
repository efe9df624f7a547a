"""Pages of the log as blobs of frames, for replay: from the tail, or read from the log.

Pages of everything are kept and shared.  Events never change, so a page is good for ever: when many
clients catch up at once, each is read and encoded once.  Pages end at multiples of PAGE_EVENTS, so
that clients with different cursors meet on the same ones after their first.

Pages of some ids are read one at a time, and one that took long makes way for as long again: however many clients
with many ids catch up at once, the others have half of the time.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import NamedTuple

from .. import concurrency
from ..store.log import Entry
from ..store.store import Store
from .subscription import Subscription
from .tail import Tail

PAGE_EVENTS = 250  # of messages of usual size a page then fits into the socket's buffer, and nobody waits
PAGE_BYTES = 256 * 1024
LONG_SECONDS = 0.002
KEPT_PAGES = 128  # of at most about PAGE_BYTES each, but for single events that are larger


class Page(NamedTuple):
    """`events` whole frames; `last_id` is the cursor of a client that has got them."""

    blob: bytes
    events: int
    last_id: int


class Pages:
    """May be used from any thread or greenlet; `next` reads the log inline when it must, and may wait for its turn."""

    def __init__(self, store: Store, tail: Tail, max_events: int) -> None:
        self._store = store
        self._tail = tail
        self._size = min(PAGE_EVENTS, max_events)
        self._kept: OrderedDict[tuple[int, int], Page] = OrderedDict()
        self._lock = concurrency.native_lock()
        self._turn = threading.Lock()

    def next(self, after: int, until: int, wanted: Subscription) -> Page:
        """The next page of wanted events with `after < event_id <= until`; without events when none are left."""
        if not wanted.is_everything:
            return self._recent(after, until, wanted) or self._read(after, until, wanted)
        end = min(until, after - after % self._size + self._size)
        with self._lock:
            page = self._kept.get((after, end))
            if page is not None:
                self._kept.move_to_end((after, end))
                return page
        page = self._recent(after, end, wanted) or self._read(after, end, wanted)
        if page.last_id < end and page.events < self._size and len(page.blob) <= PAGE_BYTES:
            return page  # cut short by the tail's head: the next one will be longer
        with self._lock:
            self._kept[after, end] = page
            if len(self._kept) > KEPT_PAGES:
                self._kept.popitem(last=False)
        return page

    def _recent(self, after: int, until: int, wanted: Subscription) -> Page | None:
        """A page from memory, or None when the tail does not reach so far."""
        found = self._tail.after(after, until)
        if found is None:
            return None
        entries, last_id = found
        frames: list[bytes] = []
        size = 0
        for entry in entries:
            if wanted.matches(entry.scope):
                frames.append(entry.frame)
                size += len(entry.frame)
                if len(frames) == self._size or size > PAGE_BYTES:
                    last_id = entry.event_id
                    break
        return Page(b"".join(frames), len(frames), last_id)

    def _read(self, after: int, until: int, wanted: Subscription) -> Page:
        if wanted.is_everything:
            entries = self._store.entries(after, until, self._size, PAGE_BYTES)
            return _page(entries, entries[-1].event_id if entries else until)
        channels, topics = wanted.channels or frozenset(), wanted.topics or frozenset()
        with self._turn:
            started = time.monotonic()
            entries, last_id = self._store.page(after, until, self._size, PAGE_BYTES, channels, topics)
            spent = time.monotonic() - started
            if spent > LONG_SECONDS:
                time.sleep(spent)
        return _page(entries, last_id)


def _page(entries: list[Entry], last_id: int) -> Page:
    return Page(b"".join(entry.frame for entry in entries), len(entries), last_id)
