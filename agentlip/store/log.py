"""The event log: append, page, latest. `event_id` is the total order of everything.

AUTOINCREMENT ids are gapless after a rollback and ascend in commit order (writers are serialised
by BEGIN IMMEDIATE), so `event_id > cursor` never misses a row and never sees one twice.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection

import orjson

from .. import wire
from ..errors import InvalidInput, LogAtEnd
from ..model import KNOWN_EVENTS, UNSCOPED, Entity, Event, Scope
from .decoding import as_text, in_any_bytes
from .page import Row, rows_of

_COLUMNS = (
    "event_id, ts, name, scope_channel_id, scope_topic_id, scope_topic_id2, entity_type, entity_id, "
    # A row some other program broke must not break every reader of the log: its payload is null.
    "iif(typeof(data_json) = 'text' AND json_valid(data_json), data_json, 'null')"
)
_APPEND = (
    "INSERT INTO events (ts, name, scope_channel_id, scope_topic_id, scope_topic_id2, entity_type, entity_id, "
    "data_json) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_PAGE = f"SELECT {_COLUMNS} FROM events WHERE event_id > ? AND event_id <= ? ORDER BY event_id LIMIT ?"
_BY_IDS = f"SELECT {_COLUMNS} FROM events WHERE event_id IN (SELECT value FROM json_each(?)) ORDER BY event_id"
_BY_IDS_BACKWARD = f"{_BY_IDS} DESC"
_IDS_FORWARD = "SELECT event_id FROM events WHERE event_id > ? AND event_id <= ? ORDER BY event_id LIMIT ?"
_IDS_BACKWARD = _IDS_FORWARD.replace("LIMIT", "DESC LIMIT")
_SCOPE_COLUMNS = ("scope_channel_id", "scope_topic_id", "scope_topic_id2")
_FORWARD = {
    column: f"SELECT event_id FROM events WHERE {column} = ? AND event_id > ? AND event_id <= ? "
    "ORDER BY event_id LIMIT ?"
    for column in _SCOPE_COLUMNS
}
_BACKWARD = {column: sql.replace("LIMIT", "DESC LIMIT") for column, sql in _FORWARD.items()}
_SCOPES = (
    "SELECT event_id, scope_channel_id, scope_topic_id, scope_topic_id2 FROM events "
    "WHERE event_id > ? AND event_id <= ? ORDER BY event_id"
)

# Up to so many ids are looked up in the indexes, which costs up to 15 us for each; for more the log is read forward
# once, 1 us an event, in stretches of about SCAN_SECONDS.
FEW_IDS = 100
SCAN_SECONDS = 0.002
_SCAN_STEP = 64  # events between two looks at the clock

MAX_ID = (1 << 63) - 1
_ENVELOPE_BYTES = 250


class Entry:
    """An event ready for fan-out: its routing ids and its envelope, made once and at the first use."""

    __slots__ = ("_envelope", "_event", "event_id", "scope")

    def __init__(self, event_id: int, scope: Scope, envelope: bytes = b"", event: Event | None = None) -> None:
        """Give either the envelope or the event it is made of."""
        self.event_id = event_id
        self.scope = scope
        self._envelope = envelope
        self._event = event

    @property
    def envelope(self) -> bytes:
        """The JSON text that clients see; transports put it into what they send."""
        event = self._event  # once: another thread may be here, too
        if event is not None:
            written = _scope_json(event.scope)
            self._envelope = _envelope(event.event_id, event.ts, event.name, written, *event.entity, event.data_json)
            self._event = None
        return self._envelope

    @property
    def size(self) -> int:
        """About the bytes of the envelope, without making it."""
        event = self._event
        return len(self._envelope) if event is None else len(event.data_json) + _ENVELOPE_BYTES


def append(connection: sqlite3.Connection, ts: str, name: str, scope: Scope, entity: Entity, data_json: str) -> Entry:
    """Append one event inside the caller's write transaction.

    Raises InvalidInput when the name is known and a scope id it needs is missing, or no id is given; LogAtEnd.
    """
    needed = KNOWN_EVENTS.get(name, ())
    if not (any(scope) or name in UNSCOPED) or any(not getattr(scope, key) for key in needed):
        raise InvalidInput(f"The event needs the scope ids {', '.join(needed) or 'of a channel or topic'}")
    try:
        cursor = connection.execute(_APPEND, (ts, name, *scope, *entity, data_json))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL and _is_at_end(connection):
            raise LogAtEnd from error
        raise
    event_id = cursor.lastrowid
    assert event_id is not None
    return Entry(event_id, scope, event=Event(event_id, ts, name, scope, entity, data_json))


def _is_at_end(connection: sqlite3.Connection) -> bool:
    """Whether the last id was given out. SQLite calls that full, as it does a disk."""
    given = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events' AND seq >= ?", (MAX_ID,))
    return bool(given.fetchall()) or latest(connection) >= MAX_ID


def latest(connection: sqlite3.Connection) -> int:
    """The head of the log, 0 when it is empty; one index look-up."""
    row = connection.execute("SELECT max(event_id) FROM events").fetchone()
    return row[0] or 0


def bounds(connection: sqlite3.Connection) -> tuple[int, int]:
    """The first and the last id of the log, 0 and 0 when it is empty; two index look-ups."""
    row = connection.execute("SELECT (SELECT min(event_id) FROM events), (SELECT max(event_id) FROM events)").fetchone()
    return row[0] or 0, row[1] or 0


def entries(connection: sqlite3.Connection, after: int, until: int, limit: int, max_bytes: int) -> list[Entry]:
    """The next events with `after < event_id <= until`, ascending.

    At most `limit` events, and no more once their envelopes exceed `max_bytes`. An empty list means nothing is left.
    """
    return in_any_bytes(connection, lambda: _entries(connection.execute(_PAGE, (after, until, limit)), max_bytes))


def page(
    connection: sqlite3.Connection,
    after: int,
    until: int,
    limit: int,
    max_bytes: int,
    channels: Collection[str],
    topics: Collection[str],
) -> tuple[list[Entry], int]:
    """As `entries`, only those that touch one of the ids; and the id up to which the log has been looked through.

    With many ids a page also ends by time, so it may be empty though more follow.
    """
    ids, reached = _next_ids(connection, after, until, limit, channels, topics)
    query = orjson.dumps(ids).decode()
    found = in_any_bytes(connection, lambda: _entries(connection.execute(_BY_IDS, (query,)), max_bytes))
    if found and found[-1].event_id < ids[-1]:
        reached = found[-1].event_id  # cut short by its bytes
    return found, reached


def _entries(cursor: sqlite3.Cursor, max_bytes: int) -> list[Entry]:
    page, size, scope, written = [], 0, Scope(), ""
    for event_id, ts, name, channel_id, topic_id, topic_id2, entity_type, entity_id, data_json in cursor:
        is_same = scope == (channel_id, topic_id, topic_id2)  # as that of the event before, which most are
        if not written or not is_same:
            scope = Scope(channel_id, topic_id, topic_id2)
            written = _scope_json(scope)
        if "\0" in data_json:  # json_valid looks no further
            data_json = "null"
        envelope = _envelope(event_id, ts, name, written, entity_type, entity_id, data_json)
        page.append(Entry(event_id, scope, envelope))
        size += len(envelope)
        if size > max_bytes:
            break
    cursor.close()  # an open cursor would hold a snapshot and let the WAL grow
    return page


def _envelope(event_id: int, ts: str, name: str, scope: str, entity_type: str, entity_id: str, data_json: str) -> bytes:
    try:
        return wire.envelope_of(event_id, ts, name, scope, entity_type, entity_id, data_json)
    except TypeError:  # names, times and ids in a table of another program, which takes any type
        ts, name, entity_type, entity_id = map(as_text, (ts, name, entity_type, entity_id))
        return wire.envelope_of(event_id, ts, name, scope, entity_type, entity_id, data_json)


def _scope_json(scope: Scope) -> str:
    try:
        return wire.scope_json(scope)
    except TypeError:
        return wire.scope_json(Scope(*(None if each is None else as_text(each) for each in scope)))


def events_with_more(
    connection: sqlite3.Connection,
    after: int,
    until: int,
    limit: int,
    tail: bool = False,
    channels: Collection[str] = (),
    topics: Collection[str] = (),
    brief: bool = False,
) -> tuple[list[Event], bool]:
    """Events as values, ascending: the first `limit` after `after`, or with `tail` the last `limit` up to `until`.

    And whether more follow, or with `tail` go before: they are fewer when they are large, see `page`, also for `brief`.
    It takes up to 30 us for each id: more than FEW_IDS are for a thread that may take long.
    """
    if channels or topics:
        ids = _look_up(connection, after, until, limit + 1, channels, topics, tail)
    else:
        sql = _IDS_BACKWARD if tail else _IDS_FORWARD
        ids = [row[0] for row in connection.execute(sql, (after, until, limit + 1)).fetchall()]
    return _values(connection, ids, limit, tail, brief)


def event_page(
    connection: sqlite3.Connection,
    after: int,
    until: int,
    limit: int,
    channels: Collection[str],
    topics: Collection[str],
) -> tuple[list[Event], int]:
    """As `page`, but as values, and with neither channels nor topics everything."""
    if channels or topics:
        ids, reached = _next_ids(connection, after, until, limit, channels, topics)
        found, is_cut = _values(connection, ids, limit)
        return found, found[-1].event_id if is_cut else reached
    found, has_more = events_with_more(connection, after, until, limit)
    return found, found[-1].event_id if has_more else until


def _values(
    connection: sqlite3.Connection, ids: list[int], limit: int, tail: bool = False, brief: bool = False
) -> tuple[list[Event], bool]:
    """The events of the ids, the last ones with `tail`, and whether some are left off."""
    sql, wanted = _BY_IDS_BACKWARD if tail else _BY_IDS, (orjson.dumps(ids).decode(),)
    rows, has_more = in_any_bytes(connection, lambda: rows_of(connection.execute(sql, wanted), limit, brief, _size))
    page = [
        Event(row[0], row[1], row[2], Scope(*row[3:6]), Entity(*row[6:8]), "null" if "\0" in row[8] else row[8])
        for row in rows
    ]
    return page[::-1] if tail else page, has_more


def _size(row: Row) -> int:
    data = row[-1]
    return _ENVELOPE_BYTES + (len(data) if data.isascii() else len(data.encode()))


def _next_ids(
    connection: sqlite3.Connection,
    after: int,
    until: int,
    limit: int,
    channels: Collection[str],
    topics: Collection[str],
) -> tuple[list[int], int]:
    """The ids of the next page of events that touch any of the scopes, and how far the log was looked through."""
    if len(channels) + len(topics) > FEW_IDS:
        wanted = frozenset(channels), frozenset(topics)
        return in_any_bytes(connection, lambda: _scan(connection, after, until, limit, *wanted))
    ids = _look_up(connection, after, until, limit, channels, topics)
    return ids, ids[-1] if len(ids) == limit else until


def _scan(
    connection: sqlite3.Connection,
    after: int,
    until: int,
    limit: int,
    channels: frozenset[str],
    topics: frozenset[str],
) -> tuple[list[int], int]:
    """Read the log forward once and match in memory, until the page is full or its time is up."""
    found: list[int] = []
    deadline = time.monotonic() + SCAN_SECONDS
    cursor = connection.execute(_SCOPES, (after, until))
    for count, (event_id, channel_id, topic_id, topic_id2) in enumerate(cursor, 1):
        if topic_id in topics or channel_id in channels or topic_id2 in topics:
            found.append(event_id)
        if len(found) == limit or (count % _SCAN_STEP == 0 and time.monotonic() >= deadline):
            until = event_id
            break
    cursor.close()
    return found, until


def _look_up(
    connection: sqlite3.Connection,
    after: int,
    until: int,
    limit: int,
    channels: Collection[str],
    topics: Collection[str],
    tail: bool = False,
) -> list[int]:
    """The ids of a page of events that touch any of the scopes, by one short index range per scope.

    An OR over the three indexes would sort every match of the whole log; here each scope gives at
    most `limit` ids, and with some pages' worth of them the bound moves in, so later scopes give fewer.
    """
    statements = _BACKWARD if tail else _FORWARD
    found: list[tuple[int]] = []
    for column, wanted in zip(_SCOPE_COLUMNS, (channels, topics, topics), strict=True):
        for scope_id in wanted:
            try:
                found += connection.execute(statements[column], (scope_id, after, until, limit)).fetchall()
            except UnicodeEncodeError:
                continue  # a lone surrogate: legal in JSON, but no stored id can hold one
            if len(found) > 4 * limit:
                found = sorted(set(found), reverse=tail)[:limit]
                if len(found) == limit:
                    (last,) = found[-1]
                    after, until = (last - 1, until) if tail else (after, last)
    return sorted(row[0] for row in sorted(set(found), reverse=tail)[:limit])
