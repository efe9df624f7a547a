"""What the web page shows besides the rows of the API: counts, the latest message of a topic, the rate of events.

Each function begins a read transaction on its connection, which must be its own, as in `Store.read_long`: what it
returns is of one moment of the log.
"""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

from ..model import Topic
from . import log, queries
from .decoding import read_rows

_EXCERPT = 200


class LatestMessage(NamedTuple):
    """The newest message of a topic; `excerpt` is the beginning of its content."""

    id: str
    sender: str
    created_at: str
    excerpt: str


class TopicOverview(NamedTuple):
    """A topic with its channel's name, how many messages it has, and the latest of them."""

    topic: Topic
    channel_name: str
    message_count: int
    latest: LatestMessage | None


class TopicsPage(NamedTuple):
    """Topics as they were after the event `head`."""

    head: int
    topics: list[TopicOverview]
    has_more: bool


class CountsPage(NamedTuple):
    """How many messages topics had after the event `head`: `(topic id, channel id, count)`, by topic id."""

    head: int
    topics: list[tuple[str, str, int]]
    has_more: bool


class Totals(NamedTuple):
    """How many there are of each; `head` is the latest event id."""

    head: int
    channels: int
    topics: int
    messages: int
    attachments: int


_TOPICS = """
SELECT t.id, t.channel_id, t.title, t.created_at, t.updated_at, c.name,
       (SELECT COUNT(*) FROM messages WHERE topic_id = t.id)
FROM topics AS t JOIN channels AS c ON c.id = t.channel_id
"""
_COUNTS = """
SELECT id, channel_id, (SELECT COUNT(*) FROM messages WHERE topic_id = t.id)
FROM topics AS t WHERE id > ? ORDER BY id LIMIT ?
"""
_LATEST = """
SELECT id, substr(sender, 1, 200), created_at, substr(content_raw, 1, ?)
FROM messages WHERE topic_id = ? ORDER BY id DESC LIMIT 1
"""


def topics(connection: sqlite3.Connection, channel_id: str | None, limit: int, offset: int) -> TopicsPage:
    """A page of the topics of a channel, or of all; latest activity first. Raises NotFound for an unknown channel."""
    head = _begin(connection)
    where, values = "", list[str]()
    if channel_id is not None:
        queries.channel(connection, channel_id)
        where, values = "WHERE t.channel_id = ?", [channel_id]
    sql = f"{_TOPICS} {where} ORDER BY t.updated_at DESC, t.id DESC LIMIT ? OFFSET ?"
    rows = read_rows(connection, sql, (*values, limit + 1, offset))
    return TopicsPage(head, [_overview(connection, row) for row in rows[:limit]], len(rows) > limit)


def topic(connection: sqlite3.Connection, topic_id: str) -> TopicsPage:
    """A page of this topic alone. Raises NotFound."""
    head = _begin(connection)
    queries.topic(connection, topic_id)
    rows = read_rows(connection, f"{_TOPICS} WHERE t.id = ?", (topic_id,))
    return TopicsPage(head, [_overview(connection, row) for row in rows], False)


def counts(connection: sqlite3.Connection, after_id: str, limit: int) -> CountsPage:
    """A page of the counts of all topics, by id; an index alone answers it."""
    head = _begin(connection)
    rows = connection.execute(_COUNTS, (after_id, limit + 1)).fetchall()
    return CountsPage(head, rows[:limit], len(rows) > limit)


def _begin(connection: sqlite3.Connection) -> int:
    connection.execute("BEGIN")
    return log.latest(connection)


def _overview(connection: sqlite3.Connection, row: tuple[Any, ...]) -> TopicOverview:
    latest = read_rows(connection, _LATEST, (_EXCERPT, row[0]))
    return TopicOverview(Topic(*row[:5]), row[5], row[6], LatestMessage(*latest[0]) if latest else None)


def totals(connection: sqlite3.Connection) -> Totals:
    """Rows of these tables are never removed, so the last row's number is how many there are: nothing is counted."""
    row = connection.execute(
        """SELECT (SELECT COALESCE(MAX(event_id), 0) FROM events), (SELECT COALESCE(MAX(rowid), 0) FROM channels),
                  (SELECT COALESCE(MAX(rowid), 0) FROM topics), (SELECT COALESCE(MAX(rowid), 0) FROM messages),
                  (SELECT COALESCE(MAX(rowid), 0) FROM topic_attachments)"""
    ).fetchone()
    return Totals(*row)


def figures(connection: sqlite3.Connection, moments: list[str]) -> tuple[Totals, list[int]]:
    """`totals` and `last_before` of one moment of the log."""
    ids = last_before(connection, moments)
    return totals(connection), ids


def last_before(connection: sqlite3.Connection, moments: list[str]) -> list[int]:
    """For each moment (a time stamp), the id of the last event before it; 0 when there is none.

    Event ids and their times rise together, so this is a bisection: some twenty look-ups for each moment.
    """
    head = _begin(connection)
    return [_last_before(connection, moment, head) for moment in moments]


def _last_before(connection: sqlite3.Connection, moment: str, head: int) -> int:
    low, high = 0, head  # low is before the moment or 0; what is above high is not
    while low < high:
        middle = (low + high + 1) // 2
        found = read_rows(
            connection,
            # Another program's `ts` may be of any type.
            "SELECT event_id, (ts < ?) IS NOT 0 FROM events WHERE event_id >= ? ORDER BY event_id LIMIT 1",
            (moment, middle),
        )
        if found and found[0][1]:
            low = max(middle, min(int(found[0][0]), high))
        else:
            high = middle - 1
    return low
