"""A real hub for the tests: gunicorn with the project's own gunicorn.conf.py, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import requests
from websockets.sync.client import ClientConnection, connect

from agentlip.store import mutations
from agentlip.store.store import Store
from agentlip.store.writer import Transaction

from . import described

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "test-token-0123456789abcdef0123456789abcdef"
T = TypeVar("T")


def eventually(condition: Callable[[], T], timeout: float = 10.0, what: str = "the condition") -> T:
    """Poll until `condition()` is true and return its value; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout} s")
        time.sleep(0.01)


class Hub:
    """One running hub on a free port of the loopback, with its database in `folder`."""

    _all: ClassVar[weakref.WeakSet[Hub]] = weakref.WeakSet()

    def __init__(self, folder: Path, **settings: Any) -> None:
        self._all.add(self)
        self.folder = folder
        self.db = folder / "db.sqlite3"
        self.log_path = folder / "hub.log"
        self.settings = {"AUTH_TOKEN": TOKEN, "PORT": 0, "RATE_LIMITS": "off", **settings}
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.session = requests.Session()
        self.is_described = True  # its answers are held to the description of the API

    @classmethod
    def close_idle_connections(cls) -> None:
        """Close what the sessions of all hubs keep open; they connect again when they are used."""
        for hub in list(cls._all):
            hub.session.close()

    def environment(self) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("AGENTLIP_")}
        env["AGENTLIP_DB"] = str(self.db)
        env.update({f"AGENTLIP_{key}": str(value) for key, value in self.settings.items() if value is not None})
        return env

    def start(self) -> Hub:
        """Start gunicorn and wait until /health answers; the real port comes from server.json."""
        server_file = self.folder / "server.json"
        server_file.unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"],
                cwd=ROOT, env=self.environment(), stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.port = eventually(self._read_port, 30, "server.json")
        eventually(self._healthy, 30, "/health")
        return self

    def _read_port(self) -> int:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            return int(json.loads((self.folder / "server.json").read_text())["port"])
        except (OSError, ValueError):
            return 0

    def _healthy(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=5).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def stop(self, how: int = signal.SIGTERM, timeout: float = 20) -> int:
        """Send the signal to gunicorn's master and wait for it; SIGKILL goes to its workers too."""
        process = self.process
        self.session.close()
        if process is None:
            return 0
        if how == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        elif process.poll() is None:
            process.send_signal(how)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        finally:
            self.process = None

    def workers(self) -> set[int]:
        """Pids of the living worker processes: the master's children."""
        assert self.process is not None
        found = set()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
                if fields and int(fields[1]) == self.process.pid and fields[0] != "Z":
                    found.add(int(entry.name))
        return found

    def worker_of(self, sock: socket.socket) -> int:
        """The pid of the worker at the other end of a connection; 0 while no worker has accepted it."""
        ends = f"0100007F:{self.port:04X} 0100007F:{sock.getsockname()[1]:04X}"
        inodes = [line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines() if ends in line]
        for pid in self.workers() if inodes else ():
            with contextlib.suppress(OSError):
                for descriptor in os.listdir(f"/proc/{pid}/fd"):
                    with contextlib.suppress(OSError):
                        if os.readlink(f"/proc/{pid}/fd/{descriptor}") == f"socket:[{inodes[0]}]":
                            return pid
        return 0

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_lines(self) -> list[dict[str, Any]]:
        """The JSON lines of the log."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws?token={self.settings['AUTH_TOKEN']}"

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = TOKEN, **kwargs: Any) -> Any:
        """One HTTP call with the token; `body` goes as JSON. `path` is relative to the hub, e.g. /health."""
        headers = dict(kwargs.pop("headers", {}))
        if token is not None:
            headers.setdefault("Authorization", f"Bearer {token}")
        if body is not None:
            kwargs["json"] = body
        answer = self.session.request(method, self.url + path, headers=headers, timeout=30, **kwargs)
        if self.is_described:
            described.check(answer)
        return answer

    def make_topic(self, channel: str = "general", title: str = "hello") -> tuple[str, str]:
        """Create a channel and a topic; returns their ids."""
        channel_id = self.call("POST", "/api/v1/channels", {"name": channel}).json()["channel"]["id"]
        answer = self.call("POST", "/api/v1/topics", {"channel_id": channel_id, "title": title})
        return channel_id, answer.json()["topic"]["id"]

    def post(self, topic_id: str, content: str = "hi", sender: str = "tester") -> dict[str, Any]:
        """Post a message; returns the 201 answer."""
        answer = self.call("POST", "/api/v1/messages", {"topic_id": topic_id, "sender": sender, "content_raw": content})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def fill(self, topic_id: str, count: int) -> None:
        """Write messages `filled 0`, `filled 1` ... at once, as a script on the hub's host would; it may run or not."""

        def post_all(transaction: Transaction) -> None:
            for number in range(count):
                mutations.post_message(transaction, topic_id, "agent", f"filled {number}")

        store = Store(self.db, "NORMAL", 30.0, lambda _entries: None)
        store.write(post_all, heavy=True)
        store.close()

    @contextlib.contextmanager
    def connect(self, **kwargs: Any) -> Iterator[ClientConnection]:
        """An open WebSocket that has not said hello."""
        with connect(self.ws_url, compression=None, max_size=None, close_timeout=3, **kwargs) as socket:
            yield socket

    @contextlib.contextmanager
    def listen(self, after: float = 0, **hello: Any) -> Iterator[tuple[ClientConnection, dict[str, Any]]]:
        """A WebSocket that has said hello, and its hello_ok."""
        with self.connect() as socket:
            socket.send(json.dumps({"type": "hello", "after_event_id": after, **hello}))
            yield socket, json.loads(socket.recv(timeout=10))


def receive_until(socket: ClientConnection, event_id: int, timeout: float = 20) -> list[dict[str, Any]]:
    """Receive envelopes up to and including the one with `event_id`."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["event_id"] < event_id:
        events.append(json.loads(socket.recv(timeout=timeout)))
    return events
