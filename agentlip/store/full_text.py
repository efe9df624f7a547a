"""The optional table `messages_fts`, which other hubs make: an index over the messages, kept in step by triggers.

An index that lacks messages does not only hide them from a search. Its triggers take the old content of a message out
of it, so that every edit of one that it lacks fails. It can be filled again at any time: it holds no data of its own.
"""

from __future__ import annotations

import re
import sqlite3

_COLUMN = "SELECT 1 FROM pragma_table_info('messages_fts') WHERE name = 'content_raw'"
_OF_MESSAGES = "SELECT 1 FROM sqlite_master WHERE name = 'messages_fts' AND sql LIKE '%fts5%content%=%messages%'"
_TRIGGERS = (
    "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'messages' AND sql LIKE '%messages_fts%'"
)
_COUNTS = "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM messages_fts_docsize)"


def is_kept(connection: sqlite3.Connection) -> bool:
    """Whether there is an index of the content, and triggers that keep new and changed messages in step."""
    heads = [
        re.split(r"\bBEGIN\b", sql, maxsplit=1, flags=re.I)[0] for (sql,) in connection.execute(_TRIGGERS).fetchall()
    ]
    kept = all(any(re.search(rf"\b{event}\b", head, re.I) for head in heads) for event in ("INSERT", "UPDATE"))
    return kept and bool(connection.execute(_COLUMN).fetchall())


def can_be_rebuilt(connection: sqlite3.Connection) -> bool:
    """Whether it is kept, and takes its content from the messages themselves."""
    return is_kept(connection) and bool(connection.execute(_OF_MESSAGES).fetchall())


def missing(connection: sqlite3.Connection) -> int:
    """How many messages the index lacks, or has too many; counts all of them, which takes some ms for 100,000."""
    try:
        messages, indexed = connection.execute(_COUNTS).fetchone()
    except sqlite3.OperationalError:  # an index that keeps no sizes
        return 0
    return abs(int(messages) - int(indexed))


def rebuild(connection: sqlite3.Connection) -> None:
    """Fill the index anew from the messages; takes seconds for a million of them."""
    connection.execute("INSERT INTO messages_fts (messages_fts) VALUES ('rebuild')")
