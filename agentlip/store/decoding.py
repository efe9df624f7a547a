"""What some other program wrote wrongly, as something that readers can use: one bad row must not hide the others.

orjson writes and reads all JSON of the hub. msgspec declares the types but is not asked for JSON: it writes bytes as
base64, keys that are no text, and numbers and nesting that other readers refuse, and passes over broken fields unread.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson
from msgspec import Struct
from msgspec.structs import asdict

T = TypeVar("T")
_MAX_BRACKETS = 200  # orjson reads deeper nesting than it writes
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def replaced(raw: bytes) -> str:
    """Text with replacement characters where it is not UTF-8: SQLite stores any bytes as text."""
    return raw.decode("utf-8", "replace")


def encoding_of(connection: sqlite3.Connection) -> str:
    """How the file holds its text, as Python names it: UTF-8, unless another program has chosen UTF-16."""
    return str(connection.execute("PRAGMA encoding").fetchone()[0])


def as_text(value: Any) -> str:
    """A value that should be text, and is not in a table that takes any type."""
    if isinstance(value, bytes):
        return replaced(value)
    return "" if value is None else str(value)


def as_json(value: Any) -> Any:
    """For what writes JSON: of the values of the model their fields, and of bytes, for which it has no type, a text."""
    if isinstance(value, Struct):
        return asdict(value)
    if isinstance(value, bytes):
        return replaced(value)
    raise TypeError


def is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_json(raw: bytes) -> bool:
    """Whether it is JSON that can be read and written again as it is."""
    try:
        value = orjson.loads(raw)
    except ValueError:
        return False
    return _can_be_written(raw, value)


def is_undecodable(error: sqlite3.Error) -> bool:
    """Whether a statement failed because a text it read is not UTF-8."""
    return isinstance(error, sqlite3.OperationalError) and "decode" in str(error)


def read_rows(connection: sqlite3.Connection, sql: str, values: Sequence[Any] = ()) -> list[Any]:
    """All rows of a query, with replacement characters where they hold text that is not UTF-8."""
    return in_any_bytes(connection, lambda: connection.execute(sql, values).fetchall())


def in_any_bytes(connection: sqlite3.Connection, read: Callable[[], T]) -> T:
    """Read; text that is not UTF-8 comes with replacement characters."""
    try:
        return read()
    except sqlite3.OperationalError as error:
        if not is_undecodable(error):
            raise
    connection.text_factory = replaced
    try:
        return read()
    finally:
        connection.text_factory = str


def json_value(raw: Any) -> Any:
    """The value that was stored as JSON; halves of characters are replaced, and what is not JSON is None."""
    if not isinstance(raw, str | bytes):  # in a table that takes any type
        raw = str(raw)
    try:
        value = orjson.loads(raw)
    except (ValueError, TypeError):
        mended = mended_json(raw)
        value = None if mended is None else orjson.loads(mended)
    return value if _can_be_written(raw, value) else None


def mended_json(raw: Any) -> str | None:
    """JSON with replacement characters in the place of lone surrogates; None when it is none even so."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    text = _ESCAPE.sub(lambda found: r"\ufffd" if found[1] else found[0], text)
    try:
        value = orjson.loads(text)
    except ValueError:
        return None
    return text if _can_be_written(text, value) else None


def _can_be_written(raw: Any, value: Any) -> bool:
    brackets = (b"[", b"{") if isinstance(raw, bytes) else ("[", "{")
    if value is None or sum(map(raw.count, brackets)) <= _MAX_BRACKETS:
        return True
    try:
        orjson.dumps([[[value]]])
    except TypeError:
        return False
    return True
