"""Search over messages: all words must occur, newest first.

Without a full-text index every message is looked at, newest first, until the page is full. Words are compared
case-insensitively in any language (Unicode case folding), which SQLite's LIKE does for ASCII only. When the file has
the optional table `messages_fts`, the index answers: it finds whole words only, as it was made for.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from collections.abc import Iterable, Sequence

from ..errors import InvalidInput
from ..model import SearchPage
from . import full_text
from .decoding import encoding_of
from .page import Row, page_of
from .queries import messages_of

MAX_SECONDS = 5.0
QUICK_SECONDS = 0.5
_MAX_WORDS = 32
_COLUMNS = (
    "m.id, m.topic_id, m.channel_id, m.sender, m.content_raw, m.version, m.created_at, m.edited_at, m.deleted_at, "
    "m.deleted_by"
)
_WANTED = (
    "(?1 IS NULL OR m.channel_id = ?1) AND (?2 IS NULL OR m.topic_id = ?2) AND (?3 IS NULL OR m.id < ?3) "
    "AND (?6 IS NULL OR m.channel_id IN (SELECT value FROM json_each(?6))) AND m.deleted_at IS NULL"
)
_SCAN = (
    f"SELECT {_COLUMNS} FROM messages m WHERE {{scope}}m.deleted_at IS NULL AND holds(CAST(m.content_raw AS BLOB)) "
    "ORDER BY m.id DESC LIMIT ?"
)
_INDEXED = (
    f"SELECT {_COLUMNS} FROM messages_fts f JOIN messages m ON m.rowid = f.rowid "
    f"WHERE messages_fts MATCH ?4 AND {_WANTED} ORDER BY m.id DESC LIMIT ?5"
)

# A channel, a topic, the message before which, a list of channels as JSON.
_Where = tuple[str | None, str | None, str | None, str | None]
_TESTS = ("channel_id = ?", "topic_id = ?", "id < ?", "channel_id IN (SELECT value FROM json_each(?))")

logger = logging.getLogger("agentlip.store")


def words_of(text: str) -> list[str]:
    """The words and "quoted phrases" of a query. Raises InvalidInput when there are none, or too many."""
    found = [phrase or word for phrase, word in re.findall(r'"([^"]*)"|([^\s"]+)', text)]
    words = [word for word in found if word.strip()]
    if not words or len(words) > _MAX_WORDS:
        raise InvalidInput(f"q must hold 1 to {_MAX_WORDS} words")
    return words


def search(
    connection: sqlite3.Connection,
    words: Sequence[str],
    channel_id: str | None,
    topic_id: str | None,
    limit: int,
    before_id: str | None = None,
    among: Iterable[str] | None = None,
) -> SearchPage:
    """A page of matching messages that are not deleted; `before_id` is the last of the page before.

    `among` are the channels that count, None for all. May take long: see Store.search.
    """
    where = (channel_id, topic_id, before_id, None if among is None else json.dumps(sorted(among)))
    found = _by_index(connection, words, where, limit)
    rows, has_more = found or _by_scan(connection, words, where, limit)
    return SearchPage(messages_of(connection, rows), has_more, found is not None)


def _by_index(
    connection: sqlite3.Connection, words: Sequence[str], where: _Where, limit: int
) -> tuple[list[Row], bool] | None:
    """None when there is no index, or one that cannot be used."""
    if not full_text.is_kept(connection):
        return None
    match = " ".join('"' + word.replace('"', '""').replace("\0", " ") + '"' for word in words)
    try:
        return page_of(connection, _INDEXED, (*where[:3], match, limit + 1, where[3]), limit)
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise
        logger.warning("The full-text index cannot be used, messages are searched one by one: %s", error)
        return None


def _by_scan(connection: sqlite3.Connection, words: Sequence[str], where: _Where, limit: int) -> tuple[list[Row], bool]:
    folded, encoding = [word.casefold() for word in words], encoding_of(connection)

    def holds(content: bytes | None) -> bool:
        if content is None:  # in a table of another program
            return False
        text = content.decode(encoding, "replace").casefold()
        return all(word in text for word in folded)

    connection.create_function("holds", 1, holds, deterministic=True)
    given = [(test, value) for test, value in zip(_TESTS, where, strict=True) if value is not None]
    conditions = "".join(f"m.{test} AND " for test, _ in given)
    values = [value for _, value in given]
    return page_of(connection, _SCAN.format(scope=conditions), (*values, limit + 1), limit)
