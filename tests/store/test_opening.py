"""Which files are opened: new, older, of other hubs; and which are refused."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from agentlip.errors import StorageError
from agentlip.store import mutations, queries
from agentlip.store.database import Database
from agentlip.store.store import Store

from .schema_rows import CHANNEL, MESSAGE, TOPIC


@pytest.fixture(params=[0o022, 0o000], ids=["umask 022", "umask 000"])
def umask(request: pytest.FixtureRequest) -> Any:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_every_file_of_the_database_has_mode_0600(path: Path) -> None:
    store = Store(path, "NORMAL", 5.0)
    store.write(mutations.create_channel, "c", None)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE meta SET value = '0' WHERE key = 'schema_version'")
        connection.commit()
    Database(path).prepare()
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    store.close()
    assert modes.pop("db.sqlite3-peers") == 0o700
    assert len(modes) == 5, "the file, -wal, -shm, -lock and a backup"
    assert set(modes.values()) == {0o600}


def set_version(path: Path, version: str | None) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'schema_version'")
        if version is not None:
            connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", (version,))
        connection.commit()


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def backups(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.bak"))


def refused(path: Path) -> str:
    """Opening the file must fail with one line and change nothing in it; the line."""
    before = dump(path)
    with pytest.raises(StorageError) as caught:
        Store(path, "NORMAL", 5.0)
    assert dump(path) == before
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("version", ["2", "10", "999999999999999999999"])
def test_a_newer_file_is_refused_with_a_clear_error(path: Path, version: str) -> None:
    Database(path).prepare()
    set_version(path, version)
    line = refused(path)
    assert f"schema version {version}, newer than the 1" in line
    assert str(path) in line
    assert backups(path) == []


@pytest.mark.parametrize("version", ["one", "", "1.5"])
def test_a_version_that_is_no_number_is_refused(path: Path, version: str) -> None:
    Database(path).prepare()
    set_version(path, version)
    assert "schema version" in refused(path)


def make_older(path: Path, version: str | None) -> str:
    """A file as a hub before version 1 might have left it; its db_id."""
    db_id = Database(path).prepare()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(CHANNEL, ("c",))
        connection.execute(TOPIC, ("t",))
        connection.execute(MESSAGE, ("s", "findable", 1))
        connection.commit()
        for thing in ("TABLE enrichments", "TRIGGER prevent_event_update", "TRIGGER messages_fts_insert",
                      "TRIGGER messages_fts_update", "TABLE messages_fts"):  # fmt: skip
            connection.execute(f"DROP {thing.replace(' ', ' IF EXISTS ')}")
        connection.commit()
    set_version(path, version)
    return db_id


@pytest.mark.parametrize("version", ["0", None])
def test_an_older_file_is_backed_up_and_migrated(path: Path, version: str | None) -> None:
    db_id = make_older(path, version)
    before = dump(path)
    assert Database(path).prepare() == db_id
    (backup,) = backups(path)
    assert dump(backup) == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT content_raw FROM messages").fetchall() == [("findable",)]
        assert connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchall() == [("1",)]
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'enrichments'").fetchall()
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'prevent_event_update'").fetchall()


def test_a_new_file_needs_no_backup_and_a_current_one_neither(path: Path) -> None:
    first = Database(path).prepare()
    before = dump(path)
    assert Database(path).prepare() == first
    assert dump(path) == before
    assert backups(path) == []


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    Database(path).prepare()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP TABLE enrichments; ALTER TABLE events RENAME COLUMN ts TO t")
    set_version(path, "0")
    assert "table events lacks ts" in refused(path)


OTHER_HUB = """
PRAGMA journal_mode = WAL;
CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT;
CREATE TABLE channels (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL UNIQUE, description TEXT,
  created_at TEXT NOT NULL) STRICT;
CREATE TABLE topics (id TEXT PRIMARY KEY NOT NULL, channel_id TEXT NOT NULL, title TEXT NOT NULL,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL, UNIQUE (channel_id, title),
  FOREIGN KEY (channel_id) REFERENCES channels(id) ON DELETE CASCADE) STRICT;
CREATE TABLE messages (id TEXT PRIMARY KEY NOT NULL, topic_id TEXT NOT NULL, channel_id TEXT NOT NULL,
  sender TEXT NOT NULL, content_raw TEXT NOT NULL, version INTEGER NOT NULL DEFAULT 1, created_at TEXT NOT NULL,
  edited_at TEXT, deleted_at TEXT, deleted_by TEXT,
  FOREIGN KEY (topic_id) REFERENCES topics(id) ON DELETE CASCADE) STRICT;
CREATE TABLE events (event_id INTEGER PRIMARY KEY AUTOINCREMENT, ts TEXT NOT NULL, name TEXT NOT NULL,
  scope_channel_id TEXT, scope_topic_id TEXT, scope_topic_id2 TEXT, entity_type TEXT NOT NULL,
  entity_id TEXT NOT NULL, data_json TEXT NOT NULL) STRICT;
CREATE TABLE topic_attachments (id TEXT PRIMARY KEY NOT NULL, topic_id TEXT NOT NULL, kind TEXT NOT NULL, key TEXT,
  value_json TEXT NOT NULL, dedupe_key TEXT NOT NULL, source_message_id TEXT, created_at TEXT NOT NULL) STRICT;
CREATE UNIQUE INDEX their_dedupe ON topic_attachments(topic_id, kind, COALESCE(key, ''), dedupe_key);
CREATE TABLE enrichments (id TEXT PRIMARY KEY NOT NULL, message_id TEXT NOT NULL, kind TEXT NOT NULL,
  span_start INTEGER NOT NULL, span_end INTEGER NOT NULL, data_json TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
CREATE INDEX their_index ON events(scope_channel_id, event_id);
INSERT INTO meta VALUES ('db_id', 'their-own-id'), ('schema_version', '1'), ('theirs', 'x');
INSERT INTO channels VALUES ('ch_loyw3v28k3Jx_9', 'general', NULL, '2023-11-14T22:13:20.000Z');
INSERT INTO topics VALUES ('topic_loyw3v28A-b7', 'ch_loyw3v28k3Jx_9', 'hello', '2023-11-14T22:13:20.000Z', 'x');
INSERT INTO messages VALUES ('msg_loyw3v28q8fz0a', 'topic_loyw3v28A-b7', 'ch_loyw3v28k3Jx_9', 's', 'first', 1,
  '2023-11-14T22:13:20.000Z', NULL, NULL, NULL);
INSERT INTO messages VALUES ('msg_zzzzzzz0q8fz0a', 'topic_loyw3v28A-b7', 'ch_loyw3v28k3Jx_9', 's', 'of the future', 1,
  '2023-11-14T22:13:20.000Z', NULL, NULL, NULL);
INSERT INTO events (ts, name, scope_channel_id, entity_type, entity_id, data_json)
  VALUES ('x', 'their.event', 'ch_loyw3v28k3Jx_9', 'thing', 'thing_1', '{ "spaced": 1 }');
"""


@pytest.fixture
def of_another_hub(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OTHER_HUB)
    return path


def test_a_file_of_another_hub_opens_as_it_is(of_another_hub: Path) -> None:
    before = dump(of_another_hub)
    store = Store(of_another_hub, "NORMAL", 5.0)
    assert store.db_id == "their-own-id"
    assert store.events_with_more(0, 9, 9, False, (), ())[0][0].data == {"spaced": 1}
    store.close()
    assert dump(of_another_hub) == before
    assert backups(of_another_hub) == []


def test_new_rows_sort_after_those_of_another_hub(of_another_hub: Path) -> None:
    store = Store(of_another_hub, "NORMAL", 5.0)
    message, event_ids = store.write(mutations.post_message, "topic_loyw3v28A-b7", "s", "third https://a.example")
    page, _ = store.read(queries.messages, "ch_loyw3v28k3Jx_9", None, 9, None, None)
    assert [one.id for one in page] == [message.id, "msg_zzzzzzz0q8fz0a", "msg_loyw3v28q8fz0a"]
    assert event_ids == [2, 3]
    store.close()


FOREIGN_FILES = {
    "other tables": "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES (1, 'x')",
    "a table of our name": "CREATE TABLE channels (id TEXT, frequency REAL)",
    "another meta table": "CREATE TABLE meta (k TEXT, v TEXT)",
    "a meta table without our keys": "CREATE TABLE meta (key TEXT, value TEXT); INSERT INTO meta VALUES ('a', 'b')",
    "a version without our tables": "CREATE TABLE meta (key TEXT, value TEXT);"
    "INSERT INTO meta VALUES ('schema_version', '1'), ('db_id', 'x')",
}


def make_foreign(path: Path, script: str) -> bytes:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path.read_bytes()


@pytest.mark.parametrize("script", FOREIGN_FILES.values(), ids=FOREIGN_FILES)
def test_a_database_that_is_not_agentlips_is_refused(path: Path, script: str) -> None:
    make_foreign(path, script)
    refused(path)


@pytest.mark.parametrize("script", FOREIGN_FILES.values(), ids=FOREIGN_FILES)
def test_a_database_that_is_not_agentlips_is_left_alone_without_backups(path: Path, script: str) -> None:
    content = make_foreign(path, script)
    with suppress(StorageError):
        Database(path).prepare()
    assert path.read_bytes() == content
    assert backups(path) == []


def test_a_file_without_a_db_id_is_refused(path: Path) -> None:
    Database(path).prepare()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'db_id'")
        connection.commit()
    assert "db_id" in refused(path)


@pytest.mark.parametrize("content", [b"just some text\n" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StorageError, match="cannot use") as caught:
        Database(path).prepare()
    assert len(str(caught.value).splitlines()) == 1
    assert path.read_bytes() == content


@pytest.mark.parametrize("where", [".", "missing/db.sqlite3"])
def test_a_path_that_can_not_be_a_file_is_refused(tmp_path: Path, where: str) -> None:
    with pytest.raises(StorageError, match="cannot open"):
        Database(tmp_path / where).prepare()
