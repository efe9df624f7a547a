"""The tables of docs/protocol.md: columns, indexes, and the limits that the file itself keeps."""

from __future__ import annotations

import re
import sqlite3
import uuid
from typing import Any

import pytest

from agentlip.model import Topic
from agentlip.store import mutations
from agentlip.store.store import Store

from .schema_rows import CHANNEL, MESSAGE, TOPIC

# column: type, with "!" for NOT NULL and "*" for the primary key
TABLES = {
    "meta": "key TEXT!* value TEXT!",
    "channels": "id TEXT!* name TEXT! description TEXT created_at TEXT!",
    "topics": "id TEXT!* channel_id TEXT! title TEXT! created_at TEXT! updated_at TEXT!",
    "messages": "id TEXT!* topic_id TEXT! channel_id TEXT! sender TEXT! content_raw TEXT! version INTEGER! "
    "created_at TEXT! edited_at TEXT deleted_at TEXT deleted_by TEXT",
    "events": "event_id INTEGER* ts TEXT! name TEXT! scope_channel_id TEXT scope_topic_id TEXT scope_topic_id2 TEXT "
    "entity_type TEXT! entity_id TEXT! data_json TEXT!",
    "topic_attachments": "id TEXT!* topic_id TEXT! kind TEXT! key TEXT value_json TEXT! dedupe_key TEXT! "
    "source_message_id TEXT created_at TEXT!",
    "enrichments": "id TEXT!* message_id TEXT! kind TEXT! span_start INTEGER! span_end INTEGER! data_json TEXT! "
    "created_at TEXT!",
}
INDEXES = [
    ("topics", "channel_id,updated_at DESC"),
    ("messages", "topic_id,id DESC"),
    ("messages", "channel_id,id DESC"),
    ("messages", "created_at DESC"),
    ("events", "scope_channel_id,event_id"),
    ("events", "scope_topic_id,event_id"),
    ("events", "scope_topic_id2,event_id"),
    ("topic_attachments", "topic_id,created_at DESC"),
    ("enrichments", "message_id,created_at DESC"),
]
FOREIGN_KEYS = {
    "topics": [("channels", "channel_id", "id", "CASCADE")],
    "messages": [("topics", "topic_id", "id", "CASCADE")],
    "topic_attachments": [("topics", "topic_id", "id", "CASCADE"), ("messages", "source_message_id", "id", "SET NULL")],
    "enrichments": [("messages", "message_id", "id", "CASCADE")],
}
EVENT = (
    "INSERT INTO events (ts, name, scope_channel_id, entity_type, entity_id, data_json) "
    "VALUES ('t', 'channel.created', 'ch_1', 'channel', 'ch_1', '{}')"
)
ATTACHMENT = "INSERT INTO topic_attachments VALUES (?, 'topic_1', 'k', ?, ?, 'd', ?, 't')"
ENRICHMENT = "INSERT INTO enrichments VALUES ('e_1', 'msg_1', 'k', ?, ?, '{}', 't')"


@pytest.fixture
def filled(foreign: sqlite3.Connection) -> sqlite3.Connection:
    """One row in each table."""
    foreign.execute("PRAGMA foreign_keys = ON")
    foreign.execute(CHANNEL, ("c",))
    foreign.execute(TOPIC, ("t",))
    foreign.execute(MESSAGE, ("s", "some words", 1))
    foreign.execute(EVENT)
    foreign.execute(ATTACHMENT, ("att_1", None, "{}", "msg_1"))
    foreign.execute(ENRICHMENT, (0, 1))
    return foreign


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_the_columns_of_the_contract(foreign: sqlite3.Connection, table: str) -> None:
    rows = foreign.execute(f"PRAGMA table_info({table})").fetchall()
    assert " ".join(f"{row[1]} {row[2]}{'!' * row[3]}{'*' * row[5]}" for row in rows) == TABLES[table]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_strict(foreign: sqlite3.Connection, table: str) -> None:
    assert foreign.execute("SELECT strict FROM pragma_table_list WHERE name = ?", (table,)).fetchall() == [(1,)]


@pytest.mark.parametrize(("table", "columns"), INDEXES)
def test_an_index_of_the_contract_is_there(foreign: sqlite3.Connection, table: str, columns: str) -> None:
    present = []
    for row in foreign.execute(f"PRAGMA index_list({table})").fetchall():
        parts = foreign.execute(f"PRAGMA index_xinfo({row[1]})").fetchall()
        present.append(",".join(part[2] + " DESC" * part[3] for part in parts if part[5] and part[2]))
    assert columns in present


@pytest.mark.parametrize("table", FOREIGN_KEYS)
def test_a_table_refers_to_its_parents(foreign: sqlite3.Connection, table: str) -> None:
    rows = foreign.execute(f"PRAGMA foreign_key_list({table})").fetchall()
    assert sorted((row[2], row[3], row[4], row[6]) for row in rows) == sorted(FOREIGN_KEYS[table])


def test_event_ids_are_autoincrement(foreign: sqlite3.Connection) -> None:
    assert foreign.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchall()


def test_meta_tells_the_identity_the_version_and_the_birthday(store: Store, foreign: sqlite3.Connection) -> None:
    meta = dict(foreign.execute("SELECT key, value FROM meta").fetchall())
    assert meta["schema_version"] == "1"
    assert str(uuid.UUID(meta["db_id"])) == meta["db_id"] == store.db_id
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", meta["created_at"])


def test_the_file_is_in_wal_mode(foreign: sqlite3.Connection) -> None:
    assert foreign.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM messages",
        "DELETE FROM topics",  # would cascade to messages
        "DELETE FROM channels",
        "DELETE FROM events",
        "UPDATE events SET data_json = '[]'",
        "UPDATE events SET event_id = 77",
    ],
)
def test_history_can_not_be_rewritten(filled: sqlite3.Connection, statement: str) -> None:
    before = list(filled.iterdump())
    with pytest.raises(sqlite3.IntegrityError, match=r"never|immutable"):
        filled.execute(statement)
    assert list(filled.iterdump()) == before


def test_messages_can_be_updated(filled: sqlite3.Connection) -> None:
    filled.execute("UPDATE messages SET content_raw = '[deleted]', version = version + 1")
    assert filled.execute("SELECT content_raw, version FROM messages").fetchall() == [("[deleted]", 2)]


LONG = "x" * 65536
VALUE = "x" * 16384


@pytest.mark.parametrize(
    ("clear", "statement", "values", "allowed"),
    [
        ("", CHANNEL.replace("ch_1", "ch_2"), ("",), False),
        ("", CHANNEL.replace("ch_1", "ch_2"), ("n" * 100,), True),
        ("", CHANNEL.replace("ch_1", "ch_2"), ("n" * 101,), False),
        ("", CHANNEL.replace("ch_1", "ch_2"), ("c",), False),
        ("", TOPIC.replace("topic_1", "topic_2"), ("",), False),
        ("", TOPIC.replace("topic_1", "topic_2"), ("n" * 200,), True),
        ("", TOPIC.replace("topic_1", "topic_2"), ("n" * 201,), False),
        ("", TOPIC.replace("topic_1", "topic_2"), ("t",), False),
        ("", TOPIC.replace("topic_1", "topic_2").replace("ch_1", "ch_9"), ("x",), False),
        ("", MESSAGE.replace("msg_1", "msg_2"), ("", "x", 1), False),
        ("", MESSAGE.replace("msg_1", "msg_2"), ("s", LONG, 1), True),
        ("", MESSAGE.replace("msg_1", "msg_2"), ("s", LONG + "x", 1), False),
        ("", MESSAGE.replace("msg_1", "msg_2"), ("s", "x", 0), False),
        ("", MESSAGE.replace("msg_1", "msg_2"), ("s", "x", "one"), False),
        ("", ATTACHMENT, ("att_2", "", "{}", None), False),
        ("", ATTACHMENT, ("att_2", "other key", "{}", None), True),
        ("topic_attachments", ATTACHMENT, ("att_2", None, VALUE, None), True),
        ("topic_attachments", ATTACHMENT, ("att_2", None, VALUE + "x", None), False),
        ("enrichments", ENRICHMENT, (0, 1), True),
        ("enrichments", ENRICHMENT, (-1, 1), False),
        ("enrichments", ENRICHMENT, (3, 3), False),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_the_file_itself_keeps_the_limits(
    filled: sqlite3.Connection, clear: str, statement: str, values: Any, allowed: bool
) -> None:
    if clear:
        filled.execute(f"DELETE FROM {clear}")
    if allowed:
        assert filled.execute(statement, values).rowcount == 1
    else:
        with pytest.raises(sqlite3.IntegrityError):
            filled.execute(statement, values)


SEARCH_INDEX = """
CREATE VIRTUAL TABLE messages_fts USING fts5(content_raw, content='messages', content_rowid='rowid');
CREATE TRIGGER messages_fts_insert AFTER INSERT ON messages BEGIN
  INSERT INTO messages_fts(rowid, content_raw) VALUES (new.rowid, new.content_raw);
END;
CREATE TRIGGER messages_fts_update AFTER UPDATE OF content_raw ON messages BEGIN
  INSERT INTO messages_fts(messages_fts, rowid, content_raw) VALUES ('delete', old.rowid, old.content_raw);
  INSERT INTO messages_fts(rowid, content_raw) VALUES (new.rowid, new.content_raw);
END;
"""


def found(connection: sqlite3.Connection, word: str) -> list[str]:
    sql = "SELECT id FROM messages WHERE rowid IN (SELECT rowid FROM messages_fts WHERE messages_fts MATCH ?)"
    return [row[0] for row in connection.execute(sql, (word,)).fetchall()]


def test_the_search_index_of_another_hubs_file_follows_the_messages(
    store: Store, topic: Topic, foreign: sqlite3.Connection
) -> None:
    foreign.executescript(SEARCH_INDEX)
    message, _ = store.write(mutations.post_message, topic.id, "s", "a red\0 apple")
    assert found(foreign, "red") == [message.id]
    store.write(mutations.edit_message, message.id, "a green pear", None)
    assert (found(foreign, "red"), found(foreign, "pear")) == ([], [message.id])
    store.write(mutations.delete_message, message.id, "s", None)
    assert (found(foreign, "pear"), found(foreign, "deleted")) == ([], [message.id])
    foreign.execute("INSERT INTO messages_fts (messages_fts, rank) VALUES ('integrity-check', 1)")
