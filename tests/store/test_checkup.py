"""The check-up of the database file, on files that are broken on purpose, and what can be put right."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from agentlip.model import Topic
from agentlip.store import checkup, mutations, parts
from agentlip.store.checkup import Finding
from agentlip.store.store import Store

from ..running_hub import eventually

EVENT = (
    "INSERT INTO events (ts, name, scope_channel_id, entity_type, entity_id, data_json) VALUES (?, ?, ?, 'x', 'y', ?)"
)
TIME = "2026-01-31T12:00:00.000Z"


def bad(path: Path) -> list[Finding]:
    return [finding for finding in checkup.examine(path) if finding.level != "ok"]


def only(path: Path) -> Finding:
    """The one thing that is wrong with the file."""
    found = bad(path)
    assert len(found) == 1, [str(finding) for finding in found]
    return found[0]


def repaired(path: Path) -> list[Finding]:
    return [finding for finding in checkup.repair(path) if "the WAL" not in finding.what]


def drop(connection: sqlite3.Connection, kind: str, name: str) -> str:
    """Drop an index or trigger; returns the statement that made it."""
    row = connection.execute("SELECT sql FROM sqlite_master WHERE type = ? AND name = ?", (kind, name)).fetchone()
    connection.execute(f"DROP {kind} {name}")
    return str(row[0])


@pytest.fixture
def filled(store: Store, topic: Topic) -> Topic:
    """A topic with messages; its two events and theirs are ids 1 to 22."""
    for number in range(20):
        store.write(mutations.post_message, topic.id, "me", f"message {number}", [])
    return topic


def close(store: Store, path: Path) -> None:
    """Close the store; when the WAL is gone everything is in the file."""
    store.close()
    eventually(lambda: not path.with_name(path.name + "-wal").exists(), 5, "the end of the WAL")


def contents(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [line for line in connection.iterdump() if line.startswith("INSERT")]


@pytest.mark.usefixtures("filled")
def test_a_database_in_use_is_fine(path: Path) -> None:
    named: list[str] = []
    findings = list(checkup.examine(path, named.append))
    assert {finding.level for finding in findings} == {"ok"}
    assert "22 events, 1 to 22, without a gap" in [finding.what for finding in findings]
    assert "the file" in named


@pytest.mark.usefixtures("store")
def test_a_new_database_is_fine(path: Path) -> None:
    assert bad(path) == []


def test_a_checkup_writes_nothing(store: Store, filled: Topic, path: Path) -> None:
    close(store, path)
    before = path.read_bytes()
    assert bad(path) == []
    assert path.read_bytes() == before


def test_it_works_while_somebody_writes(store: Store, filled: Topic, path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store.write(mutations.post_message, filled.id, "me", "hi", [])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            assert bad(path) == []
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize(
    ("name", "does"),
    [
        ("prevent_message_delete", "trigger on messages is missing: refuse DELETE"),
        ("prevent_event_update", "trigger on events is missing: refuse UPDATE"),
        ("prevent_event_delete", "trigger on events is missing: refuse DELETE"),
    ],
)
@pytest.mark.usefixtures("filled")
def test_a_missing_trigger_is_found_and_made_again(
    foreign: sqlite3.Connection, path: Path, name: str, does: str
) -> None:
    drop(foreign, "trigger", name)
    finding = only(path)
    assert finding.level == "error"
    assert does in finding.what
    assert "--repair" in finding.remedy
    before = contents(path)
    assert [finding.level for finding in repaired(path)] == ["repaired"]
    assert bad(path) == []
    assert contents(path) == before
    with pytest.raises(sqlite3.IntegrityError):
        foreign.execute("DELETE FROM events" if "event_delete" in name else f"{_forbidden(name)}")


def _forbidden(name: str) -> str:
    return "UPDATE events SET name = 'x'" if "update" in name else "DELETE FROM messages"


@pytest.mark.usefixtures("filled")
def test_a_trigger_that_refuses_only_sometimes_counts_as_missing(foreign: sqlite3.Connection, path: Path) -> None:
    sql = drop(foreign, "trigger", "prevent_event_delete")
    foreign.execute(sql.replace("ON events", "ON events WHEN old.event_id > 5"))
    assert "refuse DELETE" in only(path).what


@pytest.mark.parametrize(
    ("name", "level", "does"),
    [
        ("idx_events_topic", "warning", "index on events is missing: (scope_topic_id, event_id)"),
        ("idx_topics_channel", "warning", "index on topics is missing: (channel_id, updated_at DESC)"),
        ("idx_attachments_dedupe", "error", "unique (topic_id, kind, an expression, dedupe_key)"),
    ],
)
@pytest.mark.usefixtures("filled")
def test_a_missing_index_is_found_and_made_again(
    foreign: sqlite3.Connection, path: Path, name: str, level: str, does: str
) -> None:
    drop(foreign, "index", name)
    assert only(path).level == level
    assert does in only(path).what
    assert [finding.level for finding in repaired(path)] == ["repaired"]
    assert bad(path) == []


@pytest.mark.usefixtures("filled")
def test_other_names_of_indexes_and_triggers_are_fine(foreign: sqlite3.Connection, path: Path) -> None:
    for kind, name in (("index", "idx_events_topic"), ("trigger", "prevent_event_delete")):
        foreign.execute(drop(foreign, kind, name).replace(name, f"another_{kind}"))
    assert bad(path) == []
    assert repaired(path) == []


def test_an_index_that_the_rows_do_not_allow_is_left_out(store: Store, filled: Topic, foreign: sqlite3.Connection,
                                                         path: Path) -> None:  # fmt: skip
    drop(foreign, "index", "idx_attachments_dedupe")
    for key in "ab":
        foreign.execute(
            "INSERT INTO topic_attachments VALUES (?, ?, 'k', NULL, '{}', 'd', NULL, ?)", (key, filled.id, TIME)
        )
    assert [finding.level for finding in repaired(path)] == ["skipped"]
    assert only(path).level == "error"


@pytest.mark.usefixtures("filled")
def test_a_gap_in_the_log_is_found(foreign: sqlite3.Connection, path: Path) -> None:
    sql = drop(foreign, "trigger", "prevent_event_delete")
    foreign.execute("DELETE FROM events WHERE event_id IN (7, 10, 11)")
    foreign.execute(sql)
    assert only(path).level == "error"
    assert only(path).what == "3 events are missing from the log,  7, 10 to 11 among them"
    assert repaired(path) == []


@pytest.mark.parametrize(("given", "level"), [(21, "error"), (23, "warning")])
@pytest.mark.usefixtures("filled")
def test_the_sequence_of_ids_must_stand_at_the_head(
    foreign: sqlite3.Connection, path: Path, given: int, level: str
) -> None:
    foreign.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'events'", (given,))
    assert only(path).level == level


@pytest.mark.parametrize(
    ("ts", "name", "scope", "data", "level", "what"),
    [
        (TIME, "message.created", "ch_1", "{}", "error", "1 events without the scope ids that their name asks for"),
        (TIME, "my.own", None, "{}", "error", "1 events without the scope ids"),
        (TIME, "my.own", "ch_1", "{", "error", "1 events whose data is not JSON"),
        (TIME, "my.own", "ch_1", "{}\0", "error", "1 events whose data is not JSON"),
        ("today", "my.own", "ch_1", "{}", "warning", "1 of events"),
    ],
)
@pytest.mark.usefixtures("filled")
def test_a_wrong_event_is_found(
    foreign: sqlite3.Connection, path: Path, ts: str, name: str, scope: str | None, data: str, level: str, what: str
) -> None:
    foreign.execute(EVENT, (ts, name, scope, data))
    assert only(path).level == level
    assert what in only(path).what


@pytest.mark.usefixtures("filled")
def test_an_event_of_ones_own_is_fine(foreign: sqlite3.Connection, path: Path) -> None:
    foreign.execute(EVENT, (TIME, "my.own", "ch_1", "[1]"))
    assert bad(path) == []


@pytest.mark.usefixtures("filled")
def test_a_message_outside_its_topics_channel_is_found(foreign: sqlite3.Connection, path: Path) -> None:
    foreign.execute("UPDATE messages SET channel_id = 'ch_other' WHERE content_raw = 'message 3'")
    assert "1 messages in another channel than their topic" in only(path).what


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("version", [1 << 53, (1 << 63) - 1])
def test_a_version_beyond_what_clients_can_count_is_a_warning(
    foreign: sqlite3.Connection, path: Path, version: int
) -> None:
    foreign.execute("UPDATE messages SET version = ? WHERE content_raw = 'message 7'", (version,))
    assert only(path).level == "warning"
    assert only(path).what.startswith("1 messages have a version that")


@pytest.mark.usefixtures("filled")
def test_a_missing_parent_row_is_found(foreign: sqlite3.Connection, path: Path) -> None:
    foreign.execute("PRAGMA foreign_keys = OFF")
    foreign.execute("UPDATE messages SET topic_id = 'topic_gone' WHERE content_raw = 'message 3'")
    assert only(path).what == "1 rows refer to a row that is missing: messages without topics"


def test_a_damaged_page_is_found_and_nothing_is_repaired(store: Store, filled: Topic, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        sql = "SELECT rootpage FROM sqlite_master WHERE name = 'messages'"
        root, size = connection.execute(sql).fetchone()[0], connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute("DROP INDEX idx_events_topic")
    close(store, path)
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(os.urandom(size))
    levels = {finding.level for finding in bad(path) if "restore a backup" in finding.remedy}
    assert levels == {"error"}
    before = path.read_bytes()
    assert [finding.level for finding in checkup.repair(path)] == ["skipped"]
    assert path.read_bytes() == before


@pytest.mark.usefixtures("filled")
def test_a_newer_schema_is_an_error_and_left_alone(foreign: sqlite3.Connection, path: Path) -> None:
    drop(foreign, "trigger", "prevent_event_delete")
    foreign.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    assert only(path).level == "error"
    assert "schema version 99" in only(path).what
    assert [finding.level for finding in repaired(path)] == ["skipped"]
    with closing(parts.new_database()) as new:
        assert len(parts.missing(foreign)) == 1
        assert parts.missing(new) == []


@pytest.mark.usefixtures("filled")
def test_a_missing_column_is_an_error(foreign: sqlite3.Connection, path: Path) -> None:
    foreign.execute("ALTER TABLE channels DROP COLUMN description")
    assert "table channels lacks description" in only(path).what


def test_a_file_that_is_no_database_is_one_error(path: Path) -> None:
    path.write_bytes(b"no database at all " * 100)
    assert only(path).level == "error"
    assert "file is not a database" in only(path).what


def test_a_missing_file_is_one_error(path: Path) -> None:
    assert only(path).level == "error"
    assert not path.exists()


def test_an_empty_file_waits_for_its_hub(path: Path) -> None:
    path.touch()
    assert only(path).level == "warning"
    assert path.stat().st_size == 0


def test_tables_that_are_not_strict_are_a_warning(path: Path) -> None:
    with closing(parts.new_database()) as new, closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for sql in new.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*'"):
            connection.execute(sql[0].replace("STRICT", ""))
        connection.executemany("INSERT INTO meta VALUES (?, ?)", new.execute("SELECT key, value FROM meta").fetchall())
    assert only(path).level == "warning"
    assert "not STRICT" in only(path).what


def test_the_wal_is_moved_into_the_database(store: Store, filled: Topic, path: Path) -> None:
    wal = path.with_name(path.name + "-wal")
    assert wal.stat().st_size > 0
    assert [finding.level for finding in checkup.repair(path)] == ["repaired"]
    assert wal.stat().st_size == 0
    assert store.latest() == 22


@pytest.mark.usefixtures("filled")
def test_a_wal_in_use_is_left(foreign: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "_BUSY_SECONDS", 0.1)
    foreign.execute("BEGIN")
    foreign.execute("SELECT * FROM meta").fetchall()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(EVENT, (TIME, "my.own", "ch_1", "{}"))
    assert [finding.level for finding in checkup.repair(path)] == ["skipped"]
    foreign.execute("ROLLBACK")


@pytest.mark.parametrize("how", ["an event", "the sequence"])
def test_a_log_without_ids_is_an_error(foreign: sqlite3.Connection, path: Path, how: str) -> None:
    if how == "an event":
        foreign.execute(EVENT.replace("(ts", "(event_id, ts").replace("VALUES (", "VALUES (9223372036854775807, "),
                        (TIME, "own", "ch", "{}"))  # fmt: skip
    else:
        foreign.execute("INSERT INTO sqlite_sequence VALUES ('events', 9223372036854775807)")
    words = "the last possible event id, 9223372036854775807, is taken: nothing can be written"
    assert [finding.level for finding in bad(path) if finding.what == words] == ["error"]


def test_event_ids_beyond_what_readers_can_count_are_a_warning(foreign: sqlite3.Connection, path: Path) -> None:
    foreign.execute("INSERT INTO sqlite_sequence VALUES ('events', 9007199254740992)")
    assert "many JSON readers cannot tell the latest event ids, up to 9007199254740992, apart" in [
        finding.what for finding in bad(path)
    ]


@pytest.mark.parametrize("made", ["ch_" + "a" * 62, "ch_a b"])
def test_an_id_that_no_call_takes_is_found(foreign: sqlite3.Connection, path: Path, made: str) -> None:
    foreign.execute("INSERT INTO channels (id, name, created_at) VALUES (?, 'odd', ?)", (made, TIME))
    assert only(path).what == f"1 channels with an id that no call takes, the first is {made}"
