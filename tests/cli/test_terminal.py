"""`agentlip up` in the foreground of a terminal: what a person sees, and what ends it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from ..running_hub import eventually
from .working_folder import PROGRAM, WorkingFolder, working_folder


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path) as folder:
        folder.make_workspace()
        yield folder


class Terminal:
    """A program in the foreground of a terminal of its own."""

    def __init__(self, here: WorkingFolder, *program: str) -> None:
        self.text = ""
        self._closing = False
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.chdir(here.root)
            os.execve(program[0], program, here.environment())
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):
            while not self._closing:
                if select.select([self._master], [], [], 0.05)[0]:
                    self.text += os.read(self._master, 4096).decode(errors="replace").replace("\r\n", "\n")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        self._closing = True
        self._reader.join(10)  # a read under way would keep the terminal open
        os.close(self._master)

    def wait(self) -> int:
        ended = eventually(self._ended, 20, "the end")
        return os.waitstatus_to_exitcode(ended[1])

    def _ended(self) -> tuple[int, int] | None:
        found = os.waitpid(self.pid, os.WNOHANG)
        return found if found[0] else None


def started(here: WorkingFolder) -> None:
    eventually(lambda: here.call("GET", "/health").ok, 20, "the hub")


def gone(here: WorkingFolder) -> bool:
    return not (here.folder / "server.json").exists() and not here.workers_left()


def test_a_person_sees_the_link_first_and_then_short_lines(here: WorkingFolder) -> None:
    terminal = Terminal(here, *PROGRAM, "up")
    eventually(lambda: "Ctrl-C stops it" in terminal.text, 20, "the first lines")
    started(here)
    first, second, third = terminal.text.splitlines()[:3]
    link = re.fullmatch(rf"Sign in, once within ten minutes: {here.url}/ui/login#(\S+)", first)
    assert link is not None
    assert second == "`agentlip ui` makes another link."
    assert third == f"The hub runs: {here.url}, process {terminal.pid}. Ctrl-C stops it."
    answer = requests.post(f"{here.url}/ui/session", json={"code": link[1]}, headers={"Origin": here.url}, timeout=10)
    assert answer.status_code == 200
    assert here.call("POST", "/api/v1/channels", {"name": "general"}).status_code == 201
    eventually(lambda: re.search(r"^\d\d:\d\d:\d\d POST /api/v1/channels 201, [\d.]+ ms$", terminal.text, re.M), 5)
    assert "{" not in terminal.text
    terminal.type("\x03")
    assert terminal.wait() == 0
    terminal.close()
    assert "Traceback" not in terminal.text
    assert gone(here)


def test_closing_the_terminal_ends_the_hub_in_good_order(here: WorkingFolder) -> None:
    terminal = Terminal(here, *PROGRAM, "up")
    started(here)
    url = f"{here.url}/ws?token={here.server['auth_token']}".replace("http", "ws", 1)
    with connect(url) as socket:
        socket.send(json.dumps({"type": "hello", "after_event_id": 0}))
        socket.recv(timeout=10)
        terminal.close()
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=10)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1001
    assert terminal.wait() == 0
    assert gone(here)


def test_closing_the_terminal_of_a_shell_ends_the_hub_it_runs(here: WorkingFolder) -> None:
    terminal = Terminal(here, "/bin/bash", "--norc", "-i")
    terminal.type(" ".join([*PROGRAM, "up"]) + "\n")
    started(here)
    assert here.server["pid"] != terminal.pid
    terminal.close()
    terminal.wait()
    eventually(lambda: gone(here), 15, "the end of the hub")


def test_hup_is_a_reload_while_the_terminal_is_there(here: WorkingFolder) -> None:
    terminal = Terminal(here, *PROGRAM, "up")
    started(here)
    before = here.workers()
    os.kill(terminal.pid, signal.SIGHUP)
    eventually(lambda: here.workers() and not set(here.workers()) & set(before), 15, "new workers")
    started(here)
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.wait() == 0
    terminal.close()


def test_nohup_survives_the_terminal(here: WorkingFolder) -> None:
    terminal = Terminal(here, "/usr/bin/env", "nohup", *PROGRAM, "up")
    started(here)
    terminal.close()
    before = here.workers()
    os.kill(terminal.pid, signal.SIGHUP)
    eventually(lambda: here.workers() and not set(here.workers()) & set(before), 15, "new workers")
    started(here)
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.wait() == 0
