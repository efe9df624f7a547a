"""Measure the hub against a bare Flask route on the same machine, in the same run: see README.md."""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WSLOAD = str(HERE / "wsload")
TOKEN, SOCKETS, EVENTS = "benchmark", 3000, 10_000
Samples = dict[str, list[float]]
YARD = "yard8.posts_per_s"
ROWS = (  # title, what is shown, what it is divided by, what is wanted
    ("yardstick: POST/s, 8 connections", YARD, "", ""),
    ("yardstick: POST/s, 64 connections", "yard64.posts_per_s", "", ""),
    ("POST/s, 8 connections", "post8.posts_per_s", YARD, "0.6"),
    ("POST/s, 64 connections", "post64.posts_per_s", "yard64.posts_per_s", ""),
    ("deliveries/s, 100 subscribers, 8 writers", "fanout100.deliveries_per_s", YARD, "50"),
    ("deliveries/s, 500 subscribers, 8 writers", "fanout500.deliveries_per_s", YARD, "150"),
    ("deliveries/s, 1000 subscribers, 8 writers", "fanout1000.deliveries_per_s", YARD, ""),
    ("catch-up events/s, 10 clients x 10,000", "replay.events_per_s", YARD, "60"),
    ("post to delivery, p50 ms, 1 subscriber", "lat.deliver_p50_ms", "", ""),
    ("post to the poster's own answer, p50 ms", "lat.post_p50_ms", "", ""),
    ("connections/s (3000, with hello)", "conns.connects_per_s", "", ""),
    ("KB per idle socket (3000)", "conns.socket_kb", "", "value <= 30"),
    ("gaps", "gaps", "", "value 0"),
    ("events out of order", "disorder", "", "value 0"),
)


class Hub(NamedTuple):
    port: int
    pid: int
    channel: str
    topic: str


def call(port: int, path: str, body: dict[str, str]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        result: dict[str, Any] = json.load(answer)
    return result


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
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        end = time.monotonic() + 20
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{command} did not start:\n{log.read_text()[-2000:]}")
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
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    arguments = ["-k", "gevent", "-b", f"127.0.0.1:{port}", "--no-control-socket", "yardstick:app"]
    with gunicorn(arguments, HERE, dict(os.environ), log, lambda: accepts(port)):
        call(port, "messages", {})
        yield port


@contextmanager
def hub(folder: Path) -> Iterator[Hub]:
    """A fresh hub on an empty database: memory that earlier load left behind would hide the cost of a socket."""
    folder.mkdir()
    env = {"DB": str(folder / "db.sqlite3"), "PORT": "0", "HOST": "127.0.0.1", "WORKERS": "1", "AUTH_TOKEN": TOKEN}
    env |= {"RATE_LIMITS": "off", "MAX_CONNECTIONS": "20000"}
    environ = {**os.environ, **{f"AGENTLIP_{name}": value for name, value in env.items()}}
    address = folder / "server.json"
    with gunicorn(["-c", "gunicorn.conf.py", "wsgi:app"], ROOT, environ, folder / "hub.log", address.exists) as pid:
        port = json.loads(address.read_text())["port"]
        channel = call(port, "channels", {"name": "bench"})["channel"]["id"]
        topic = call(port, "topics", {"channel_id": channel, "title": "bench"})["topic"]["id"]
        worker = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        yield Hub(port, int(worker), channel, topic)


def resident_kb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


def wsload(mode: str, port: int, *arguments: object, while_held: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Run the load client once and return the line it prints; its failure ends the benchmark."""
    command = [WSLOAD, mode, "127.0.0.1", str(port), TOKEN, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline() if select.select([process.stdout], [], [], 180)[0] else ""
        while_held()
        if process.wait(20) != 0 or not line:
            raise SystemExit(f"{command} failed: {line}")
    finally:
        stop(process)
    result: dict[str, Any] = json.loads(line)
    return result


def measure(yard: int, it: Hub, samples: Samples) -> None:
    """One repeat: the yardstick is measured again before each group of the hub's figures."""

    def load(name: str, mode: str, port: int, *arguments: object, **options: Callable[[], None]) -> None:
        for figure, value in wsload(mode, port, *arguments, **options).items():
            samples.setdefault(f"{name}.{figure}", []).append(value)

    def hold() -> None:
        time.sleep(1.5)
        samples.setdefault("conns.socket_kb", []).append((resident_kb(it.pid) - before) / SOCKETS)

    load("warm-up", "post", it.port, it.topic, 500, 8)
    before = resident_kb(it.pid)
    load("conns", "conns", it.port, SOCKETS, 3, while_held=hold)
    load("yard8", "post", yard, "x", 6000, 8)
    load("post8", "post", it.port, it.topic, EVENTS, 8)
    load("yard64", "post", yard, "x", 6000, 64)
    load("post64", "post", it.port, it.topic, 6000, 64)
    for subscribers in (100, 500, 1000):
        load("yard8", "post", yard, "x", 3000, 8)
        load(f"fanout{subscribers}", "fanout", it.port, it.topic, it.channel, subscribers, 3000, 8)
    load("yard8", "post", yard, "x", 3000, 8)
    load("replay", "replay", it.port, 0, EVENTS, 10)
    load("lat", "lat", it.port, it.topic, it.channel, 1, 300)


def table(samples: Samples) -> str:
    """Medians; but gaps and disorder are added up: one of them in any repeat must show."""
    values = {key: median(found) for key, found in samples.items() if not key.endswith(".mode")}
    for fault in ("gaps", "disorder"):
        values[fault] = sum(sum(found) for key, found in samples.items() if key.endswith(f".{fault}"))
    lines = [f"{'figure':<44}{'value':>12}{'ratio':>9}  wanted"]
    for title, key, base, wanted in ROWS:
        value = f"{values[key]:,.{0 if key in ('gaps', 'disorder') or values[key] >= 100 else 2}f}"
        ratio = f"{values[key] / values[base]:.2f}" if base else ""
        lines.append(f"{title:<44}{value:>12}{ratio:>9}  {wanted}".rstrip())
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="measurements per figure; the median is printed")
    repeat = max(1, parser.parse_args().repeat)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    subprocess.run(["cc", "-O2", "-w", "-o", WSLOAD, f"{WSLOAD}.c"], check=True, timeout=120)
    samples: Samples = {}
    (build := ROOT / "build").mkdir(exist_ok=True)  # git-ignored, and on the repository's disk; /tmp may be memory
    with tempfile.TemporaryDirectory(dir=build, prefix="benchmark-") as name, yardstick(Path(name, "yard.log")) as yard:
        for turn in range(repeat):
            print(f"repeat {turn + 1} of {repeat} ...", file=sys.stderr, flush=True)
            with hub(Path(name) / str(turn)) as it:
                measure(yard, it, samples)
    print(table(samples))


if __name__ == "__main__":
    main()
