"""The tables, and the ordered migrations that lead to them (docs/protocol.md, section 2).

A file made by another v1 hub is opened as it is: nothing in it is changed.  A new or older file
is brought forward in one transaction; an older one is copied beside the file first.
"""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path

from ..errors import StorageError
from ..model import timestamp
from ..workspace.folder import hand_over

SCHEMA_VERSION = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (
  key TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS channels (
  id TEXT PRIMARY KEY NOT NULL,
  name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
  description TEXT,
  created_at TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS topics (
  id TEXT PRIMARY KEY NOT NULL,
  channel_id TEXT NOT NULL REFERENCES channels(id) ON DELETE CASCADE,
  title TEXT NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  UNIQUE (channel_id, title)
) STRICT;
CREATE TABLE IF NOT EXISTS messages (
  id TEXT PRIMARY KEY NOT NULL,
  topic_id TEXT NOT NULL REFERENCES topics(id) ON DELETE CASCADE,
  channel_id TEXT NOT NULL,
  sender TEXT NOT NULL CHECK (length(sender) >= 1),
  content_raw TEXT NOT NULL CHECK (length(content_raw) <= 65536),
  version INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1),
  created_at TEXT NOT NULL,
  edited_at TEXT,
  deleted_at TEXT,
  deleted_by TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS events (
  event_id INTEGER PRIMARY KEY AUTOINCREMENT,
  ts TEXT NOT NULL,
  name TEXT NOT NULL,
  scope_channel_id TEXT,
  scope_topic_id TEXT,
  scope_topic_id2 TEXT,
  entity_type TEXT NOT NULL,
  entity_id TEXT NOT NULL,
  data_json TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS topic_attachments (
  id TEXT PRIMARY KEY NOT NULL,
  topic_id TEXT NOT NULL REFERENCES topics(id) ON DELETE CASCADE,
  kind TEXT NOT NULL CHECK (length(kind) >= 1),
  key TEXT,
  value_json TEXT NOT NULL CHECK (length(value_json) <= 16384),
  dedupe_key TEXT NOT NULL CHECK (length(dedupe_key) >= 1),
  source_message_id TEXT REFERENCES messages(id) ON DELETE SET NULL,
  created_at TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS enrichments (
  id TEXT PRIMARY KEY NOT NULL,
  message_id TEXT NOT NULL REFERENCES messages(id) ON DELETE CASCADE,
  kind TEXT NOT NULL,
  span_start INTEGER NOT NULL CHECK (span_start >= 0),
  span_end INTEGER NOT NULL CHECK (span_end > span_start),
  data_json TEXT NOT NULL,
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS idx_topics_channel ON topics(channel_id, updated_at DESC);
CREATE INDEX IF NOT EXISTS idx_messages_topic ON messages(topic_id, id DESC);
CREATE INDEX IF NOT EXISTS idx_messages_channel ON messages(channel_id, id DESC);
CREATE INDEX IF NOT EXISTS idx_messages_created ON messages(created_at DESC);
CREATE INDEX IF NOT EXISTS idx_events_channel ON events(scope_channel_id, event_id);
CREATE INDEX IF NOT EXISTS idx_events_topic ON events(scope_topic_id, event_id);
CREATE INDEX IF NOT EXISTS idx_events_topic2 ON events(scope_topic_id2, event_id);
CREATE INDEX IF NOT EXISTS idx_attachments_topic ON topic_attachments(topic_id, created_at DESC);
CREATE UNIQUE INDEX IF NOT EXISTS idx_attachments_dedupe
  ON topic_attachments(topic_id, kind, COALESCE(key, ''), dedupe_key);
CREATE INDEX IF NOT EXISTS idx_enrichments_message ON enrichments(message_id, created_at DESC);
CREATE TRIGGER IF NOT EXISTS prevent_message_delete BEFORE DELETE ON messages
  BEGIN SELECT RAISE(ABORT, 'messages are never deleted, only tombstoned'); END;
CREATE TRIGGER IF NOT EXISTS prevent_event_update BEFORE UPDATE ON events
  BEGIN SELECT RAISE(ABORT, 'events are immutable'); END;
CREATE TRIGGER IF NOT EXISTS prevent_event_delete BEFORE DELETE ON events
  BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;
"""

# What the code needs to find, however the file was made.
_COLUMNS = {
    "meta": "key value",
    "channels": "id name description created_at",
    "topics": "id channel_id title created_at updated_at",
    "messages": "id topic_id channel_id sender content_raw version created_at edited_at deleted_at deleted_by",
    "events": "event_id ts name scope_channel_id scope_topic_id scope_topic_id2 entity_type entity_id data_json",
    "topic_attachments": "id topic_id kind key value_json dedupe_key source_message_id created_at",
    "enrichments": "id message_id kind span_start span_end data_json created_at",
}


def statements(script: str) -> list[str]:
    """Split a script into statements; `executescript` would commit the open transaction."""
    statements, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements


def _to_version_1(connection: sqlite3.Connection, now_ms: int) -> None:
    for statement in statements(_TABLES):
        connection.execute(statement)
    connection.executemany(
        "INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)",
        [("db_id", str(uuid.uuid4())), ("created_at", timestamp(now_ms))],
    )


# Entry n leads from version n to version n + 1.
_MIGRATIONS = (_to_version_1,)


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StorageError unless the file is empty or an Agentlip database this code can open; changes nothing."""
    if not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall():
        return
    version = version_of(connection)
    if version is None and not {"channels", "messages", "events"} <= _tables(connection):
        raise StorageError(f"{path} is not an Agentlip database: it has no schema version")
    if version is not None and version > SCHEMA_VERSION:
        raise StorageError(
            f"{path} has schema version {version}, newer than the {SCHEMA_VERSION} this release knows; "
            "use a newer release of agentlip"
        )
    _check_columns(connection, path, set(_COLUMNS) if version == SCHEMA_VERSION else _tables(connection))


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()}


def version_of(connection: sqlite3.Connection) -> int | None:
    """The file's schema version; None for a file without one. Raises StorageError if it is not a number."""
    if not {"key", "value"} <= {row[1] for row in connection.execute("PRAGMA table_info(meta)").fetchall()}:
        return None
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    if row is None:
        return None
    try:
        version = int(row[0])
        if version < 0:
            raise ValueError
        return version
    except ValueError:
        raise StorageError(f"the database has the schema version {str(row[0])[:40]!r}, which is not a number") from None


def migrate(connection: sqlite3.Connection, path: Path, now_ms: int) -> None:
    """Bring the file to SCHEMA_VERSION. The caller keeps other starters out; may block on the disk.

    Raises StorageError when the file is newer than this code or is not an Agentlip database.
    """
    check(connection, path)
    version = version_of(connection) or 0
    if version < SCHEMA_VERSION:
        if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall():
            _back_up(connection, path, version, now_ms)
        connection.execute("BEGIN IMMEDIATE")
        try:
            for step in _MIGRATIONS[version:]:
                step(connection, now_ms)
            _check_columns(connection, path, set(_COLUMNS))
            connection.execute(
                "INSERT INTO meta (key, value) VALUES ('schema_version', ?) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (str(SCHEMA_VERSION),),
            )
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _check_columns(connection: sqlite3.Connection, path: Path, tables: set[str]) -> None:
    for table in sorted(tables & set(_COLUMNS)):
        present = {row[1] for row in connection.execute(f"PRAGMA table_info({table})").fetchall()}
        missing = set(_COLUMNS[table].split()) - present
        if missing:
            raise StorageError(f"{path} is not an Agentlip database: table {table} lacks {', '.join(sorted(missing))}")


def _back_up(connection: sqlite3.Connection, path: Path, version: int, now_ms: int) -> None:
    target = path.with_name(f"{path.name}.v{version}-{now_ms}.bak")
    target.touch(mode=0o600)
    hand_over(target)
    copy = sqlite3.connect(target)
    try:
        connection.backup(copy)
    finally:
        copy.close()
