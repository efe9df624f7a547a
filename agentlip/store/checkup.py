"""What can be wrong inside the database file, and the part of it that can be put right without touching a row.

The file is opened read-only and no lock is taken: hubs may serve and write meanwhile. The large checks read every
page, so they take seconds for each GB; made for a process of its own, such as a command.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from ..errors import StorageError
from ..model import KNOWN_EVENTS
from ..workspace.folder import hand_over
from . import full_text, log, parts, row_repair, schema
from .backup import back_up, open_read_only

_RESTORE = "restore a backup (docs/upkeep.md)"
_REPAIR = "stop the hub and run `agentlip doctor --repair`"
_BUSY_SECONDS = 5
_SHOWN = 3
_EXACT = 1 << 53  # whole numbers below it are exact in every reader of JSON
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TIMES = {"channels": ["created_at"], "topics": ["created_at", "updated_at"],
          "messages": ["created_at", "edited_at", "deleted_at"], "events": ["ts"],
          "topic_attachments": ["created_at"], "enrichments": ["created_at"]}  # fmt: skip
_TIMESTAMP = "[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9].[0-9][0-9][0-9]Z"


class Finding(NamedTuple):
    """One line of a check-up: what was seen, and what to do about it when it is not as it should be."""

    level: Literal["ok", "warning", "error", "repaired", "skipped"]
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.level}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")


Check = Callable[[sqlite3.Connection], Iterator[Finding]]
# In one statement: somebody may be writing.
_GIVEN_AND_HEAD = "SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'events'), (SELECT max(event_id) FROM events)"


def examine(path: Path, on_check: Callable[[str], None] = lambda _name: None) -> Iterator[Finding]:
    """Check the database file. `on_check` is told what comes next, before anything that may take long. Never raises."""
    try:
        with closing(open_read_only(path)) as connection:
            on_check("the schema")
            readable = _schema(connection, path)
            yield readable
            if readable.level == "error":
                return
            for name, check in _CHECKS.items() if readable.level == "ok" else _ANY_VERSION.items():
                on_check(name)
                yield from _examined(name, check, connection)
    except sqlite3.Error as error:
        yield _failed(path, error)


def _failed(path: Path, error: sqlite3.Error) -> Finding:
    return Finding("error", f"cannot read {path}: {error}", _remedy(error))


def _remedy(error: sqlite3.Error) -> str:
    damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE
    return _RESTORE if damaged else "make sure that the file can be read, and run `agentlip doctor` again"


def _examined(name: str, check: Check, connection: sqlite3.Connection) -> Iterator[Finding]:
    try:
        yield from check(connection)
    except sqlite3.Error as error:
        yield Finding("error", f"cannot check {name}: {error}", _remedy(error))


def _schema(connection: sqlite3.Connection, path: Path) -> Finding:
    """An error: nothing else can be checked. A warning: only a start of the hub makes it a database of this version."""
    try:
        schema.check(connection, path)
        version = schema.version_of(connection)
    except StorageError as error:
        return Finding(
            "error", str(error), "" if "newer release" in str(error) else "make sure that this is the right file"
        )
    if version == schema.SCHEMA_VERSION:
        return Finding("ok", f"schema version {version}, with all tables and columns")
    return Finding(
        "warning",
        f"{path} is older than this release (schema version {version or 'none'})",
        "the next start of the hub sets it up",
    )


def _tables(connection: sqlite3.Connection) -> dict[str, bool]:
    """The tables of the file, and whether each is STRICT."""
    rows = connection.execute("PRAGMA main.table_list").fetchall()
    return {row[1]: bool(row[5]) for row in rows if row[2] == "table" and not row[1].startswith("sqlite_")}


def _integrity(connection: sqlite3.Connection) -> Iterator[Finding]:
    problems = [" ".join(str(row[0]).split()) for row in connection.execute("PRAGMA integrity_check(20)").fetchall()]
    if problems == ["ok"]:
        yield Finding("ok", "SQLite finds the file intact")
    else:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        yield Finding("error", f"the file is damaged: {'; '.join(problems[:_SHOWN])}{more}", _RESTORE)
    orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
    found = ", ".join(sorted({f"{table} without {parent}" for table, _, parent, _ in orphans}))
    if orphans:
        yield Finding("error", f"{len(orphans)} rows refer to a row that is missing: {found}", _RESTORE)
    else:
        yield Finding("ok", "no row refers to a missing one")


def _strictness(connection: sqlite3.Connection) -> Iterator[Finding]:
    with closing(parts.new_database()) as new:
        lax = sorted({table for table, strict in _tables(new).items() if strict}
                     & {table for table, strict in _tables(connection).items() if not strict})  # fmt: skip
    if lax:
        remedy = "harmless while only hubs write; a new table would have to be made by hand"
        yield Finding("warning", f"tables that are not STRICT take values of any type: {', '.join(lax)}", remedy)
    else:
        yield Finding("ok", "all tables are STRICT")


def _indexes_and_triggers(connection: sqlite3.Connection) -> Iterator[Finding]:
    missing = parts.missing(connection)
    for part in missing:
        needed = part.kind == "trigger" or part.does.startswith("unique")
        why = "which keeps wrong rows out" if needed else "without which reads are slow"
        what = f"the {part.kind} on {part.table} is missing: {part.does}, {why}"
        remedy = _REPAIR if part.sql else _RESTORE
        yield Finding("error" if needed else "warning", what, remedy)
    if not missing:
        yield Finding("ok", "all indexes and triggers are there")


def _log_ids(connection: sqlite3.Connection) -> Iterator[Finding]:
    count, first, last = connection.execute("SELECT count(*), min(event_id), max(event_id) FROM events").fetchone()
    if count and count != last - first + 1:
        gaps = connection.execute(
            "SELECT previous + 1, event_id - 1 FROM "
            "(SELECT event_id, lag(event_id) OVER (ORDER BY event_id) AS previous FROM events) "
            "WHERE event_id > previous + 1 LIMIT ?",
            (_SHOWN,),
        ).fetchall()
        shown = ", ".join(f"{low}" if low == high else f"{low} to {high}" for low, high in gaps)
        lost = last - first + 1 - count
        yield Finding("error", f"{lost} events are missing from the log,  {shown} among them", _RESTORE)
    else:
        yield Finding("ok", f"{count} events, {first or 0} to {last or 0}, without a gap")
    given, head = (value or 0 for value in connection.execute(_GIVEN_AND_HEAD).fetchone())
    if given < head:
        yield Finding("error", f"the next event id would follow {given}, but the log ends at {head}", _RESTORE)
    elif given > head:
        yield Finding("warning", f"the log ends at {head}, but ids up to {given} were given out", _RESTORE)
    if max(given, head) >= log.MAX_ID:
        yield Finding("error", f"the last possible event id, {log.MAX_ID}, is taken: nothing can be written", _RESTORE)
    elif max(given, head) >= _EXACT:
        what = f"many JSON readers cannot tell the latest event ids, up to {max(given, head)}, apart"
        yield Finding("warning", what, "find out which program wrote them")


def _log_rows(connection: sqlite3.Connection) -> Iterator[Finding]:
    known = " ".join(
        f"WHEN '{name}' THEN " + (" OR ".join(f"coalesce(scope_{key}, '') = ''" for key in keys) or "FALSE")
        for name, keys in KNOWN_EVENTS.items()
    )
    none = " || ".join(
        f"coalesce({column}, '')" for column in ("scope_channel_id", "scope_topic_id", "scope_topic_id2")
    )
    scopeless = f"CASE name {known} ELSE {none} = '' END"  # as log.append refuses them
    # json_valid looks no further than a NUL.
    no_json = "typeof(data_json) <> 'text' OR NOT json_valid(data_json) OR instr(data_json, char(0))"
    yield _counted(connection, "events", "event_id", scopeless, "without the scope ids that their name asks for")
    yield _counted(connection, "events", "event_id", no_json, "whose data is not JSON (readers get null)")


def _counted(connection: sqlite3.Connection, table: str, key: str, condition: str, what: str) -> Finding:
    """An error when rows of the table meet the condition."""
    count, first = connection.execute(f"SELECT count(*), min({key}) FROM {table} WHERE {condition}").fetchone()
    if count:
        return Finding("error", f"{count} {table} {what}, the first is {first}", "find out which program wrote them")
    return Finding("ok", f"no {table} {what}")


def _rows(connection: sqlite3.Connection) -> Iterator[Finding]:
    elsewhere = "channel_id <> (SELECT channel_id FROM topics WHERE topics.id = messages.topic_id)"
    yield _counted(connection, "messages", "id", elsewhere, "in another channel than their topic")
    yield _counted(connection, "messages", "id", "version < 1", "with a version below 1")
    for table in ("channels", "topics", "messages", "topic_attachments"):
        no_id = "length(id) > 64 OR id GLOB '*[^a-zA-Z0-9_-]*'"
        yield _counted(connection, table, "id", no_id, "with an id that no call takes")
    huge, first = connection.execute(f"SELECT count(*), min(id) FROM messages WHERE version >= {_EXACT}").fetchone()
    if huge:
        yield Finding(
            "warning",
            f"{huge} messages have a version that many JSON readers cannot tell from the next, the first is {first}",
            "find out which program wrote them",
        )
    wrong = []
    for table, columns in _TIMES.items():
        condition = " OR ".join(f"{column} NOT GLOB '{_TIMESTAMP}'" for column in columns)
        count = connection.execute(f"SELECT count(*) FROM {table} WHERE {condition}").fetchone()[0]
        wrong += [f"{count} of {table}"] if count else []
    if wrong:
        yield Finding("warning", f"rows with a time that is not UTC in milliseconds: {', '.join(wrong)}",
                      "find out which program wrote them")  # fmt: skip
    else:
        yield Finding("ok", "all times are UTC in milliseconds")


def _readable(connection: sqlite3.Connection) -> Iterator[Finding]:
    found = row_repair.find(connection)
    for rows in found:
        what = f"{rows.number} {rows.table} hold {rows.what}, the first is {rows.first}"
        if rows.table == "events":
            yield Finding("warning", f"{what} (readers get replacement characters)", "events never change")
        else:
            remedy = _REPAIR if rows.can_be_mended else "an id cannot be repaired: find out which program wrote it"
            yield Finding("error", f"{what} (readers get replacement characters, or null)", remedy)
    if not found:
        yield Finding("ok", "all text is UTF-8, and all values are JSON")


def _full_text(connection: sqlite3.Connection) -> Iterator[Finding]:
    if not full_text.can_be_rebuilt(connection):
        return
    missing = full_text.missing(connection)
    if missing:
        remedy = f"the next start of the hub fills it, or {_REPAIR}"
        yield Finding("error", f"the full-text index lacks {missing} messages", remedy)
    else:
        yield Finding("ok", "the full-text index has all messages")


_ANY_VERSION: dict[str, Check] = {"the file": _integrity}
_CHECKS: dict[str, Check] = _ANY_VERSION | {
    "the indexes and triggers": _indexes_and_triggers,
    "the tables": _strictness,
    "the ids of the event log": _log_ids,
    "the events": _log_rows,
    "the other rows": _rows,
    "the text": _readable,
    "the full-text index": _full_text,
}


def repair(path: Path) -> Iterator[Finding]:
    """Make missing indexes and triggers again, mend what readers cannot have as it is, and empty the WAL.

    Rows are changed only where readers get something else than what is stored, and after a copy was made. The caller
    holds the writer lock, so no hub serves. A damaged file, or one of another version, is left alone.
    """
    try:
        with closing(open_read_only(path)) as connection:
            if _schema(connection, path).level != "ok" or not _is_intact(connection):
                yield Finding("skipped", "the database is damaged or not of this version; it was left alone")
                return
            missing = parts.missing(connection)
            unreadable = [rows for rows in row_repair.find(connection) if rows.can_be_mended]
        uri = f"{path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            for part in missing:
                yield from _make(connection, part)
            yield from _fill_index(connection)
            if unreadable:
                yield from _mend(connection, path)
            yield from _empty_wal(connection, path)
    except sqlite3.Error as error:
        yield Finding("skipped", f"could not repair {path}: {error}")


def _is_intact(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)])


def _fill_index(connection: sqlite3.Connection) -> Iterator[Finding]:
    missing = full_text.missing(connection) if full_text.can_be_rebuilt(connection) else 0
    if missing:
        full_text.rebuild(connection)
        yield Finding("repaired", f"filled the full-text index, which lacked {missing} messages")


def _mend(connection: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    copy = path.with_name(f"{path.name}.unrepaired-{time.time_ns() // 1_000_000}")
    try:
        back_up(path, copy)
        hand_over(copy)
        changed = row_repair.mend(connection)
    except (StorageError, sqlite3.Error, OSError) as error:
        yield Finding("skipped", f"could not repair the rows that are not UTF-8 or JSON: {error}")
        return
    yield Finding("repaired", f"mended {changed} values that were not UTF-8 or JSON; the originals are in {copy}")


def _make(connection: sqlite3.Connection, part: parts.Part) -> Iterator[Finding]:
    if part.sql is None:
        return
    try:
        connection.execute(part.sql)
        yield Finding("repaired", f"made the {part.kind} on {part.table} again: {part.does}")
    except sqlite3.Error as error:
        yield Finding("skipped", f"could not make the {part.kind} on {part.table} ({part.does}): {error}")


def _empty_wal(connection: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    size = 0
    with suppress(OSError):
        size = path.with_name(path.name + "-wal").stat().st_size
    if size:
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            yield Finding("skipped", "the WAL is in use by another program; it was left as it is")
        else:
            yield Finding("repaired", f"moved the WAL ({size} bytes) into the database")
