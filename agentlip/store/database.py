"""Connections to the SQLite file: pragmas, one reader per thread, first-start set-up.

No connection ever waits inside SQLite: its busy timeout would block every greenlet of the worker.
Reads run inline on the caller's thread and are short; writes go through `writer`.  Connections
are opened on first use and never survive into a forked child (the owner of this object sees to it).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

from .. import concurrency
from ..errors import AgentlipError, DatabaseLost, InternalError, InvalidInput, ServiceUnavailable, StorageError
from ..workspace.folder import hand_over
from . import full_text, schema
from .file_watch import FileId, FileWatch

_OPEN_SECONDS = 2.0
_LOCK_POLL_SECONDS = 0.0001
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "database busy",
    sqlite3.SQLITE_LOCKED: "database busy",
    sqlite3.SQLITE_FULL: "disk full",
    sqlite3.SQLITE_IOERR: "storage error",
    sqlite3.SQLITE_CANTOPEN: "storage error",
    sqlite3.SQLITE_READONLY: "database is read-only",
    sqlite3.SQLITE_CORRUPT: "database damaged",
    sqlite3.SQLITE_NOTADB: "database damaged",
}
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOOK_SECONDS = 0.5
# The databases of a hub, and their identities, as its first process has set them up. Its children, also those that
# come later, open these files: none of them makes a new one.
_inherited: dict[Path, tuple[FileId | None, str]] = {}

logger = logging.getLogger("agentlip.store")


def is_busy(error: sqlite3.Error) -> bool:
    """Somebody else holds a lock; the same statement may succeed a moment later."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_damage(error: sqlite3.Error) -> bool:
    """A page is invalid; damage to a full-text index alone does not count."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGE and not is_index_damage(error)


def is_index_damage(error: sqlite3.Error) -> bool:
    """The full-text index does not fit the messages; it can be filled again."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CORRUPT_VTAB


def public_error(error: sqlite3.Error) -> AgentlipError:
    """The error a caller gets for a failed statement, with this one as its cause."""
    code = getattr(error, "sqlite_errorcode", 0)
    reason = "full-text index damaged" if is_index_damage(error) else _UNAVAILABLE.get(code & 0xFF)
    public: AgentlipError = ServiceUnavailable(reason) if reason else InternalError()
    if code == sqlite3.SQLITE_CONSTRAINT_CHECK:  # a file of another hub may have stricter rules
        public = InvalidInput("The database does not accept such a value")
    public.__cause__ = error
    return public


def _fill_index(connection: sqlite3.Connection, path: Path) -> None:
    """Fill a full-text index that lacks messages: another hub has made it, and not filled it."""
    try:
        missing = full_text.missing(connection) if full_text.can_be_rebuilt(connection) else 0
        if missing:
            logger.warning("The full-text index of %s lacks %d messages and is being rebuilt", path, missing)
            full_text.rebuild(connection)
    except sqlite3.DatabaseError as error:
        if is_busy(error):
            raise
        logger.warning("The full-text index of %s cannot be used: %s", path, error)


class _Reader:
    """A thread's read connection. Its thread counts itself in first and looks at `closing` then; `Database.close`
    does it the other way round: so one of them closes it, and never under a read."""

    __slots__ = ("__weakref__", "closing", "connection", "users")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.users = 0  # nested reads, all of this thread
        self.closing = False

    def leave(self) -> None:
        self.users -= 1
        if self.closing and not self.users:
            self.connection.close()

    def __del__(self) -> None:
        self.connection.close()  # its thread has ended


class Database:
    """One SQLite file. All methods may be called from any thread or greenlet."""

    def __init__(self, path: Path, synchronous: str = "FULL") -> None:
        self.path = path
        self._uri = f"{path.absolute().as_uri()}?mode=rw"  # SQLite makes no file anew
        self.lock_path = path.with_name(path.name + "-lock")
        self.synchronous = synchronous
        self._lock_handle: int | None = None
        self._local = concurrency.native_local()
        self._readers: WeakSet[_Reader] = WeakSet()  # of all threads; a thread's goes when it ends
        self._lock = concurrency.native_lock()
        self._next_look = 0.0
        self._is_damaged = False
        self.watch = FileWatch(path)
        self.watch.known = _inherited.get(path, (None, ""))[0]

    def prepare(self, timeout: float = 10.0) -> str:
        """Create or migrate the file and return its `db_id`. May block up to `timeout` seconds.

        Where a parent process has done so it is not done again: should the file be lost since, every use says so.
        Raises StorageError with one clear line when the file cannot be used.
        """
        if self.path not in _inherited:
            self.watch.known = None
        elif self.watch.look() is not None:
            return _inherited[self.path][1]
        if sqlite3.sqlite_version_info < (3, 37):
            raise StorageError(f"SQLite 3.37 or newer is needed for STRICT tables; this is {sqlite3.sqlite_version}")
        deadline = time.monotonic() + timeout
        try:
            self._create_private()
            with self.locked(deadline):
                db_id = self._set_up(deadline)
            self.watch.know()
            return db_id
        except OSError as error:
            reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
            raise StorageError(f"cannot open {error.filename or self.path}: {reason}") from None
        except sqlite3.Error as error:
            raise StorageError(f"cannot use {self.path}: {error}") from None
        except ServiceUnavailable:
            raise StorageError(f"cannot use {self.path}: another process holds its lock") from None
        finally:
            self.close_lock()

    def hand_down(self, db_id: str) -> None:
        """Have the child processes open this very file, and make no other; after `prepare`."""
        _inherited[self.path] = self.watch.known, db_id

    def look(self) -> str | None:
        """What is wrong with the file, at once; None when nothing is known to be."""
        self._next_look = time.monotonic() + _LOOK_SECONDS
        return self.watch.look() or ("database damaged" if self._is_damaged else None)

    def check_file(self) -> None:
        """Raise DatabaseLost when the file is not the one that was opened; one or two `stat` calls."""
        self._next_look = time.monotonic() + _LOOK_SECONDS
        fault = self.watch.look()
        if fault is not None:
            raise DatabaseLost(fault)

    def failure(self, error: sqlite3.Error) -> AgentlipError:
        """As `public_error`; damage is noted, and logged once."""
        if not self._is_damaged and is_damage(error):
            self._is_damaged = True
            logger.error("The database %s is damaged", self.path, exc_info=error)
        return public_error(error)

    def _create_private(self) -> None:
        # Only when it is missing: closing any descriptor of the file would drop the locks that
        # other SQLite connections of this process hold on it.
        if self.path.is_dir():
            raise StorageError(f"cannot open {self.path}: it is a folder")
        if self.path.is_symlink():  # whoever made it may choose where we write
            raise StorageError(f"cannot open {self.path}: it is a symbolic link; name the file itself")
        if not self.path.exists():
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
                hand_over(self.path)

    def _set_up(self, deadline: float) -> str:
        while True:
            try:
                with closing(sqlite3.connect(self._uri, uri=True, timeout=0, isolation_level=None)) as untouched:
                    schema.check(untouched, self.path)
                with closing(self.connect()) as connection:
                    schema.migrate(connection, self.path, time.time_ns() // 1_000_000)
                    _fill_index(connection, self.path)
                    row = connection.execute("SELECT value FROM meta WHERE key = 'db_id'").fetchone()
                if row is None:
                    raise StorageError(f"{self.path} has no db_id in its meta table")
                return str(row[0])
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(0.01)

    def connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        """A new connection in autocommit mode; the caller closes it. Raises DatabaseLost."""
        self.check_file()  # SQLite would apply the WAL of the old file to the new one
        connection = sqlite3.connect(
            self._uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute(f"PRAGMA synchronous = {self.synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA temp_store = MEMORY")  # statement journals: no temporary files
            if read_only:
                connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """This thread's read connection. Fetch all rows before anything that can switch greenlets.

        SQLite errors leave as ServiceUnavailable or InternalError.
        """
        if self.watch.fault is not None or time.monotonic() >= self._next_look:
            self.check_file()
        try:
            reader = self._enter()
            try:
                yield reader.connection
            finally:
                reader.leave()
        except sqlite3.Error as error:
            raise self.failure(error) from error

    def _enter(self) -> _Reader:
        """This thread's reader, counted in."""
        reader: _Reader | None = getattr(self._local, "reader", None)
        if reader is not None:
            reader.users += 1
            if not reader.closing:
                return reader
            reader.leave()
        reader = _Reader(self._first_reader())
        reader.users = 1
        self._local.reader = reader
        with self._lock:
            self._readers.add(reader)
        return reader

    @contextmanager
    def reading_alone(self) -> Iterator[sqlite3.Connection]:
        """A read connection for one long read, on a native thread. SQLite errors leave as with `reading`."""
        try:
            with closing(self._first_reader(concurrency.native_sleep)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise self.failure(error) from error

    def _first_reader(self, sleep: Callable[[float], None] = time.sleep) -> sqlite3.Connection:
        """A reader, retried while another program closes its last connection, which locks the file for a moment."""
        deadline = time.monotonic() + _OPEN_SECONDS
        while True:
            try:
                return self.connect(read_only=True)
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
            sleep(0.002)

    @contextmanager
    def locked(self, deadline: float, wait: Callable[[Callable[[], None]], None] | None = None) -> Iterator[None]:
        """Keep out the other processes of this host that use the package; ServiceUnavailable at the deadline.

        SQLite's own lock is unfair between processes: one of them can starve the others for seconds.
        The lock file carries no data. Other programs on the file do not know it, and need not.
        One caller at a time per Database object: the writer, or whoever prepares the file. When somebody
        else has the lock, `wait` is given the call that waits for it, to be run on a native thread:
        an event loop's timers, exact to 1 ms, would waste more time than most commits take. Without
        `wait` the caller itself waits, and lets others run.
        """
        if self._lock_handle is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock_handle = os.open(self.lock_path, flags, 0o600)
            hand_over(self.lock_path)
        if not self._try_lock():
            if wait is None:
                self._wait_for_lock(deadline, time.sleep)
            else:
                wait(lambda: self._wait_for_lock(deadline, concurrency.native_sleep))
        try:
            yield
        finally:
            fcntl.flock(self._lock_handle, fcntl.LOCK_UN)

    def _try_lock(self) -> bool:
        assert self._lock_handle is not None
        try:
            fcntl.flock(self._lock_handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_for_lock(self, deadline: float, sleep: Callable[[float], None]) -> None:
        while not self._try_lock():
            if time.monotonic() >= deadline:
                raise ServiceUnavailable("database busy")
            sleep(_LOCK_POLL_SECONDS)

    def close(self) -> None:
        """Close the read connections of all threads; one that is reading closes its own right after."""
        with self._lock:
            readers = list(self._readers)
            self._readers.clear()
        for reader in readers:
            reader.closing = True
            if not reader.users:
                reader.connection.close()

    def close_lock(self) -> None:
        """Close the lock file; whoever used `locked` last calls it."""
        if self._lock_handle is not None:
            os.close(self._lock_handle)
            self._lock_handle = None
