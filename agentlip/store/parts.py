"""The indexes and triggers a database must have, and which of them a file lacks.

They are compared by what they do, as other v1 hubs give them other names. What is needed is taken from a new database,
made in memory: no list of them is kept here.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from . import schema

_FULL_TEXT = "messages_fts"


class Part(NamedTuple):
    """An index or trigger: its kind, its table, what it does, and the statement that makes it (None: the table's)."""

    kind: str
    table: str
    does: str
    sql: str | None

    @property
    def meaning(self) -> tuple[str, str, str]:
        return self.kind, self.table, self.does


def new_database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(connection, Path(":memory:"), 0)
    return connection


def _parts(connection: sqlite3.Connection) -> dict[tuple[str, str, str], Part]:
    """The indexes and triggers of a database, by what they do."""
    found = []
    for kind, name, table, sql in connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type IN ('index', 'trigger')"
    ).fetchall():
        does = _index(connection, table, name) if kind == "index" else _trigger(sql)
        found.append(Part(kind, table, does, sql))
    return {part.meaning: part for part in found}


def _index(connection: sqlite3.Connection, table: str, name: str) -> str:
    unique = connection.execute('SELECT "unique" FROM pragma_index_list(?) WHERE name = ?', (table, name)).fetchone()
    rows = connection.execute(
        "SELECT coalesce(name, 'an expression') || iif(\"desc\", ' DESC', '') FROM pragma_index_xinfo(?) WHERE key",
        (name,),
    ).fetchall()
    return f"{'unique ' if unique and unique[0] else ''}({', '.join(row[0] for row in rows)})"


def _trigger(sql: str) -> str:
    """What a trigger does, as far as this code cares: which statements it refuses."""
    found = re.search(r"\b(BEFORE|AFTER|INSTEAD\s+OF)\s+(DELETE|UPDATE|INSERT)\b", sql, re.IGNORECASE)
    event = found[2].upper() if found else "?"
    refuses = re.search(r"\bRAISE\s*\(\s*(ABORT|FAIL|ROLLBACK)\b", sql, re.IGNORECASE)
    narrowed = found is not None and re.match(r"\s+OF\b|(?:(?!\bBEGIN\b).)*\bWHEN\b", sql[found.end() :], re.I | re.S)
    return f"refuse {event}" if refuses and not narrowed else f"after {event}"


def missing(connection: sqlite3.Connection) -> list[Part]:
    """The indexes and triggers that a new database has and this one lacks; the optional full-text search apart."""
    present = _parts(connection)
    with closing(new_database()) as new:
        wanted = _parts(new).values()
    return [part for part in wanted if part.meaning not in present and _FULL_TEXT not in f"{part.table} {part.sql}"]
