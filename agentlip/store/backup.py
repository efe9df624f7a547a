"""An online copy of the database file, made while hubs and other programs write to it.

The copy is of one snapshot: a read transaction is held on the source while SQLite's backup API copies its pages in
steps. Without it every commit of somebody else makes a stepwise copy start again: under a steady writer it never ends.
Writers do not wait for the copy; only the WAL cannot be reset meanwhile, and grows by what they write. `VACUUM INTO`
takes three times as long, and may renumber the rows a full-text index points at.

Made for a process of its own, such as a command: it blocks on the disk, and not only for a moment.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ..errors import StorageError
from . import log, schema

_BUSY_SECONDS = 5.0
_STEP_PAGES = 256
# Files that tell of a program that has a database open, or was killed while it had.
COMPANIONS = ("-wal", "-shm", "-journal")


class Backup(NamedTuple):
    """A finished copy: where, how many bytes, and the identity and head of the log in it."""

    path: Path
    size: int
    db_id: str
    head: int


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, in autocommit mode; the caller closes it. Waits for locks, inside SQLite."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def back_up(
    source: Path,
    target: Path,
    *,
    replace: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _pages: None,
) -> Backup:
    """Copy the database to `target`, mode 0600, checked and on the disk before it gets its name.

    `on_progress` is given the pages copied and the pages of the database, about once a MiB; what it raises ends the
    copy. Raises StorageError, one clear line; then, and after any other exception, `target` is as it was.
    """
    _check_target(source, target, replace)
    try:
        with temporary_beside(target) as temporary:
            made = _copy(source, temporary, on_progress)
            _check_copy(temporary, made)
            sync(temporary)
            _give_name(temporary, target, replace)
            sync(target.absolute().parent)
        return made._replace(path=target, size=target.stat().st_size)
    except sqlite3.Error as error:
        raise StorageError(f"cannot copy {source} to {target}: {error}") from None
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror}") from None


def _check_target(source: Path, target: Path, replace: bool) -> None:
    if not source.is_file():
        raise StorageError(f"there is no database {source}")
    if target.is_dir():
        raise StorageError(f"{target} is a folder; name a file")
    if target.exists() and target.samefile(source):
        raise StorageError(f"{target} is the database itself; name another file")
    if os.path.lexists(target) and not replace:
        raise StorageError(f"{target} exists; use --force to replace it")
    for companion in COMPANIONS:
        # SQLite would apply a stranger's WAL or journal to the copy.
        if os.path.lexists(f"{target}{companion}"):
            raise StorageError(f"{target}{companion} exists, so {target} may be in use; name another file")


@contextmanager
def temporary_beside(target: Path) -> Iterator[Path]:
    """An empty file beside the target that is gone in the end, with everything SQLite made for it."""
    path = target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}")
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield path
    finally:
        for suffix in ("", *COMPANIONS):
            with suppress(FileNotFoundError):
                os.unlink(f"{path}{suffix}")


def _copy(source: Path, temporary: Path, on_progress: Callable[[int, int], None]) -> Backup:
    with closing(open_read_only(source)) as connection, closing(_open_copy(temporary)) as copy:
        schema.check(connection, source)
        connection.execute("BEGIN")
        row = connection.execute("SELECT value FROM meta WHERE key = 'db_id'").fetchone()  # the snapshot starts here
        if row is None:
            raise StorageError(f"{source} has no db_id in its meta table")
        head = log.latest(connection)
        _check_space(connection, temporary)
        connection.backup(copy, pages=_STEP_PAGES, progress=lambda _, left, pages: on_progress(pages - left, pages))
        return Backup(temporary, 0, str(row[0]), head)


def _open_copy(temporary: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(temporary, isolation_level=None)
    connection.execute("PRAGMA journal_mode = OFF")  # a copy that fails is thrown away,
    connection.execute("PRAGMA synchronous = OFF")  # and one that does not is synced as a whole
    return connection


def _check_space(connection: sqlite3.Connection, temporary: Path) -> None:
    """Raise StorageError when the copy cannot fit: the hub's own disk must not be filled in vain."""
    pages, page_size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    free = shutil.disk_usage(temporary.parent).free
    if pages * page_size > free:
        raise StorageError(
            f"not enough space in {temporary.absolute().parent}: "
            f"the copy needs {pages * page_size} bytes, {free} are free"
        )


def _check_copy(temporary: Path, made: Backup) -> None:
    """Raise StorageError unless the copy is sound and is that snapshot; makes it one file that needs no WAL."""
    with closing(sqlite3.connect(temporary, isolation_level=None)) as copy:
        copy.execute("PRAGMA synchronous = OFF")
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()  # the source's WAL mode is copied with its pages
        problems = [str(row[0]) for row in copy.execute("PRAGMA quick_check(3)").fetchall()]
        if problems != ["ok"]:
            raise StorageError(f"the database is damaged, no copy was kept: {'; '.join(problems)}")
        row = copy.execute("SELECT value FROM meta WHERE key = 'db_id'").fetchone()
        if row != (made.db_id,) or log.latest(copy) != made.head:
            raise StorageError("the copy differs from the database, and was not kept")


def sync(path: Path) -> None:
    """Have the file, or the names in the folder, on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _give_name(temporary: Path, target: Path, replace: bool) -> None:
    if replace:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)  # unlike a rename it fails when somebody else was quicker
    except FileExistsError:
        raise StorageError(f"{target} exists; use --force to replace it") from None
    except OSError:  # a file system without links
        os.rename(temporary, target)
