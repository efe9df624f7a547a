"""A database file that is only read, from outside: no hub need run, and one that runs is not disturbed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from ..errors import StorageError
from ..model import Event, SearchPage
from . import log, schema, search

T = TypeVar("T")
_BUSY_SECONDS = 2.0


class ReadOnly:
    """One open file, for one thread; every read sees one moment. It reads as a Store does, without its limits."""

    def __init__(self, path: Path) -> None:
        """Raises StorageError when it cannot be read, or is none of ours."""
        self._path = path
        try:
            self._connection = sqlite3.connect(
                f"{path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
            )
        except sqlite3.Error as error:
            raise self._failure(error) from None
        self._connection.text_factory = lambda raw: raw.decode("utf-8", "replace")  # other programs write, too
        try:
            self.read(schema.check, path)
            version = self.read(schema.version_of)
            if version is None:
                raise StorageError(f"{path} is empty")
            if version != schema.SCHEMA_VERSION:
                raise StorageError(f"{path} is of an older release; `agentlip up` brings it up to date")
        except BaseException:
            self.close()
            raise

    def read(self, query: Callable[..., T], *args: Any) -> T:
        """Run a query of `queries`, `log` or `search` with `args`. Raises StorageError."""
        try:
            return query(self._connection, *args)
        except sqlite3.Error as error:
            raise self._failure(error) from None

    def read_page(self, query: Callable[..., T], *args: Any) -> T:
        return self.read(query, *args)

    def search(
        self,
        text: str,
        channel_id: str | None,
        topic_id: str | None,
        limit: int,
        before_id: str | None = None,
        among: Iterable[str] | None = None,
    ) -> SearchPage:
        return self.read(search.search, search.words_of(text), channel_id, topic_id, limit, before_id, among)

    def latest(self) -> int:
        return self.read(log.latest)

    def events_with_more(self, *wanted: Any) -> tuple[list[Event], bool]:
        return self.read(log.events_with_more, *wanted)

    def _failure(self, error: sqlite3.Error) -> StorageError:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_DIRECTORY:
            return StorageError(f"cannot read {self._path}: its folder must be writable, as no hub has it open")
        return StorageError(f"cannot read {self._path}: {error}")

    def close(self) -> None:
        self._connection.close()
