"""Pages of the log as encoded blobs, for replay: from the tail, or read from the log.

Pages of everything are kept and shared.  Events never change, so a page is good forever: when many
clients of one transport catch up at once, each is read and encoded once.  Pages end at multiples of PAGE_EVENTS, so
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
from .registry import Encode
from .subscription import Subscription
from .tail import Tail

PAGE_EVENTS = 250  # of messages of usual size a page then fits into the socket's buffer, and nobody waits
PAGE_BYTES = 256 * 1024
LONG_SECONDS = 0.002
KEPT_PAGES = 128  # of at most about PAGE_BYTES each, but for single events that are larger


class Page(NamedTuple):
    """`events` encoded events; `last_id` is the cursor of a client that has got them."""

    blob: bytes
    events: int
    last_id: int


class Pages:
    """May be used from any thread or greenlet; `next` reads the log inline when it must, and may wait for its turn."""

    def __init__(self, store: Store, tail: Tail, max_events: int) -> None:
        self._store = store
        self._tail = tail
        self._size = min(PAGE_EVENTS, max_events)
        self._kept: OrderedDict[tuple[Encode, int, int], Page] = OrderedDict()
        self._lock = concurrency.native_lock()
        self._turn = threading.Lock()

    def next(self, after: int, until: int, wanted: Subscription, encode: Encode) -> Page:
        """The next page of wanted events with `after < event_id <= until`; without events when none are left."""
        if not wanted.is_everything:
            return self._recent(after, until, wanted, encode) or self._read(after, until, wanted, encode)
        end = min(until, after - after % self._size + self._size)
        key = encode, after, end
        with self._lock:
            page = self._kept.get(key)
            if page is not None:
                self._kept.move_to_end(key)
                return page
        page = self._recent(after, end, wanted, encode) or self._read(after, end, wanted, encode)
        if page.last_id < end and page.events < self._size and len(page.blob) <= PAGE_BYTES:
            return page  # cut short by the tail's head: the next one will be longer
        with self._lock:
            self._kept[key] = page
            if len(self._kept) > KEPT_PAGES:
                self._kept.popitem(last=False)
        return page

    def _recent(self, after: int, until: int, wanted: Subscription, encode: Encode) -> Page | None:
        """A page from memory, or None when the tail does not reach so far."""
        found = self._tail.after(after, until)
        if found is None:
            return None
        entries, last_id = found
        page: list[Entry] = []
        size = 0
        for entry in entries:
            if wanted.matches(entry.scope):
                page.append(entry)
                size += len(entry.envelope)
                if len(page) == self._size or size > PAGE_BYTES:
                    last_id = entry.event_id
                    break
        return Page(encode(page), len(page), last_id)

    def _read(self, after: int, until: int, wanted: Subscription, encode: Encode) -> Page:
        if wanted.is_everything:
            entries = self._store.entries(after, until, self._size, PAGE_BYTES)
            return Page(encode(entries), len(entries), entries[-1].event_id if entries else until)
        channels, topics = wanted.channels or frozenset(), wanted.topics or frozenset()
        with self._turn:
            started = time.monotonic()
            entries, last_id = self._store.page(after, until, self._size, PAGE_BYTES, channels, topics)
            spent = time.monotonic() - started
            if spent > LONG_SECONDS:
                time.sleep(spent)
        return Page(encode(entries), len(entries), last_id)
