"""A backup put into the place of the database, as a log of its own.

The restored log gets a new `db_id`. Its event ids go on where the backup ends, and will be given to other events than
those that clients have seen since: by the new identity they learn of it, also when the log has grown past their cursor.

The database that was there is kept beside the new one, under a name of its own.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from ..errors import StorageError
from ..workspace.folder import hand_over
from . import log, schema
from .backup import COMPANIONS, back_up, open_read_only, sync, temporary_beside

_SHOWN = 3


class Restored(NamedTuple):
    """A database in its place: the new identity of its log and its head, and where the one before it is kept."""

    path: Path
    size: int
    db_id: str
    head: int
    kept: Path | None


def restore(
    source: Path,
    database: Path,
    now_ms: int,
    on_progress: Callable[[int, int], None] = lambda _done, _pages: None,
) -> Restored:
    """Put a checked copy of `source` in the place of the database. The caller holds the writer lock.

    `source` may be the database itself: a file that was copied in by hand. Raises StorageError, one clear line; then,
    and after any other exception, the database is as it was.
    """
    if not source.is_file():
        raise StorageError(f"there is no file {source}")
    try:
        _check_source(source)
        with temporary_beside(database) as copy:
            back_up(source, copy, replace=True, on_progress=on_progress)
            db_id, head = _make_new_log(copy, source)
            hand_over(copy)
            sync(copy)
            kept = _keep(database, now_ms)
            os.replace(copy, database)
        sync(database.parent)
        return Restored(database, database.stat().st_size, db_id, head, kept)
    except sqlite3.Error as error:
        raise StorageError(f"cannot restore {source}: {error}") from None
    except OSError as error:
        raise StorageError(f"cannot write {database}: {error.strerror}") from None


def _check_source(source: Path) -> None:
    """Raise StorageError unless it is a database that this release can open."""
    with closing(open_read_only(source)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall():
            raise StorageError(f"{source} is empty")
        schema.check(connection, source)


def _make_new_log(copy: Path, source: Path) -> tuple[str, int]:
    """Check every page and reference, and give the log a new identity; returns it, and the log's head."""
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        problems = [" ".join(str(row[0]).split()) for row in connection.execute("PRAGMA integrity_check(20)")]
        if problems != ["ok"]:
            raise StorageError(f"{source} is damaged: {'; '.join(problems[:_SHOWN])}")
        orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
        if orphans:
            raise StorageError(f"{source} is damaged: {len(orphans)} rows refer to a row that is missing")
        db_id = str(uuid.uuid4())
        connection.execute("UPDATE meta SET value = ? WHERE key = 'db_id'", (db_id,))
        return db_id, log.latest(connection)


def _keep(database: Path, now_ms: int) -> Path | None:
    """Give the database another name, and its WAL with it: SQLite would apply that to the new file."""
    kept = database.with_name(f"{database.name}.replaced-{now_ms}")
    is_there = database.is_file()
    if is_there:
        _name_twice(database, kept)
    for companion in COMPANIONS:
        with suppress(FileNotFoundError):
            os.rename(f"{database}{companion}", f"{kept}{companion}")
    return kept if is_there else None


def _name_twice(database: Path, kept: Path) -> None:
    try:
        os.link(database, kept)
    except PermissionError:  # a file system without links
        os.rename(database, kept)
