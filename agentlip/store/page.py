"""What a page of rows may cost: rows, bytes, and time on the event loop.

A query of a page is first run inline with `brief` set, where most are done at once.  When it turns out long, by its
bytes or by the work of SQLite, TooLong ends it, and it is run again on a native thread; see `Store.read_page`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import orjson

from .decoding import in_any_bytes

PAGE_BYTES = 4 << 20
_BRIEF_BYTES = 256 << 10
_BRIEF_LOOKS = 60  # of _LOOK_EVERY instructions of SQLite's virtual machine each; some two milliseconds
_LOOK_EVERY = 1000

Row = tuple[Any, ...]


class TooLong(Exception):
    """A read takes longer than it may here."""


def rows_of(
    cursor: sqlite3.Cursor, limit: int, brief: bool = False, size: Callable[[Row], int] | None = None
) -> tuple[list[Row], bool]:
    """The next rows, up to `limit` and as long as they are below PAGE_BYTES together, and whether more follow.

    There is at least one, however large. `size` is about the bytes of a row in the answer; by default those of its
    JSON. Raises TooLong when `brief`, and they are many bytes.
    """
    rows: list[Row] = []
    total = 0  # bytes
    for row in cursor:
        if len(rows) == limit or total >= PAGE_BYTES:
            cursor.close()  # an open cursor would hold a snapshot and let the WAL grow
            return rows, True
        if brief and total > _BRIEF_BYTES:
            cursor.close()
            raise TooLong
        rows.append(row)
        total += len(orjson.dumps(row, default=str)) if size is None else size(row)
    return rows, False


def page_of(
    connection: sqlite3.Connection, sql: str, values: Sequence[Any], limit: int, brief: bool = False
) -> tuple[list[Row], bool]:
    """The rows of a query that asks for one more than `limit`; see `rows_of`."""
    return in_any_bytes(connection, lambda: rows_of(connection.execute(sql, values), limit, brief))


@contextmanager
def stopped_by(connection: sqlite3.Connection, is_over: Callable[[], bool]) -> Iterator[None]:
    """Ask `is_over` every now and then while statements run; TooLong once it says so."""
    connection.set_progress_handler(is_over, _LOOK_EVERY)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        raise TooLong from None
    finally:
        connection.set_progress_handler(None, 0)


@contextmanager
def briefly(connection: sqlite3.Connection) -> Iterator[None]:
    """TooLong once the statements inside are more work than a turn of the event loop should be."""
    looks = count(1)
    with stopped_by(connection, lambda: next(looks) > _BRIEF_LOOKS):
        yield
