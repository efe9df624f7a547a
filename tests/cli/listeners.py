"""`agentlip listen` as a process of its own, and what it needs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from agentlip.workspace import writer_lock

from ..running_hub import eventually
from .working_folder import WorkingFolder


class Reader:
    """Collects the lines that a started process prints; the part of a line that a kill leaves is none."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.notes: list[str] = []
        self._threads = []
        for file, to in (process.stdout, self.lines), (process.stderr, self.notes):
            assert file is not None
            with file:
                descriptor = os.dup(file.fileno())
            self._threads.append(threading.Thread(target=self._read, args=(descriptor, to)))
            self._threads[-1].start()

    @staticmethod
    def _read(descriptor: int, to: list[str]) -> None:
        with open(descriptor, encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    to.append(line[:-1])

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in list(self.lines)]

    @property
    def ids(self) -> list[int]:
        return [event["event_id"] for event in self.events]

    def connected(self) -> Reader:
        return self.noted("connected, at event")

    def noted(self, words: str, times: int = 1) -> Reader:
        """Wait until standard error has as many lines with these words."""
        eventually(lambda: sum(words in note for note in list(self.notes)) >= times, 20, f"{times} times {words!r}")
        return self

    def printed(self, count: int) -> Reader:
        eventually(lambda: len(self.lines) >= count, 20, f"the line {count}")
        return self

    def reached(self, event_id: int) -> Reader:
        eventually(lambda: event_id in self.ids, 20, f"event {event_id}")
        return self

    def ended(self, how: int = 0) -> int:
        """Send the signal, if any; the exit code. What it printed is complete then, and nothing of it a traceback."""
        self.process.send_signal(how)
        code = self.process.wait(10)
        for thread in self._threads:
            thread.join(10)
        assert all(note.startswith("agentlip: ") or not note for note in self.notes), self.notes
        return code


def listen(here: WorkingFolder, *args: object) -> Reader:
    return Reader(here.start("listen", *args))


def topic_of(here: WorkingFolder, title: str = "t", channel: str = "a") -> str:
    """A new topic in a new channel, two events; its id."""
    made = here.call("POST", "/api/v1/channels", {"name": channel}).json()["channel"]["id"]
    return str(here.call("POST", "/api/v1/topics", {"channel_id": made, "title": title}).json()["topic"]["id"])


def post(here: WorkingFolder, topic: str, *contents: str) -> int:
    """The event id of the last one."""
    for content in contents:
        answer = here.call("POST", "/api/v1/messages", {"topic_id": topic, "sender": "s", "content_raw": content})
        assert answer.status_code == 201, answer.text
    return int(answer.json()["event_id"])


@contextlib.contextmanager
def posting(here: WorkingFolder, topic: str) -> Iterator[None]:
    """Post all the time, also while there is no hub."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.005):
            with contextlib.suppress(requests.RequestException, AssertionError):
                post(here, topic, "more")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


def crash(here: WorkingFolder) -> None:
    for pid in writer_lock.users(here.folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not writer_lock.users(here.folder), 10, "the end of the hub")


def wait_for_cursor(here: WorkingFolder, file: Path, after: int) -> None:
    cursor = {"db_id": here.call("GET", "/health").json()["db_id"], "after_event_id": after}
    eventually(lambda: file.exists() and json.loads(file.read_text()) == cursor, 5, f"{cursor} in {file}")


def unread(process: subprocess.Popen[str]) -> int:
    """How many bytes wait in the pipe that is its output."""
    assert process.stdout is not None
    return int.from_bytes(fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4)), sys.byteorder)
