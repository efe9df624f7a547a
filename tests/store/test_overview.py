"""Counts and rates for the web page."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentlip.store import overview
from agentlip.store.database import Database


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "db.sqlite3"
    database = Database(path, "NORMAL")
    database.prepare()
    database.close_lock()
    opened = sqlite3.connect(path, isolation_level=None)
    yield opened
    opened.close()


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000Z"


def add_events(connection: sqlite3.Connection, rows: list[tuple[int, int]]) -> None:
    for event_id, second in rows:
        connection.execute(
            "INSERT INTO events (event_id, ts, name, scope_channel_id, entity_type, entity_id, data_json) "
            "VALUES (?, ?, 'x', 'ch', 'x', 'x', '{}')",
            (event_id, at(second)),
        )


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(1, 5)],
        [(number, number // 3) for number in range(1, 100)],
        [(1, 0), (2, 0), (3, 0), (4, 9), (5, 9), (6, 30)],
        [(10, 3), (20, 3), (21, 4), (400, 9)],  # another program's log may begin late, and have gaps
    ],
    ids=["none", "one", "many", "equal times", "gaps"],
)
def test_the_last_event_before_a_moment_is_found(connection: sqlite3.Connection, rows: list[tuple[int, int]]) -> None:
    add_events(connection, rows)
    moments = range(45)
    found = overview.last_before(connection, [at(second) for second in moments])
    present = [0, *(event_id for event_id, _ in rows)]
    for second, event_id in zip(moments, found, strict=True):
        expected = max((number for number, when in rows if when < second), default=0)
        # An id in a gap is as good: no event lies between.
        assert max(each for each in present if each <= event_id) == expected


@pytest.mark.parametrize("type_of_ts", ["INTEGER", "BLOB"])
def test_times_of_any_type_are_compared(connection: sqlite3.Connection, type_of_ts: str) -> None:
    """Numbers and NULLs, in a table that another program has made without STRICT."""
    connection.execute("DROP TABLE events")
    connection.execute(
        f"CREATE TABLE events (event_id INTEGER PRIMARY KEY AUTOINCREMENT, ts {type_of_ts}, name, scope_channel_id, "
        "scope_topic_id, scope_topic_id2, entity_type, entity_id, data_json)"
    )
    connection.executemany("INSERT INTO events (ts) VALUES (?)", [(1,), (2.5,), (None,), (at(5),), (at(9),)])
    assert overview.last_before(connection, [at(7), at(30)]) == [4, 5]


def test_messages_are_counted_by_an_index_alone(connection: sqlite3.Connection) -> None:
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {overview._COUNTS}", ("", 10))]
    assert any("messages USING COVERING INDEX idx_messages_topic" in step for step in plan)
    assert not any("SCAN messages" in step or "B-TREE" in step for step in plan)
