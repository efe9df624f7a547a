"""The store: what the rings above may ask of the database file.

Reads run inline and are short; writes block only their caller.  All methods may be called from
any thread or greenlet.  The store knows no hub: whoever wants to hear of commits gives `on_commit`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from .. import concurrency
from ..errors import ServiceUnavailable, ShuttingDown
from ..model import Event, SearchPage
from . import log, retries, search
from .database import Database
from .page import TooLong, briefly, stopped_by
from .peers import Peers
from .readers import LISTS, QUICK_SEARCH, SEARCH, Readers
from .writer import Transaction, Writer

LONGEST_SECONDS = 5.0
T = TypeVar("T")
logger = logging.getLogger("agentlip.store")


class Store:
    """One open database file of one process."""

    def __init__(
        self,
        path: Path,
        synchronous: str,
        write_timeout: float,
        on_commit: Callable[[Sequence[log.Entry]], None] = lambda _entries: None,
    ) -> None:
        """Open the file, creating or migrating it first; may block on the disk. Raises StorageError.

        `on_commit` is called after each commit of this process, see Writer; it must not block.
        """
        self._closed = False
        self._database = Database(path, synchronous)
        self.db_id = self._database.prepare()
        self._on_commit = on_commit
        self._peers_folder = path.with_name(path.name + "-peers")
        self._readers = Readers()
        self._peers = Peers(self._peers_folder, None)
        self._writer = Writer(self._database, write_timeout, self._committed)
        self._peers.start()

    def listen(self, on_wake: Callable[[], None] | None) -> None:
        """Call `on_wake`, on a greenlet or thread of its own, when another process of this host has committed.

        That includes every process that writes through this class, but not programs that know nothing
        of the package. `on_wake` must not block; None ends the listening. Under gevent call it on the
        event loop's thread.
        """
        self._peers.stop()
        self._peers = Peers(self._peers_folder, on_wake)
        self._peers.start()

    def _committed(self, entries: Sequence[log.Entry]) -> None:
        try:
            self._on_commit(entries)
        except Exception:  # the writes are committed, and their callers must hear so
            logger.exception("Telling of a commit failed")
        self._peers.ring()

    def write(self, command: Callable[..., T], *args: Any, heavy: bool = False) -> T:
        """Run a command of `mutations` with `args` in a write transaction; see Writer.submit.

        Within a call that has a key (`retries.current`) its first change that succeeds is kept with what the command
        returns; when that was done before, this raises Replayed.
        """
        retry = retries.current.get()
        if retry is None or retry.is_spent:
            return self._writer.submit(lambda transaction: command(transaction, *args), heavy)
        result = self._writer.submit(
            lambda transaction: retry.run(transaction, lambda inside: command(inside, *args)), heavy
        )
        retry.is_spent = True
        return result

    @property
    def writers(self) -> int:
        """How many callers of `write` have no answer yet, also those whose write is committed."""
        return self._writer.callers

    def read(self, query: Callable[..., T], *args: Any) -> T:
        """Run a query of `queries` with `args` on this thread's connection."""
        if self._closed:
            raise ShuttingDown()
        with self._database.reading() as connection:
            return query(connection, *args)

    def read_page(self, query: Callable[..., T], *args: Any) -> T:
        """Run a query of a page with `args` and `brief`: inline, or when it turns out long on a native thread."""
        if self._closed:
            raise ShuttingDown()
        with self._database.reading() as connection, suppress(TooLong), briefly(connection):
            return query(connection, *args, brief=True)
        return self.read_long(query, *args)

    def read_long(self, query: Callable[..., T], *args: Any, kind: str = LISTS) -> T:
        """Run a query that may take long with `args`, on a native thread; only the caller waits. See Readers.run.

        Raises ServiceUnavailable when it takes longer than LONGEST_SECONDS.
        """
        try:
            return self._read_within(LONGEST_SECONDS, kind, query, *args)
        except TooLong:
            raise ServiceUnavailable("the read took too long") from None

    def search(
        self,
        text: str,
        channel_id: str | None,
        topic_id: str | None,
        limit: int,
        before_id: str | None = None,
        among: Iterable[str] | None = None,
    ) -> SearchPage:
        """A page of matching messages, on a native thread; see search.search.

        Every search starts among the quick ones; one that takes long starts again among its like.
        """
        wanted = (search.words_of(text), channel_id, topic_id, limit, before_id, among)
        with suppress(TooLong):
            return self._read_within(search.QUICK_SECONDS, QUICK_SEARCH, search.search, *wanted)
        try:
            return self._read_within(search.MAX_SECONDS, SEARCH, search.search, *wanted)
        except TooLong:
            raise ServiceUnavailable("search took too long") from None

    def _read_within(self, seconds: float, kind: str, query: Callable[..., T], *args: Any) -> T:
        """Raises TooLong when the query itself, without the wait for a thread, takes longer."""

        def call() -> T:
            deadline = time.monotonic() + seconds
            with (
                self._database.reading_alone() as connection,
                stopped_by(connection, lambda: time.monotonic() > deadline),
            ):
                return query(connection, *args)

        return self._readers.run(call, kind)

    def fault(self) -> str | None:
        """What is wrong with the database file, looked at now; None when nothing is known to be."""
        return self._database.look()

    def check_file(self) -> None:
        """Raise DatabaseLost when the database is not the file that was opened."""
        self._database.check_file()

    def latest(self) -> int:
        """The head of the log; 0 when it is empty."""
        return self.read(log.latest)

    def bounds(self) -> tuple[int, int]:
        """The first and the last event id of the log; 0 and 0 when it is empty."""
        return self.read(log.bounds)

    def entries(self, after: int, until: int, limit: int, max_bytes: int) -> list[log.Entry]:
        """The next page of the log; see log.entries."""
        return self.read(log.entries, after, until, limit, max_bytes)

    def page(
        self, after: int, until: int, limit: int, max_bytes: int, channels: Collection[str], topics: Collection[str]
    ) -> tuple[list[log.Entry], int]:
        """The next page of what touches some ids, and how far it goes; see log.page."""
        return self.read(log.page, after, until, limit, max_bytes, channels, topics)

    def events_with_more(
        self, after: int, until: int, limit: int, tail: bool, channels: Sequence[str], topics: Sequence[str]
    ) -> tuple[list[Event], bool]:
        """A page of the log as values, and whether more follow, or with `tail` go before; see log.events_with_more."""
        read = self.read_page if len(channels) + len(topics) <= log.FEW_IDS else self.read_long
        return read(log.events_with_more, after, until, limit, tail, channels, topics)

    def close(self, timeout: float = 5.0) -> None:
        """Refuse further calls; what already waits is still written. From any thread or greenlet, also twice.

        Waits up to `timeout` seconds for the end of its threads or greenlets; then nothing is open any more.
        """
        self._closed = True
        self._readers.stop()
        self._writer.stop()
        self._peers.stop()
        if not concurrency.wait_for(self._writer.tasks + self._peers.tasks, time.monotonic() + timeout):
            logger.warning("The database is still working %g s after it was closed", timeout)
        self._database.close()


__all__ = ["Store", "Transaction"]
