"""Starting the hub of a workspace that has none: `agentlip up --detach`, in whichever program comes first."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..workspace.finding import find_root
from .errors import HubUnreachable

T = TypeVar("T")

_PACKAGES = Path(__file__).resolve().parents[2]
_LOCK_HELD = 10  # the code of docs/cli.md with which `agentlip up` ends when a hub runs already
_LATE_SECONDS = 3.0  # one that starts at the same time has the port before it has the lock


def start_hub(start: Path | str | None, connect: Callable[[], T], timeout: float) -> T:
    """Start the hub, and return what `connect` makes of it. Raises HubUnreachable."""
    deadline = time.monotonic() + timeout
    where = []
    if start is not None:
        folder = Path(start).expanduser().absolute()
        where = ["--workspace", str(find_root(folder) or folder)]
    # No file of the folder where the user happens to be is taken for a module.
    program = f"import sys; sys.path.insert(0, {str(_PACKAGES)!r}); from agentlip.cli.main import main; main()"
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-c", program, *where, "up", "--detach"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HubUnreachable(f"No hub could be started: {type(error).__name__}") from None
    if ended.returncode != _LOCK_HELD:
        deadline = min(deadline, time.monotonic() + _LATE_SECONDS)
    while True:
        try:
            return connect()
        except HubUnreachable as error:
            if time.monotonic() > deadline:
                words = ended.stderr.strip().splitlines()[-1:] if ended.returncode else []
                raise HubUnreachable(f"No hub could be started: {''.join(words) or error}") from None
        time.sleep(0.05)
