"""`agentlip down`: stop the hub of a workspace. No process gets a signal that is not certain to be that hub."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from ...client import HubUnreachable
from ...errors import ConfigError
from ...workspace import writer_lock
from ..support.context import Context
from ..support.hub_process import HubProcess
from ..support.output import json_value
from ..support.running import Running

_KILL_SECONDS = 5.0


@click.command()
@click.option(
    "--timeout", type=click.FloatRange(0, 3600), default=15, show_default=True, help="Seconds to wait for it to end."
)
@click.option("--force", is_flag=True, help="Kill it and its workers if it has not ended by then.")
@click.pass_obj
def down(context: Context, timeout: float, force: bool) -> None:
    """Stop the workspace's hub and wait until it is gone.

    WebSockets are closed with 1001 and calls under way are finished. Exits with 3 if no hub is running.
    """
    folder = context.database.parent
    process = HubProcess.find(folder)
    if process is None:
        _wait_for_orphans(folder, timeout)
        raise _absence(folder)
    try:
        process.send(signal.SIGTERM)
    except PermissionError:
        raise ConfigError(f"the hub, process {process.pid}, belongs to another user") from None
    except ProcessLookupError:
        pass  # it has ended by itself
    killed = not _comes_true(lambda: _is_gone(process, folder), timeout)
    if killed:
        if not force:
            raise TimeoutError(f"the hub, process {process.pid}, has not ended in {timeout:g} s; --force kills it")
        _kill(process, folder)
    if context.as_json:
        json_value({"pid": process.pid, "killed": killed})
    else:
        click.echo(f"{'Killed' if killed else 'Stopped'} the hub, process {process.pid}.")


def _is_gone(process: HubProcess, folder: Path) -> bool:
    """Its workers hold the lock, too; when another process does, that is the next hub."""
    return process.has_ended() and writer_lock.holder(folder) != process.pid


def _kill(process: HubProcess, folder: Path) -> None:
    with suppress(ProcessLookupError):
        process.send(signal.SIGSTOP)  # so that it starts no more workers
    for victim in (*process.workers(folder), process):
        with suppress(ProcessLookupError):
            victim.send(signal.SIGKILL)
    if not _comes_true(lambda: _is_gone(process, folder), _KILL_SECONDS):
        raise TimeoutError(f"killed process {process.pid}, but the lock of {folder.parent} is still held")


def _wait_for_orphans(folder: Path, timeout: float) -> None:
    """Workers of a killed hub hold the lock until they notice."""
    if not writer_lock.wait_for_orphans(folder, timeout):
        left = ", ".join(str(pid) for pid in sorted(writer_lock.users(folder))) or "unknown"
        raise TimeoutError(f"the hub is gone, but its workers (processes {left}) still hold {folder.parent}")


def _absence(folder: Path) -> Exception:
    """Why there is nothing to stop."""
    running = Running.look(folder)
    if running.url is not None:
        return ConfigError(
            f"the hub at {running.url} is not certain to be a process of this machine; stop it where it was started"
        )
    if running.holder is not None:
        return ConfigError(f"process {running.holder} has the lock of {folder.parent}, but is not certain to be a hub")
    left = "; server.json is left over from one that is gone" if running.is_left_over else ""
    return HubUnreachable(f"no hub runs in {folder.parent}{left}")


def _comes_true(condition: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
