"""Pages of the log as blobs of frames, for replay. Full pages of everything are kept and shared.

Events never change and ids have no gaps, so a full page is good for ever: when many clients
catch up at once, each page is read and encoded once.  Pages end at multiples of PAGE_EVENTS, so
that clients with different cursors meet on the same ones after their first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from .. import concurrency
from ..store.store import Store
from .subscription import Subscription

PAGE_EVENTS = 500
PAGE_BYTES = 256 * 1024
KEPT_PAGES = 64  # of at most about PAGE_BYTES each, but for single events that are larger


class Page(NamedTuple):
    """`events` whole frames; `last_id` is the cursor of a client that has got them."""

    blob: bytes
    events: int
    last_id: int


class Pages:
    """May be used from any thread or greenlet; `next` reads the log inline when it must."""

    def __init__(self, store: Store, max_events: int) -> None:
        self._store = store
        self._size = min(PAGE_EVENTS, max_events)
        self._kept: OrderedDict[int, Page] = OrderedDict()
        self._lock = concurrency.native_lock()

    def next(self, after: int, until: int, wanted: Subscription) -> Page:
        """The next page of wanted events with `after < event_id <= until`; without events when none are left."""
        if not wanted.is_everything:
            return self._read(after, until, wanted)
        end = after - after % self._size + self._size
        if end > until:
            return self._read(after, until, wanted)
        with self._lock:
            page = self._kept.get(after)
            if page is not None:
                self._kept.move_to_end(after)
                return page
        page = self._read(after, end, wanted)
        with self._lock:
            self._kept[after] = page
            if len(self._kept) > KEPT_PAGES:
                self._kept.popitem(last=False)
        return page

    def _read(self, after: int, until: int, wanted: Subscription) -> Page:
        entries = self._store.entries(after, until, self._size, PAGE_BYTES, wanted.channels, wanted.topics)
        last_id = entries[-1].event_id if entries else until
        return Page(b"".join(entry.frame for entry in entries), len(entries), last_id)
