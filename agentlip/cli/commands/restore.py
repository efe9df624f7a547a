"""`agentlip restore`: a backup in the place of the database."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ...errors import LockHeld
from ...store.restore import restore as put_back
from ...workspace.folder import prepare_folder
from ...workspace.processes import processes_with
from ...workspace.writer_lock import WriterLock
from ..support.context import Context
from ..support.output import json_value, record
from ..support.running import database_to_be
from .backup import end_on_signals, progress_of


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def restore(context: Context, file: Path) -> None:
    """Replace the database with the backup FILE.

    No hub may be running. FILE is checked first and is not changed. The old database is kept beside the new one.

    The event log gets a new identity: clients are told that their cursors are of another log, and start over. The
    output is the path, its size in bytes, the identity and the last event of the log, and where the old one is kept.
    """
    database = database_to_be(context, dict(os.environ))
    end_on_signals()
    prepare_folder(database.parent)
    with _alone(database), progress_of(file) as on_progress:
        made = put_back(file, database, time.time_ns() // 1_000_000, on_progress)
    shown = {
        "path": str(made.path),
        "size": made.size,
        "db_id": made.db_id,
        "head": made.head,
        "kept": None if made.kept is None else str(made.kept),
    }
    (json_value if context.as_json else record)(shown)


@contextmanager
def _alone(database: Path) -> Iterator[None]:
    """Hold the writer lock. Raises LockHeld while a hub, or any other program that is known of, uses the database."""
    lock = WriterLock(database.parent)
    try:
        lock.acquire()
    except LockHeld as error:
        raise LockHeld(f"{error}; stop it first, with `agentlip down`") from None
    try:
        others = processes_with(database) - {os.getpid()}
        if others:
            raise LockHeld(f"process {min(others)} has {database} open; stop it first")
        yield
    finally:
        lock.release()
