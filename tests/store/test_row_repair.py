"""What readers cannot have as it is stored is found in every column of text, and stored as they get it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentlip.model import Topic
from agentlip.store import checkup, mutations, queries, row_repair
from agentlip.store.checkup import Finding
from agentlip.store.store import Store

BAD = "CAST(x'6f6bff' AS TEXT)"
READ = "ok\N{REPLACEMENT CHARACTER}"
INDEX = """
CREATE VIRTUAL TABLE messages_fts USING fts5(content_raw, content='messages', content_rowid='rowid');
CREATE TRIGGER fts_i AFTER INSERT ON messages BEGIN
  INSERT INTO messages_fts(rowid, content_raw) VALUES (new.rowid, new.content_raw);
END;
CREATE TRIGGER fts_u AFTER UPDATE ON messages BEGIN
  INSERT INTO messages_fts(messages_fts, rowid, content_raw) VALUES ('delete', old.rowid, old.content_raw);
  INSERT INTO messages_fts(rowid, content_raw) VALUES (new.rowid, new.content_raw);
END;
"""


@pytest.fixture
def rows(store: Store, topic: Topic, path: Path) -> Iterator[sqlite3.Connection]:
    """A row in every table, and a connection of some other program."""
    message = store.write(mutations.post_message, topic.id, "me", "words")[0]
    store.write(mutations.add_attachment, topic.id, "note", "key", {"a": 1}, "d", message.id)
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as connection:
        connection.execute("INSERT INTO enrichments VALUES ('e_1', ?, 'k', 0, 1, '{}', 't')", (message.id,))
        yield connection


def wrong(path: Path) -> list[Finding]:
    return [it for it in checkup.examine(path) if it.level in ("error", "warning") and "milliseconds" not in it.what]


MENDABLE = [f"{table}.{column}" for table, (_, texts, _) in row_repair._TABLES.items() for column in texts.split()]


@pytest.mark.parametrize("place", MENDABLE)
def test_text_that_is_not_utf_8_is_found_and_mended(rows: sqlite3.Connection, path: Path, place: str) -> None:
    table, column = place.split(".")
    rows.execute(f"UPDATE {table} SET {column} = {BAD}")
    (finding,) = wrong(path)
    assert finding.level == "error"
    assert f"1 {table} hold text that is not UTF-8" in finding.what
    assert "--repair" in finding.remedy
    done = [it for it in checkup.repair(path) if it.level == "repaired" and "mended" in it.what]
    assert len(done) == 1
    assert wrong(path) == []
    assert rows.execute(f"SELECT {column} FROM {table}").fetchall() == [(READ,)]
    (kept,) = path.parent.glob(f"{path.name}.unrepaired-*")
    with closing(sqlite3.connect(kept)) as copy:
        assert copy.execute(f"SELECT hex({column}) FROM {table}").fetchall() == [("6F6BFF",)]


@pytest.mark.parametrize("place", ["topic_attachments.value_json", "enrichments.data_json"])
@pytest.mark.parametrize(
    ("stored", "mended"), [("'{'", "null"), ("'[\"\\ud800\"]'", '["\\ufffd"]'), (BAD, "null"), ("'NaN'", "null")]
)
def test_a_value_that_is_no_json_is_found_and_mended(
    rows: sqlite3.Connection, path: Path, place: str, stored: str, mended: str
) -> None:
    table, column = place.split(".")
    rows.execute(f"UPDATE {table} SET {column} = {stored}")
    assert ["a value that is not JSON" in finding.what for finding in wrong(path)] == [True]
    assert any("mended" in finding.what for finding in checkup.repair(path))
    assert wrong(path) == []
    assert rows.execute(f"SELECT {column} FROM {table}").fetchall() == [(mended,)]


def test_an_id_is_reported_and_left_alone(rows: sqlite3.Connection, path: Path) -> None:
    rows.execute(f"UPDATE enrichments SET id = {BAD}")
    (finding,) = wrong(path)
    assert (finding.level, "an id cannot be repaired" in finding.remedy) == ("error", True)
    assert not any("mended" in it.what for it in checkup.repair(path))
    assert rows.execute("SELECT hex(id) FROM enrichments").fetchall() == [("6F6BFF",)]


def test_an_event_is_reported_and_never_changed(rows: sqlite3.Connection, path: Path) -> None:
    rows.execute(
        "INSERT INTO events (ts, name, scope_channel_id, entity_type, entity_id, data_json) "
        f"VALUES ('2026-01-31T12:00:00.000Z', {BAD}, 'ch_1', 'x', 'y', '1')"
    )
    (finding,) = wrong(path)
    assert (finding.level, finding.remedy) == ("warning", "events never change")
    list(checkup.repair(path))
    assert wrong(path) == [finding]


def test_good_rows_are_not_touched_and_nothing_is_copied(rows: sqlite3.Connection, path: Path) -> None:
    before = list(rows.iterdump())
    assert not any("mended" in finding.what for finding in checkup.repair(path))
    assert list(rows.iterdump()) == before
    assert list(path.parent.glob("*.unrepaired-*")) == []


def test_a_full_text_index_that_is_not_filled(rows: sqlite3.Connection, path: Path, topic: Topic) -> None:
    rows.executescript(INDEX)
    (finding,) = wrong(path)
    assert finding.what == "the full-text index lacks 1 messages"
    assert any("filled the full-text index" in it.what for it in checkup.repair(path))
    assert wrong(path) == []
    assert rows.execute("SELECT count(*) FROM messages_fts WHERE messages_fts MATCH 'words'").fetchone() == (1,)
    rows.execute(f"UPDATE messages SET content_raw = {BAD}")
    assert any("mended" in it.what for it in checkup.repair(path))
    rows.execute("INSERT INTO messages_fts (messages_fts, rank) VALUES ('integrity-check', 1)")
    store = Store(path, "NORMAL", 5.0)
    assert store.read(queries.messages, None, topic.id, 9, None, None)[0][0].content_raw == READ
    store.close()
