"""A hub in the background: started in a session of its own, and waited for until it answers."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import click

from ...errors import ConfigError, LockHeld
from ...workspace.finding import HUB_LOG
from ...workspace.folder import hand_over
from . import output
from .exits import LOCK_HELD
from .running import Running

_START_SECONDS = 60.0


def start_detached(
    program: Sequence[str], environ: Mapping[str, str], where: Path, folder: Path, as_json: bool
) -> None:
    """Start the program and print one line when its hub answers; its own output goes to the end of hub.log.

    When it ends instead, ConfigError or LockHeld is raised, with its last words.
    """
    path = folder / HUB_LOG
    with open(path, "ab", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as log:
        os.fchmod(log.fileno(), 0o600)
        hand_over(path)
        begin = log.tell()
        process = subprocess.Popen(
            program, env=environ, cwd=where, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        running = _wait(process, folder)
    except KeyboardInterrupt:
        process.terminate()
        raise
    if running is None:
        _report_end(process, path, begin)
    elif as_json:
        output.json_value({"url": running.url, "pid": process.pid, "log": str(path)})
    else:
        click.echo(f"The hub runs: {running.url}, process {process.pid}, log {path}")
    process.returncode = 0  # it outlives this one, and nobody waits for it


def _wait(process: subprocess.Popen[bytes], folder: Path) -> Running | None:
    """The hub when it answers; None when its process has ended."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None:
        running = Running.look(folder)
        if running.url is not None and running.server is not None and running.server.get("pid") == process.pid:
            return running
        if time.monotonic() > deadline:
            raise TimeoutError(f"the hub, process {process.pid}, has not answered yet; see {folder / HUB_LOG}")
        time.sleep(0.05)
    return None


def _report_end(process: subprocess.Popen[bytes], path: Path, begin: int) -> None:
    with path.open("rb") as log:
        log.seek(begin)
        words = _last_words(log) or f"the hub has ended with code {process.returncode}; see {path}"
    raise LockHeld(words) if process.returncode == LOCK_HELD else ConfigError(words)


def _last_words(log: IO[bytes]) -> str | None:
    lines = log.read(1 << 20).decode(errors="replace").splitlines()
    own = [line.removeprefix("agentlip: ") for line in lines if line.startswith("agentlip: ")]
    return own[-1] if own else None
