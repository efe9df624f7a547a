"""The figures that only the web page needs: topics with counts, a topic by its id, and the hub's state."""

from __future__ import annotations

import os
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from msgspec.structs import asdict

from ...commands import checks
from ...model import PAGE_ROWS, timestamp
from ...store import overview
from ...store.overview import TopicOverview, TopicsPage
from ...store.readers import PAGE
from ...store.store import Store
from ...version import __version__
from ..http import query
from ..http.call import Call, Endpoint

_BUCKET_SECONDS = 10
_BUCKETS = 60
_KEPT_SECONDS = 1.0
_figures_lock = threading.Lock()
_kept_figures: WeakKeyDictionary[Store, tuple[float, tuple[overview.Totals, list[int]]]] = WeakKeyDictionary()


def topics(call: Call) -> tuple[int, dict[str, Any]]:
    limit = query.number(call.args, "limit", 1, cap=PAGE_ROWS) or 50
    offset = query.number(call.args, "offset", 0) or 0
    channel_id = checks.optional_id(query.text(call.args, "channel_id"), "channel_id")
    return _page(call.state.store.read_long(overview.topics, channel_id, limit, offset, kind=PAGE))


def topic(call: Call, topic_id: str) -> tuple[int, dict[str, Any]]:
    return _page(call.state.store.read_long(overview.topic, topic_id, kind=PAGE))


def counts(call: Call) -> tuple[int, dict[str, Any]]:
    """How many messages each topic has, for the marks of what is unread in topics that the page has not loaded."""
    limit = query.number(call.args, "limit", 1, cap=PAGE_ROWS) or PAGE_ROWS
    after_id = checks.optional_id(query.text(call.args, "after_id"), "after_id")
    return 200, call.state.store.read_long(overview.counts, after_id or "", limit, kind=PAGE)._asdict()


def _page(page: TopicsPage) -> tuple[int, dict[str, Any]]:
    """`head` is the event after which the topics were so: later events come on top of them."""
    return 200, page._asdict() | {"topics": [_fields(each) for each in page.topics]}


def _fields(found: TopicOverview) -> dict[str, Any]:
    latest = None if found.latest is None else found.latest._asdict()
    more = {"channel_name": found.channel_name, "message_count": found.message_count, "latest": latest}
    return asdict(found.topic) | more


def status(call: Call) -> tuple[int, dict[str, Any]]:
    """The hub at this moment. `events_per_bucket` is the latest ten minutes, oldest first."""
    state, now = call.state, time.time()
    totals, ids = _figures(state.store, now)
    return 200, {
        **state.identity(),
        "version": __version__,
        "uptime_seconds": state.uptime_seconds,
        "pid": os.getpid(),
        "workers": state.settings.workers,
        "connections": state.count_all_connections(),
        **totals._asdict(),
        "database_bytes": _size(state.settings.db),
        "wal_bytes": _size(state.settings.db.with_name(state.settings.db.name + "-wal")),
        "bucket_seconds": _BUCKET_SECONDS,
        "events_per_bucket": [last - first for first, last in pairwise(ids)],
    }


def _figures(store: Store, now: float) -> tuple[overview.Totals, list[int]]:
    """The totals, and the last event before each edge of the buckets; read once for all who look at about the time."""
    with _figures_lock:
        kept = _kept_figures.get(store)
        if kept is None or not 0 <= now - kept[0] < _KEPT_SECONDS:
            edges = [timestamp(int(1000 * (now - _BUCKET_SECONDS * back))) for back in range(_BUCKETS, -1, -1)]
            kept = _kept_figures[store] = now, store.read_long(overview.figures, edges, kind=PAGE)
    return kept[1]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


ENDPOINTS = (
    Endpoint("GET", "/ui/data/topics", topics, "page"),
    Endpoint("GET", "/ui/data/topics/<topic_id>", topic, "page"),
    Endpoint("GET", "/ui/data/counts", counts, "page"),
    Endpoint("GET", "/ui/data/status", status, "page"),
)
