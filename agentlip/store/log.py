"""The event log: append, page, latest. `event_id` is the total order of everything.

AUTOINCREMENT ids are gapless after a rollback and ascend in commit order (writers are serialised
by BEGIN IMMEDIATE), so `event_id > cursor` never misses a row and never sees one twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson

from .. import wire
from ..errors import InvalidInput
from ..model import KNOWN_EVENTS, Entity, Event, Scope

_COLUMNS = (
    "event_id, ts, name, scope_channel_id, scope_topic_id, scope_topic_id2, entity_type, entity_id, "
    # A row some other program broke must not break every reader of the log: its payload is null.
    "iif(json_valid(data_json), data_json, 'null')"
)
_APPEND = (
    "INSERT INTO events (ts, name, scope_channel_id, scope_topic_id, scope_topic_id2, entity_type, entity_id, "
    "data_json) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_PAGE = f"SELECT {_COLUMNS} FROM events WHERE event_id > ? AND event_id <= ? ORDER BY event_id LIMIT ?"
_BY_IDS = f"SELECT {_COLUMNS} FROM events WHERE event_id IN (SELECT value FROM json_each(?)) ORDER BY event_id"
_SCOPE_COLUMNS = ("scope_channel_id", "scope_topic_id", "scope_topic_id2")
_FORWARD = {
    column: f"SELECT event_id FROM events WHERE {column} = ? AND event_id > ? AND event_id <= ? "
    "ORDER BY event_id LIMIT ?"
    for column in _SCOPE_COLUMNS
}
_BACKWARD = {column: sql.replace("LIMIT", "DESC LIMIT") for column, sql in _FORWARD.items()}

MAX_ID = (1 << 63) - 1


class Entry(NamedTuple):
    """An event ready for fan-out: its routing ids and the whole WebSocket frame, encoded once."""

    event_id: int
    scope: Scope
    frame: bytes


def append(connection: sqlite3.Connection, ts: str, name: str, scope: Scope, entity: Entity, data_json: str) -> int:
    """Append one event inside the caller's write transaction and return its id.

    Raises InvalidInput when the name is known and a scope id it needs is missing, or no id is given.
    """
    needed = KNOWN_EVENTS.get(name, ())
    if not any(scope) or any(not getattr(scope, key) for key in needed):
        raise InvalidInput(f"The event needs the scope ids {', '.join(needed) or 'of a channel or topic'}")
    cursor = connection.execute(_APPEND, (ts, name, *scope, *entity, data_json))
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def latest(connection: sqlite3.Connection) -> int:
    """The head of the log, 0 when it is empty; one index look-up."""
    row = connection.execute("SELECT max(event_id) FROM events").fetchone()
    return row[0] or 0


def oldest(connection: sqlite3.Connection) -> int:
    """The first id of the log, 0 when it is empty; one index look-up."""
    row = connection.execute("SELECT min(event_id) FROM events").fetchone()
    return row[0] or 0


def entries(
    connection: sqlite3.Connection,
    after: int,
    until: int,
    limit: int,
    max_bytes: int,
    channels: Iterable[str] | None = None,
    topics: Iterable[str] | None = None,
) -> list[Entry]:
    """The next events with `after < event_id <= until`, ascending, as frames.

    At most `limit` events, and no more once their frames exceed `max_bytes`. `channels` and `topics`
    both None: everything; else only events that touch one of them. An empty list means nothing is left.
    """
    if channels is None and topics is None:
        cursor = connection.execute(_PAGE, (after, until, limit))
    else:
        ids = _matching(connection, after, until, limit, channels or (), topics or ())
        cursor = connection.execute(_BY_IDS, (orjson.dumps(ids).decode(),))
    page, size = [], 0
    for event_id, ts, name, channel_id, topic_id, topic_id2, entity_type, entity_id, data_json in cursor:
        scope = Scope(channel_id, topic_id, topic_id2)
        frame = wire.frame(wire.TEXT, wire.envelope(event_id, ts, name, scope, entity_type, entity_id, data_json))
        page.append(Entry(event_id, scope, frame))
        size += len(frame)
        if size > max_bytes:
            break
    cursor.close()  # an open cursor would hold a snapshot and let the WAL grow
    return page


def events(
    connection: sqlite3.Connection,
    after: int,
    until: int,
    limit: int,
    tail: bool = False,
    channels: Sequence[str] = (),
    topics: Sequence[str] = (),
) -> list[Event]:
    """Events as values, ascending: the first `limit` after `after`, or with `tail` the last `limit` up to `until`."""
    if channels or topics:
        ids = _matching(connection, after, until, limit, channels, topics, tail)
    else:
        direction = "DESC" if tail else "ASC"
        ids = [
            row[0]
            for row in connection.execute(
                f"SELECT event_id FROM events WHERE event_id > ? AND event_id <= ? ORDER BY event_id {direction} LIMIT ?",
                (after, until, limit),
            ).fetchall()
        ]
    rows = connection.execute(_BY_IDS, (orjson.dumps(ids).decode(),)).fetchall()
    return [Event(row[0], row[1], row[2], Scope(*row[3:6]), Entity(*row[6:8]), row[8]) for row in rows]


def _matching(
    connection: sqlite3.Connection,
    after: int,
    until: int,
    limit: int,
    channels: Iterable[str],
    topics: Iterable[str],
    tail: bool = False,
) -> list[int]:
    """The ids of a page of events that touch any of the scopes, by one short index range per scope.

    An OR over the three indexes would sort every match of the whole log; here each scope gives at
    most `limit` ids, and once a page is full the bound moves in, so later scopes give fewer.
    """
    statements = _BACKWARD if tail else _FORWARD
    found: set[int] = set()
    for column, wanted in zip(_SCOPE_COLUMNS, (channels, topics, topics), strict=True):
        for scope_id in wanted:
            rows = connection.execute(statements[column], (scope_id, after, until, limit)).fetchall()
            found.update(row[0] for row in rows)
            if len(found) > limit:
                kept = sorted(found, reverse=tail)[:limit]
                found = set(kept)
                after, until = (kept[-1] - 1, until) if tail else (after, kept[-1])
    return sorted(found)
