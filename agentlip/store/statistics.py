"""Figures of a database file for people, read from outside: no hub need run, and nothing is changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..errors import StorageError

_BUSY_SECONDS = 2.0
_FIGURES = """
SELECT (SELECT value FROM meta WHERE key = 'db_id'),
       (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'schema_version'),
       (SELECT COALESCE(MAX(event_id), 0) FROM events),
       (SELECT COUNT(*) FROM channels),
       (SELECT COUNT(*) FROM topics),
       (SELECT COUNT(*) FROM messages)
"""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What one file holds at one moment; `head` is its latest event id, 0 when there is none. Sizes are bytes."""

    db_id: str
    schema_version: int
    head: int
    channels: int
    topics: int
    messages: int
    database_bytes: int
    wal_bytes: int

    @classmethod
    def read(cls, path: Path) -> Statistics:
        """Count, in one read transaction; blocks on the disk, longer for millions of messages. Raises StorageError."""
        try:
            # Opened for writing, so that the last one to close removes the -wal and -shm files.
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS)) as connection:
                connection.execute("PRAGMA query_only = ON")
                row = connection.execute(_FIGURES).fetchone()
                sizes = _size(path), _size(path.with_name(path.name + "-wal"))
        except sqlite3.Error as error:
            raise StorageError(f"cannot read {path}: {error}") from None
        db_id, schema_version, head, channels, topics, messages = row
        return cls(str(db_id), schema_version or 0, head, channels, topics, messages, *sizes)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
