"""Faults: a database held by somebody else, a broken one, kill -9, the end; and what the log says of it all."""

from __future__ import annotations

import http.client
import json
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ..running_hub import TOKEN, Hub, eventually
from .calls import API, READS, TIMESTAMP, WRITES, Call, Place, check_error, head, new_place, new_topic, send, unique

LOG_KEYS = {
    "ts", "level", "method", "path", "status", "duration_ms", "request_id", "instance_id", "event_ids",
}  # fmt: skip
HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@contextmanager
def held(db: Path) -> Iterator[None]:
    """Another process holds the write lock of the database meanwhile."""
    command = [sys.executable, "-c", HOLDER, str(db)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "held\n"
            yield
        finally:
            holder.stdin.close()
            holder.wait(10)


# A database that is busy


@pytest.fixture(scope="module")
def impatient_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub that waits one second for the database."""
    hub = Hub(tmp_path_factory.mktemp("impatient"), WRITE_TIMEOUT=1).start()
    yield hub
    hub.session.close()
    hub.stop()


def test_writes_to_a_busy_database_are_refused_after_a_bounded_wait(impatient_hub: Hub) -> None:
    hub = impatient_hub
    place, before = new_place(hub), head(hub)
    with held(hub.db), ThreadPoolExecutor(len(WRITES)) as pool:
        started = time.monotonic()
        answers = list(pool.map(lambda call: send(hub, call, place), WRITES[1:]))
        waited = time.monotonic() - started
    assert 0.5 < waited < 3
    for answer in answers:
        details = check_error(answer, 503, "SERVICE_UNAVAILABLE")["details"]
        assert details == {"reason": "database busy"}
        assert int(answer.headers["Retry-After"]) >= 1
    assert head(hub) == before


def test_reads_and_health_answer_quickly_while_writes_wait(impatient_hub: Hub) -> None:
    hub = impatient_hub
    place = new_place(hub)
    with held(hub.db), ThreadPoolExecutor(1) as pool:
        write = pool.submit(send, hub, WRITES[1], place)
        slowest = 0.0
        while not write.done():
            for call in (Call("GET", "/health"), *READS):
                started = time.monotonic()
                assert send(hub, call, place).status_code == 200
                slowest = max(slowest, time.monotonic() - started)
        assert write.result().status_code == 503
    assert slowest < 0.5


def test_writes_work_again_when_the_database_is_free(impatient_hub: Hub) -> None:
    name = unique()
    with held(impatient_hub.db):
        answer = impatient_hub.call("POST", f"{API}/channels", {"name": name})
        check_error(answer, 503, "SERVICE_UNAVAILABLE")
    assert impatient_hub.call("POST", f"{API}/channels", {"name": name}).status_code == 201


def test_a_write_that_waited_goes_through_when_the_lock_is_short(hub: Hub) -> None:
    with ThreadPoolExecutor(1) as pool:
        with held(hub.db):
            write = pool.submit(hub.call, "POST", f"{API}/channels", {"name": unique()})
            assert hub.call("GET", "/health").status_code == 200
            assert not write.done()
        assert write.result().status_code == 201


# A database that is broken


@contextmanager
def without_channels(db: Path) -> Iterator[None]:
    """The table of channels is not there meanwhile."""
    with closing(sqlite3.connect(db, timeout=10)) as connection:
        connection.execute("ALTER TABLE channels RENAME TO elsewhere")
        try:
            yield
        finally:
            connection.execute("ALTER TABLE elsewhere RENAME TO channels")


def test_an_inner_error_is_a_500_that_tells_nothing(hub: Hub) -> None:
    topic_id = new_topic(hub)
    with without_channels(hub.db):
        for call in (READS[0], WRITES[1]):
            answer = send(hub, call, Place("", "", ""))
            check_error(answer, 500, "INTERNAL_ERROR")
            assert not re.search("channels|table|sqlite|Traceback|File", answer.text)
            assert answer.headers["X-Request-ID"]
        assert hub.call("GET", "/health").status_code == 200
        assert hub.call("GET", f"{API}/messages?topic_id={topic_id}").status_code == 200
    assert hub.call("GET", f"{API}/channels").status_code == 200


# kill -9


def _post_until_refused(hub: Hub, topic_id: str, name: str, acknowledged: list[dict[str, Any]]) -> None:
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        for number in range(100_000):
            body = {"topic_id": topic_id, "sender": name, "content_raw": f"{name} {number}"}
            try:
                answer = session.post(f"{hub.url}{API}/messages", json=body, timeout=10)
            except requests.RequestException:
                return
            if answer.status_code == 201:
                acknowledged.append(answer.json())


def _all_messages(hub: Hub, topic_id: str) -> dict[str, dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"topic_id": topic_id, "limit": 50}
    while True:
        page = hub.call("GET", f"{API}/messages", params=query).json()
        found += page["messages"]
        if not page["has_more"]:
            return {message["id"]: message for message in found}
        query["before_id"] = found[-1]["id"]


def _all_events(hub: Hub) -> dict[int, dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        after = found[-1]["event_id"] if found else 0
        page = hub.call("GET", f"{API}/events", params={"after": after, "limit": 1000}).json()["events"]
        if not page:
            return {event["event_id"]: event for event in found}
        found += page


@pytest.mark.slow
def test_kill_9_loses_nothing_that_was_acknowledged(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    topic_id, health = new_topic(hub), hub.call("GET", "/health").json()
    acknowledged: list[dict[str, Any]] = []
    names = ["ann", "bob", "cat", "dan"]
    threads = [threading.Thread(target=_post_until_refused, args=(hub, topic_id, name, acknowledged)) for name in names]
    for thread in threads:
        thread.start()
    eventually(lambda: len(acknowledged) >= 200, 20, "200 posts")
    hub.stop(signal.SIGKILL)
    for thread in threads:
        thread.join(15)
    again = start_hub(folder=hub.folder)
    messages, events = _all_messages(again, topic_id), _all_events(again)
    for answer in acknowledged:
        assert messages[answer["message"]["id"]] == answer["message"]
        assert events[answer["event_id"]]["data_json"] == {"message": answer["message"]}
    posted = {event["entity"]["id"] for event in events.values() if event["name"] == "message.created"}
    assert posted == set(messages)
    assert list(events) == list(range(1, len(events) + 1))
    assert again.post(topic_id)["message"]["id"] > max(messages)
    new_health = again.call("GET", "/health").json()
    assert new_health["db_id"] == health["db_id"]
    assert new_health["instance_id"] != health["instance_id"]


# The end


def _on(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body) if body else None, headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_a_hub_that_shuts_down_refuses_writes_and_stays_healthy(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    opened = [http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10) for _ in range(200)]
    for connection in opened:
        connection.connect()
    waiting = iter(opened)
    assert hub.process is not None
    hub.process.send_signal(signal.SIGTERM)

    def refusal() -> Any:
        status, body = _on(next(waiting), "POST", f"{API}/channels", {"name": unique()})
        assert status in (201, 503)  # 201 when the hub takes it before the signal
        return body if status == 503 else None

    assert eventually(refusal, 5, "a refusal")["code"] == "SHUTTING_DOWN"
    status, body = _on(next(waiting), "GET", "/health")
    assert (status, body["status"]) == (200, "ok")
    assert hub.process.wait(15) == 0
    for connection in opened:
        connection.close()


# The log


def requests_logged(hub: Hub, request_id: str) -> list[dict[str, Any]]:
    return [line for line in hub.log_lines() if line.get("request_id") == request_id and "method" in line]


def logged(hub: Hub, request_id: str) -> dict[str, Any]:
    """The one line the log has for this request."""
    (line,) = eventually(lambda: requests_logged(hub, request_id), 5, "the line in the log")
    return line


@pytest.mark.parametrize("call", [*READS, *WRITES, Call("GET", "/health"), Call("GET", "/nowhere", None, 404)], ids=str)
def test_every_request_leaves_one_json_line(hub: Hub, call: Call) -> None:
    answer = send(hub, call, place := new_place(hub))
    line = logged(hub, answer.headers["X-Request-ID"])
    assert set(line) >= LOG_KEYS
    assert re.fullmatch(TIMESTAMP, line["ts"])
    assert (line["method"], line["status"]) == (call.method, call.status)
    assert line["path"] == call.path.partition("?")[0].format(**place._asdict(), new="")
    assert line["instance_id"] == hub.call("GET", "/health").json()["instance_id"]
    assert isinstance(line["level"], str)
    assert 0 <= line["duration_ms"] < 30_000
    assert isinstance(line["event_ids"], list | None)


def test_the_line_of_a_write_names_its_events(hub: Hub) -> None:
    topic_id = new_topic(hub)
    body = {"topic_id": topic_id, "sender": "ann", "content_raw": "https://example.org/"}
    answer = hub.call("POST", f"{API}/messages", body)
    first = answer.json()["event_id"]
    assert logged(hub, answer.headers["X-Request-ID"])["event_ids"] == [first, first + 1]  # the URL's too


def test_the_line_of_a_move_names_all_its_events(hub: Hub) -> None:
    place = new_place(hub)
    hub.post(place.topic)
    target = new_topic(hub, place.channel)
    body = {"op": "move_topic", "to_topic_id": target, "mode": "all"}
    answer = hub.call("PATCH", f"{API}/messages/{place.message}", body)
    assert len(answer.json()["event_ids"]) == 2
    assert logged(hub, answer.headers["X-Request-ID"])["event_ids"] == answer.json()["event_ids"]


def test_a_refused_request_is_logged_with_its_status(hub: Hub) -> None:
    answer = hub.call("POST", f"{API}/channels", {"name": ""})
    assert logged(hub, answer.headers["X-Request-ID"])["status"] == 400


def test_all_lines_of_the_application_are_json(hub: Hub) -> None:
    hub.call("GET", f"{API}/channels")
    for line in hub.log_lines():
        assert {"ts", "level"} <= set(line)


def test_the_log_never_holds_a_token(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(LOG_LEVEL="debug")
    wrong, place = "wrong-token-0123456789", new_place(hub)
    for call in (*READS, *WRITES):
        send(hub, call, place)
        send(hub, call, place, token=wrong)
    with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{hub.port}/ws?token={wrong}"):
        pass
    assert refused.value.response.status_code == 401
    for path in (f"/ws?token={TOKEN}", f"{API}/channels?token={TOKEN}", f"/nowhere?token={TOKEN}"):
        last = hub.call("GET", path)
    with hub.listen():
        pass
    logged(hub, last.headers["X-Request-ID"])
    hub.session.close()
    hub.stop()
    assert TOKEN not in hub.log()
    assert wrong not in hub.log()
