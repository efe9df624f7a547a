"""The database is removed or replaced under a running hub: nothing is lost silently, and nothing is made again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agentlip.store.database import Database

from ..running_hub import Hub, eventually

LOST = {
    "removed": "database was removed",
    "moved": "database was removed",
    "replaced": "database was replaced",
    "emptied": "database was removed",
    "without its WAL": "write-ahead log of the database was removed",
}


def lose(hub: Hub, how: str) -> None:
    if how == "removed":
        for path in hub.folder.glob("db.sqlite3*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif how == "moved":
        hub.db.rename(hub.folder / "elsewhere")
    elif how == "replaced":
        other = hub.folder / "other"
        Database(other).prepare()
        other.rename(hub.db)
    elif how == "emptied":
        os.truncate(hub.db, 0)
    else:
        hub.db.with_name("db.sqlite3-wal").unlink()


def reason(answer: object) -> object:
    body = answer.json()  # type: ignore[attr-defined]
    return answer.status_code, body["code"], body["details"]["reason"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", LOST)
def test_everything_is_refused_and_health_says_why(start_hub: Callable[..., Hub], how: str) -> None:
    hub = start_hub()
    _, topic = hub.make_topic()
    hub.post(topic)
    before = hub.call("GET", "/health").json()
    assert (before["status"], "reason" in before) == ("ok", False)
    with hub.listen() as (socket, _):
        for _ in range(3):
            socket.recv(timeout=10)
        lose(hub, how)
        names = sorted(os.listdir(hub.folder))
        lost_at = time.monotonic()
        body = {"topic_id": topic, "sender": "s", "content_raw": "lost?"}
        refused = (503, "SERVICE_UNAVAILABLE", LOST[how])
        assert reason(hub.call("POST", "/api/v1/messages", body)) == refused
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=5)
        assert time.monotonic() - lost_at < 2
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1011, "Database unavailable")
    for path in ("/api/v1/channels", "/api/v1/events", f"/api/v1/messages?topic_id={topic}", "/api/v1/search?q=hi"):
        assert reason(hub.call("GET", path)) == refused
    with pytest.raises(InvalidStatus) as upgrade, hub.connect():
        pass
    assert upgrade.value.response.status_code == 503
    health = hub.call("GET", "/health")
    assert health.status_code == 200
    changed = before | {"status": "degraded", "reason": LOST[how], "uptime_seconds": health.json()["uptime_seconds"]}
    assert health.json() == changed
    assert sorted(os.listdir(hub.folder)) == names
    records = [line for line in hub.log_lines() if "while it was in use" in line.get("message", "")]
    assert [line["level"] for line in records] == ["error"]


def test_reads_are_refused_within_a_second_though_nobody_writes(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    lose(hub, "replaced")
    eventually(lambda: hub.call("GET", "/api/v1/channels").status_code == 503, 1)


def test_a_live_stream_notices_though_nobody_calls(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    with hub.listen() as (socket, _):
        lose(hub, "removed")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=2)


def test_a_database_that_comes_back_is_used_again(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    _, topic = hub.make_topic()
    lose(hub, "moved")
    assert hub.call("GET", "/health").json()["status"] == "degraded"
    (hub.folder / "elsewhere").rename(hub.db)
    assert hub.call("GET", "/health").json()["status"] == "ok"
    event = hub.post(topic)["event_id"]
    with hub.listen(event - 1) as (socket, _):
        assert json.loads(socket.recv(timeout=10))["event_id"] == event


@pytest.mark.slow
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_new_workers_make_no_new_database(start_hub: Callable[..., Hub], how: str) -> None:
    hub = start_hub()
    hub.make_topic()
    db_id = hub.call("GET", "/health").json()["db_id"]
    old = hub.workers()
    lose(hub, how)
    there = hub.db.exists()
    assert hub.process is not None
    hub.process.send_signal(signal.SIGHUP)
    eventually(lambda: hub.workers() and not hub.workers() & old, 20, "new workers")
    os.kill(min(hub.workers()), signal.SIGKILL)
    health = eventually(lambda: healthy(hub), 20, "an answer")
    assert (health["status"], health["reason"], health["db_id"]) == ("degraded", LOST[how], db_id)
    assert hub.call("POST", "/api/v1/channels", {"name": "new"}).status_code == 503
    assert hub.db.exists() == there
    assert hub.stop() == 0
    assert hub.db.exists() == there


def healthy(hub: Hub) -> dict[str, object]:
    try:
        return dict(hub.call("GET", "/health").json())
    except OSError:
        return {}


def test_another_program_that_removes_it_while_nothing_is_open(tmp_path: Path) -> None:
    database = Database(tmp_path / "db.sqlite3")
    database.prepare()
    database.path.unlink()
    with pytest.raises(Exception, match="Service unavailable"), database.reading():
        pass
    assert not database.path.exists()
    database.close_lock()
