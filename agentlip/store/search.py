"""Search over messages: all words must occur, newest first.

Without a full-text index every message is looked at, newest first, until the page is full. Words are compared
case-insensitively in any language (Unicode case folding), which SQLite's LIKE does for ASCII only. When the file has
the optional table `messages_fts`, the index answers: it finds whole words only, as it was made for.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from ..errors import InvalidInput, ServiceUnavailable
from ..model import Message, SearchPage
from . import full_text
from .decoding import read_rows, replaced

MAX_SECONDS = 5.0
_MAX_WORDS = 32
_LOOK_EVERY = 1000  # instructions of SQLite's virtual machine between two looks at the clock
_COLUMNS = (
    "m.id, m.topic_id, m.channel_id, m.sender, m.content_raw, m.version, m.created_at, m.edited_at, m.deleted_at, "
    "m.deleted_by"
)
_WANTED = "(?1 IS NULL OR m.channel_id = ?1) AND (?2 IS NULL OR m.topic_id = ?2) AND m.deleted_at IS NULL"
_SCAN = (
    f"SELECT {_COLUMNS} FROM messages m WHERE {{scope}}m.deleted_at IS NULL AND holds(CAST(m.content_raw AS BLOB)) "
    "ORDER BY m.id DESC LIMIT ?"
)
_INDEXED = (
    f"SELECT {_COLUMNS} FROM messages_fts f JOIN messages m ON m.rowid = f.rowid "
    f"WHERE messages_fts MATCH ?3 AND {_WANTED} ORDER BY m.id DESC LIMIT ?4"
)
logger = logging.getLogger("agentlip.store")


def words_of(text: str) -> list[str]:
    """The words and "quoted phrases" of a query. Raises InvalidInput when there are none, or too many."""
    found = [phrase or word for phrase, word in re.findall(r'"([^"]*)"|([^\s"]+)', text)]
    words = [word for word in found if word.strip()]
    if not words or len(words) > _MAX_WORDS:
        raise InvalidInput(f"q must hold 1 to {_MAX_WORDS} words")
    return words


def search(
    connection: sqlite3.Connection, text: str, channel_id: str | None, topic_id: str | None, limit: int
) -> SearchPage:
    """A page of matching messages that are not deleted. May take long: run it on a native thread.

    Raises InvalidInput, or ServiceUnavailable when it takes longer than MAX_SECONDS.
    """
    words = words_of(text)
    deadline = time.monotonic() + MAX_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _LOOK_EVERY)
    try:
        rows = _by_index(connection, words, channel_id, topic_id, limit + 1)
        used = rows is not None
        if rows is None:
            rows = _by_scan(connection, words, channel_id, topic_id, limit + 1)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        raise ServiceUnavailable("search took too long") from None
    finally:
        connection.set_progress_handler(None, 0)
    return SearchPage([Message(*row) for row in rows[:limit]], len(rows) > limit, used)


def _by_index(
    connection: sqlite3.Connection, words: Sequence[str], channel_id: str | None, topic_id: str | None, limit: int
) -> list[tuple[Any, ...]] | None:
    """None when there is no index, or one that can not be used."""
    if not full_text.is_kept(connection):
        return None
    match = " ".join('"' + word.replace('"', '""').replace("\0", " ") + '"' for word in words)
    try:
        return read_rows(connection, _INDEXED, (channel_id, topic_id, match, limit))
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise
        logger.warning("The full-text index can not be used, messages are searched one by one: %s", error)
        return None


def _by_scan(
    connection: sqlite3.Connection, words: Sequence[str], channel_id: str | None, topic_id: str | None, limit: int
) -> list[tuple[Any, ...]]:
    folded = [word.casefold() for word in words]

    def holds(content: bytes) -> bool:
        text = replaced(content).casefold()
        return all(word in text for word in folded)

    connection.create_function("holds", 1, holds, deterministic=True)
    scope = [(name, value) for name, value in (("topic_id", topic_id), ("channel_id", channel_id)) if value is not None]
    conditions = "".join(f"m.{name} = ? AND " for name, _ in scope)
    values = [value for _, value in scope]
    return read_rows(connection, _SCAN.format(scope=conditions), (*values, limit))
