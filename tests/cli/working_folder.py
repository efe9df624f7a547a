"""A folder of its own in which `agentlip` is run, as people and scripts run it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from agentlip.cli.commands.init import make_workspace
from agentlip.config import Settings
from agentlip.workspace import processes, writer_lock
from agentlip.workspace.server_file import read_server_file

from ..running_hub import ROOT, eventually

PROGRAM = (sys.executable, "-P", "-m", "agentlip")  # as the installed command: not from the working folder


class WorkingFolder:
    """Runs commands in `root`. Settings are names without AGENTLIP_; hubs listen on a free port unless told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".agentlip"
        self.lock = self.folder / "locks" / "writer.lock"
        self.processes: list[subprocess.Popen[str]] = []

    def environment(self, **settings: object) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("AGENTLIP_")}
        env |= {"PYTHONPATH": str(ROOT), "AGENTLIP_PORT": "0"}
        return env | {f"AGENTLIP_{key}": str(value) for key, value in settings.items()}

    def run(self, *args: object, cwd: Path | None = None, **settings: object) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            (*PROGRAM, *map(str, args)), cwd=cwd or self.root, env=self.environment(**settings),
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def start(self, *args: object, **settings: object) -> subprocess.Popen[str]:
        """Start a command; it is killed at the end of the test."""
        process = subprocess.Popen(
            (*PROGRAM, *map(str, args)), cwd=self.root, env=self.environment(**settings), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def up(self, *args: object, **settings: object) -> int:
        """Run a hub in the background; its process id."""
        done = self.run("up", "--detach", *args, **settings)
        assert done.returncode == 0, done.stderr
        return int(self.server["pid"])

    @property
    def server(self) -> dict[str, Any]:
        """The content of server.json, once it is there."""
        return eventually(lambda: read_server_file(self.folder), 20, "server.json")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server['port']}"

    def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {token or self.server['auth_token']}", "Connection": "close"}
        return requests.request(method, self.url + path, json=body, headers=headers, timeout=20)

    def workers(self) -> list[int]:
        pid = self.server["pid"]
        return [user for user in writer_lock.users(self.folder) if processes.parent_of(user) == pid]

    def workers_left(self) -> set[int]:
        """Processes that still have the lock open."""
        return writer_lock.users(self.folder)

    def make_workspace(self) -> None:
        """What `agentlip init` does, without a process for it."""
        make_workspace(Settings.load({"AGENTLIP_DB": str(self.folder / "db.sqlite3")}))

    def kill(self) -> None:
        """End every process that was started here."""
        left = {process.pid for process in self.processes if process.poll() is None}
        for pid in writer_lock.users(self.folder) | left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not writer_lock.users(self.folder), 10, "the end of the hub")


@contextlib.contextmanager
def working_folder(root: Path) -> Iterator[WorkingFolder]:
    folder = WorkingFolder(root)
    try:
        yield folder
    finally:
        folder.kill()
        for process in folder.processes:
            process.communicate(timeout=10)


def json_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return dict(json.loads(done.stdout))


def words_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on standard error, without its beginning."""
    assert done.stderr.startswith("agentlip: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""
    return done.stderr.removeprefix("agentlip: ").strip()
