"""Rows whose names look like a given one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ..looks import look_of
from .decoding import read_rows

# Names that may look like others: all that is not plain ASCII without spaces around it.
_UNUSUAL = "(length({0}) <> length(CAST({0} AS BLOB)) OR {0} <> trim({0}, char(9, 10, 11, 12, 13, 32)))"


def twin(connection: sqlite3.Connection, rows: str, values: Sequence[Any], column: str, name: str) -> str | None:
    """The id of a row whose name looks like `name`. `rows` selects ids and names, and ends in a condition.

    Names of plain ASCII are looked up; only the others are compared one by one.
    """
    look = look_of(name)
    found = read_rows(connection, f"{rows} AND {column} IN (?, ?)", (*values, name, look))
    if not found:
        unusual = read_rows(connection, f"{rows} AND {_UNUSUAL.format(column)}", values)
        found = [row for row in unusual if isinstance(row[1], str) and look_of(row[1]) == look]
    return str(found[0][0]) if found else None
