"""The life of a standalone hub: its lock, server.json and the token at a reload, and the end of an idle hub."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from agentlip.workspace import writer_lock
from agentlip.workspace.server_file import read_server_file
from agentlip.workspace.token import replace_token

from ..running_hub import ROOT, Hub, eventually
from ..side_by_side import Script
from ..small_disk import fill, small_disk

GUNICORN = (sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app")


def environment(folder: Path, **settings: object) -> dict[str, str]:
    return Hub(folder, **settings).environment()


def start_another(folder: Path, **settings: object) -> tuple[int, list[str]]:
    """Start a hub that is expected to end at once; its exit code and the lines that are ours."""
    ended = subprocess.run(
        GUNICORN, cwd=ROOT, env=environment(folder, **settings), capture_output=True, text=True, timeout=30
    )
    return ended.returncode, [line for line in ended.stderr.splitlines() if line.startswith("agentlip: ")]


def server_file(hub: Hub) -> dict[str, object]:
    return dict(json.loads((hub.folder / "server.json").read_text()))


def end(hub: Hub, timeout: float = 10) -> int:
    """Wait for the end of the hub; its exit code."""
    assert hub.process is not None
    return hub.process.wait(timeout)


def test_a_second_hub_ends_with_one_line_and_code_10_and_changes_nothing(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    assert hub.process is not None
    before, lock = server_file(hub), (hub.folder / "locks" / "writer.lock").read_bytes()
    code, lines = start_another(hub.folder)
    pid = hub.process.pid
    assert (code, lines) == (10, [f"agentlip: another hub, process {pid}, serves this workspace ({hub.folder})"])
    assert server_file(hub) == before
    assert (hub.folder / "locks" / "writer.lock").read_bytes() == lock
    assert hub.call("GET", "/health").json()["instance_id"] == before["instance_id"]
    assert writer_lock.hub_process(hub.folder) == hub.process.pid
    assert writer_lock.users(hub.folder) == {hub.process.pid, *hub.workers()}
    hub.make_topic()
    assert (hub.folder / "db.sqlite3-wal").stat().st_size > 0
    hub.session.close()
    assert hub.stop() == 0
    assert not list(hub.folder.glob("db.sqlite3-[ws]*"))
    assert os.listdir(hub.folder / "locks") == []
    assert not (hub.folder / "server.json").exists()


@pytest.mark.slow
def test_of_eight_hubs_at_once_exactly_one_serves(tmp_path: Path) -> None:
    hubs = [
        subprocess.Popen(GUNICORN, cwd=ROOT, env=environment(tmp_path), stderr=subprocess.DEVNULL) for _ in range(8)
    ]
    try:
        eventually(lambda: sum(hub.poll() is not None for hub in hubs) == 7, 30, "the end of seven")
        (serving,) = [hub for hub in hubs if hub.poll() is None]
        assert sorted(hub.returncode or 0 for hub in hubs) == [0, *[10] * 7]
        eventually(lambda: (read_server_file(tmp_path) or {}).get("pid") == serving.pid)
    finally:
        for hub in hubs:
            hub.terminate()
        assert {hub.wait(10) for hub in hubs} == {0, 10}


def test_the_next_hub_waits_for_the_workers_of_a_killed_one(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(WORKERS=2)
    assert hub.process is not None
    workers = hub.workers()
    _channel_id, topic_id = hub.make_topic()
    hub.post(topic_id)
    hub.session.close()
    hub.process.kill()
    hub.process.wait()
    assert writer_lock.users(hub.folder) == workers
    again = start_hub(folder=hub.folder)
    assert again.process is not None
    assert not workers & writer_lock.users(hub.folder)
    assert again.post(topic_id)["event_id"] == 4


def test_a_lock_of_a_living_hub_of_another_make_is_respected(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        lock = tmp_path / "locks" / "writer.lock"
        lock.parent.mkdir()
        lock.write_text(json.dumps({"pid": other.pid}))
        code, lines = start_another(tmp_path)
        other.kill()
    assert code == 10
    assert len(lines) == 1
    assert f"process {other.pid} serves this workspace, or has left its lock behind" in lines[0]
    assert lock.read_text() == json.dumps({"pid": other.pid})
    assert sorted(os.listdir(tmp_path)) == ["locks"]


def test_a_reload_keeps_the_lock_and_takes_the_new_token(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(AUTH_TOKEN=None)
    assert hub.process is not None
    before, old = server_file(hub), str(server_file(hub)["auth_token"])
    assert hub.call("POST", "/api/v1/_ping", token=old).status_code == 200
    workers, new = hub.workers(), replace_token(hub.folder)
    hub.process.send_signal(signal.SIGHUP)
    eventually(lambda: not workers & hub.workers(), 15, "the end of the old workers")
    hub.session.close()
    assert server_file(hub) == before | {"auth_token": new}
    assert hub.call("POST", "/api/v1/_ping", token=new).status_code == 200
    assert hub.call("POST", "/api/v1/_ping", token=old).json()["code"] == "INVALID_AUTH"
    assert writer_lock.hub_process(hub.folder) == hub.process.pid
    assert start_another(hub.folder)[0] == 10


def test_a_damaged_token_file_stops_nothing_and_all_workers_keep_the_token(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(AUTH_TOKEN=None)
    assert hub.process is not None
    before, token = server_file(hub), str(server_file(hub)["auth_token"])
    (hub.folder / "auth_token").write_text("damaged")

    def is_served_by_others(than: set[int]) -> bool:
        hub.session.close()
        return not than & hub.workers() and bool(hub.workers())

    (worker,) = workers = hub.workers()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: is_served_by_others(workers), 15, "a new worker")
    assert hub.call("POST", "/api/v1/_ping", token=token).status_code == 200
    workers = hub.workers()
    hub.process.send_signal(signal.SIGHUP)
    eventually(lambda: is_served_by_others(workers), 15, "the end of the old workers")
    assert hub.call("POST", "/api/v1/_ping", token=token).status_code == 200
    assert server_file(hub) == before
    assert "was not updated: the token file" in hub.log()


def test_a_hub_that_nobody_calls_stops(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(IDLE_SHUTDOWN=1, WORKERS=2)
    assert hub.process is not None
    with contextlib.suppress(requests.ConnectionError):
        while hub.process.poll() is None:
            requests.get(f"{hub.url}/health", timeout=5)  # asking whether it is there is no use of it
    assert end(hub, 10) == 0
    assert not (hub.folder / "server.json").exists()
    assert os.listdir(hub.folder / "locks") == []
    assert "No calls for 1 seconds: the hub stops" in hub.log()


@pytest.mark.slow
def test_calls_and_open_websockets_keep_a_hub_running(start_hub: Callable[..., Hub]) -> None:
    idle = 3.0  # seconds; a busy machine may hold a call up for long
    hub = start_hub(IDLE_SHUTDOWN=idle, WORKERS=2)
    assert hub.process is not None
    began = time.monotonic()
    while time.monotonic() < began + idle + 0.5:
        assert hub.call("POST", "/api/v1/_ping", headers={"Connection": "close"}).status_code == 200
        time.sleep(0.1)
    with hub.listen() as (_socket, _answer):
        with pytest.raises(subprocess.TimeoutExpired):
            hub.process.wait(idle + 0.5)
        began = time.monotonic()
    assert end(hub) == 0
    assert time.monotonic() - began > idle - 0.1


# The test's script adopts the orphans, as process 1 does otherwise, and would be told to end in the master's place.
ORPHAN = """
import ctypes, json, os, signal, subprocess, time
from pathlib import Path
from tests.running_hub import Hub, eventually
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
hub = Hub(Path(sys.argv[1]), IDLE_SHUTDOWN=1).start()
(worker,) = hub.workers()
os.kill(worker, signal.SIGSTOP)
hub.process.kill(); hub.process.wait()
time.sleep(1.2)
os.kill(worker, signal.SIGCONT)
os.waitpid(worker, 0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lets a process adopt orphans")
def test_an_idle_worker_whose_master_is_gone_stops_nobody_else(tmp_path: Path) -> None:
    script = Script("", ORPHAN + "print('alive')", tmp_path)
    script.ready()
    script.go()
    assert script.result() == "alive\n"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, 1024) as disk:
        yield disk


def test_posts_to_a_full_disk_are_answered_503_and_work_again_with_room(
    disk: Path, start_hub: Callable[..., Hub]
) -> None:
    hub = start_hub(folder=disk)
    _channel_id, topic_id = hub.make_topic()
    hub.log_path.chmod(0o600)
    filler = fill(disk)
    body = {"topic_id": topic_id, "sender": "s", "content_raw": "x" * 20_000}
    answer = hub.call("POST", "/api/v1/messages", body)
    assert (answer.status_code, answer.json()["details"]) == (503, {"reason": "disk full"})
    assert hub.call("GET", "/health").status_code == 200
    assert hub.call("GET", f"/api/v1/messages?topic_id={topic_id}").json()["messages"] == []
    filler.unlink()
    assert hub.call("POST", "/api/v1/messages", body).status_code == 201


@pytest.mark.parametrize("room", [0, 60])
def test_a_hub_does_not_start_on_a_full_disk_and_says_so_in_one_line(disk: Path, room: int) -> None:
    filler = fill(disk)
    os.truncate(filler, filler.stat().st_size - room * 1024)
    code, lines = start_another(disk / ".agentlip")
    assert code == 1
    assert len(lines) == 1, lines
    assert writer_lock.holder(disk / ".agentlip") is None
    filler.unlink()
    assert not (disk / ".agentlip" / "server.json").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_idle_connections_do_not_hold_up_the_end(start_hub: Callable[..., Hub], workers: int) -> None:
    hub = start_hub(WORKERS=workers)
    assert hub.process is not None
    idle = [socket.create_connection(("127.0.0.1", hub.port), timeout=10) for _ in range(4)]
    for sock in idle[1:]:  # the first one says nothing at all
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    hub.process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    for sock in idle:
        assert sock.recv(1) == b""
        sock.close()
    assert time.monotonic() - started < 1
    assert end(hub) == 0


def test_a_request_that_has_come_is_answered_at_the_end(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    assert hub.process is not None
    with socket.create_connection(("127.0.0.1", hub.port), timeout=10) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        (worker,) = hub.workers()
        os.kill(worker, signal.SIGSTOP)
        hub.process.send_signal(signal.SIGTERM)
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        os.kill(worker, signal.SIGCONT)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        assert sock.recv(1) == b""
    assert end(hub) == 0
