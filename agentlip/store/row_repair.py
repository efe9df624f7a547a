"""Rows that readers cannot have as they are stored: text that is not UTF-8, and values that are not JSON.

Readers get replacement characters, and null. A repair stores just that, so nothing changes for them. Events are left
alone: they never change. So are ids, which other rows refer to.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from .decoding import encoding_of, is_json, is_utf8, mended_json, replaced

# Of each table that is not the log: the id, the columns of text that may be changed, and those that hold JSON.
_TABLES = {
    "channels": ("id", "name description created_at", ""),
    "topics": ("id", "title created_at updated_at", ""),
    "messages": ("id", "sender content_raw created_at edited_at deleted_at deleted_by", ""),
    "topic_attachments": ("id", "kind key dedupe_key created_at", "value_json"),
    "enrichments": ("id", "kind created_at", "data_json"),
}
_EVENT = "ts name scope_channel_id scope_topic_id scope_topic_id2 entity_type entity_id data_json"


class Unreadable(NamedTuple):
    """How many rows of a table are wrong in the same way, and the id of the first."""

    table: str
    what: str
    number: int
    first: str
    can_be_mended: bool


def _add_functions(connection: sqlite3.Connection) -> None:
    connection.text_factory = replaced
    connection.create_function("is_utf8", 1, is_utf8, deterministic=True)
    connection.create_function("is_json", 1, is_json, deterministic=True)
    connection.create_function("mended_text", 1, replaced, deterministic=True)
    connection.create_function("mended_json", 1, lambda raw: mended_json(raw) or "null", deterministic=True)


def _bad(function: str, columns: str) -> str:
    """True for rows of which a column is wrong; one call for each row."""
    joined = " || char(10) || ".join(f"coalesce({column}, '')" for column in columns.split())
    return f"NOT {function}(CAST({joined} AS BLOB))"


def find(connection: sqlite3.Connection) -> list[Unreadable]:
    """Look at every row; some seconds for a million of them. SQLite itself replaces what is wrong in UTF-16."""
    if encoding_of(connection) != "UTF-8":
        return []
    _add_functions(connection)
    wanted = [("events", "event_id", "is_utf8", _EVENT, False)]
    for table, (key, texts, values) in _TABLES.items():
        wanted.append((table, key, "is_utf8", texts, True))
        wanted.append((table, key, "is_utf8", _ids_of(connection, table, f"{texts} {values}"), False))
        wanted += [(table, key, "is_json", values, True)] if values else []
    found = []
    for table, key, function, columns, can_be_mended in wanted:
        sql = f"SELECT count(*), min({key}) FROM {table} WHERE {_bad(function, columns)}"
        count, first = connection.execute(sql).fetchone()
        if count:
            what = "text that is not UTF-8" if function == "is_utf8" else "a value that is not JSON"
            found.append(Unreadable(table, what, count, str(first), can_be_mended))
    return found


def _ids_of(connection: sqlite3.Connection, table: str, others: str) -> str:
    """The other columns of text: ids, of the row itself and of those it refers to."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})").fetchall() if row[2] == "TEXT"]
    return " ".join(column for column in columns if column not in others.split())


def mend(connection: sqlite3.Connection) -> int:
    """Store what readers get, in one transaction; returns how many values were changed."""
    _add_functions(connection)
    before = connection.total_changes
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table, (_key, texts, values) in _TABLES.items():
            for function, columns in (("text", texts), ("json", values)):
                for column in columns.split():
                    bad = _bad("is_utf8" if function == "text" else "is_json", column)
                    mended = f"mended_{function}(CAST({column} AS BLOB))"
                    connection.execute(f"UPDATE {table} SET {column} = {mended} WHERE {column} IS NOT NULL AND {bad}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return connection.total_changes - before
