"""Start, fill, ask and stop the servers under test, and look at their processes."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TOKEN = "token-of-the-benchmark"
_HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


class Hub(NamedTuple):
    port: int
    pids: list[int]  # of the workers
    channel: str
    topic: str


def call(port: int, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    """POST `body`, or GET without one."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/{path}", data, _HEADERS)
    with urllib.request.urlopen(request, timeout=30) as answer:
        result: dict[str, Any] = json.load(answer)
    return result


def head(hub: Hub) -> int:
    return int(call(hub.port, "events?tail=1")["replay_until"])


def get_ms(port: int, paths: list[str]) -> float:
    """The median time of GETs over one kept connection."""
    times = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for path in paths:
            start = time.perf_counter()
            connection.request("GET", f"/api/v1/{path}", headers=_HEADERS)
            answer = connection.getresponse()
            answer.read()
            times.append((time.perf_counter() - start) * 1000)
            if answer.status != 200:
                raise RuntimeError(f"GET {path}: {answer.status}")
    return median(times)


def stop(process: subprocess.Popen[Any]) -> None:
    """Ask, wait, then kill; what we start and its workers are one process group, named by its pid."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


@contextmanager
def gunicorn(args: list[str], cwd: Path, env: dict[str, str], log: Path, ready: Callable[[], bool]) -> Iterator[int]:
    """Start a server, wait until it is ready, yield its pid, and stop it whatever happens."""
    command = [sys.executable, "-m", "gunicorn", *args]
    with log.open("ab") as out:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        end = time.monotonic() + 20
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield process.pid
    finally:
        stop(process)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def yardstick(log: Path) -> Iterator[int]:
    """The bare Flask route; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    arguments = ["-k", "gevent", "-b", f"127.0.0.1:{port}", "--no-control-socket", "yardstick:app"]
    with gunicorn(arguments, HERE, dict(os.environ), log, lambda: accepts(port)):
        call(port, "messages", {})
        yield port


def workers_of(master: int) -> list[int]:
    """Its child processes, whichever of its threads forked them."""
    tasks = Path(f"/proc/{master}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


@contextmanager
def hub(folder: Path, workers: int = 1, synchronous: str = "") -> Iterator[Hub]:
    """A hub on the database of the folder, which is empty at first, with a channel and a topic of its own."""
    folder.mkdir(exist_ok=True)
    env = {"DB": str(folder / "db.sqlite3"), "PORT": "0", "HOST": "127.0.0.1", "WORKERS": str(workers)}
    env |= {"AUTH_TOKEN": TOKEN, "RATE_LIMITS": "off", "MAX_CONNECTIONS": "20000"}
    env |= {"SYNCHRONOUS": synchronous} if synchronous else {}
    environ = {**os.environ, **{f"AGENTLIP_{name}": value for name, value in env.items()}}
    address, log = folder / "server.json", folder / "hub.log"
    with gunicorn(["-c", "gunicorn.conf.py", "wsgi:app"], ROOT, environ, log, address.exists) as pid:
        port = json.loads(address.read_text())["port"]
        channel = call(port, "channels", {"name": secrets.token_hex(8)})["channel"]["id"]
        topic = call(port, "topics", {"channel_id": channel, "title": "bench"})["topic"]["id"]
        end = time.monotonic() + 20
        while len(pids := workers_of(pid)) < workers and time.monotonic() < end:
            time.sleep(0.05)
        if len(pids) != workers:
            raise RuntimeError(f"{len(pids)} of {workers} workers:\n{log.read_text()[-2000:]}")
        yield Hub(port, pids, channel, topic)


def filled_topic(number: int) -> str:
    return f"topic_{number:08}"


_FILL = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :events),
  t(i, topic) AS MATERIALIZED (SELECT i, printf('topic_%08d', i % :topics) FROM n)
INSERT INTO events (ts, name, scope_channel_id, scope_topic_id, entity_type, entity_id, data_json)
SELECT ts, name, scope_channel_id, topic, entity_type, printf('msg_%08d', t.i),
  replace(data_json, scope_topic_id, topic)
FROM t, (SELECT * FROM events WHERE name = 'message.created' LIMIT 1) ORDER BY t.i
"""


def fill(folder: Path, events: int, topics: int) -> None:
    """Add events to the log of a stopped hub, the topics taking turns: copies of one message that a hub stored.

    No rows of messages or topics: neither replay nor the log's pages read them.
    """
    with hub(folder) as it:
        call(it.port, "messages", {"topic_id": it.topic, "sender": "bench", "content_raw": "x" * 200})
    with closing(sqlite3.connect(folder / "db.sqlite3", isolation_level=None)) as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("BEGIN")
        connection.execute(_FILL, {"events": events, "topics": topics})
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()


def resident_kb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
