"""`agentlip backup`: a copy of the database, also while the hub writes to it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from ...store.backup import back_up
from ..support.context import Context
from ..support.output import json_value, record


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.pass_obj
def backup(context: Context, file: Path, force: bool) -> None:
    """Copy the database to FILE, even while a hub writes to it.

    FILE gets mode 0600. No token is needed.

    The copy is checked before it gets its name. The output is its path, its size in bytes, the identity of its
    event log and the last event in it. Keep it as secret as the workspace: it holds every message, but no token.
    """
    source = context.database
    end_on_signals()
    with progress_of(file) as on_progress:
        made = back_up(source, file, replace=force, on_progress=on_progress)
    shown = {"path": str(made.path.absolute()), "size": made.size, "db_id": made.db_id, "head": made.head}
    (json_value if context.as_json else record)(shown)


@contextmanager
def progress_of(file: Path) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, if that is a terminal; gives what is told the pages done, and all of them."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(str(file), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def end_on_signals() -> None:
    """Leave nothing behind when a scheduler stops the copy, as Ctrl-C does not."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)
