"""Changes with an Idempotency-Key: asked for again they get the same answer, and change nothing."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import requests

from agentlip.server.http.table import ENDPOINTS

from ..running_hub import TOKEN, Hub, eventually
from ..side_by_side import in_threads
from .calls import (
    API,
    WRITES,
    Call,
    check_error,
    events_of,
    filled,
    head,
    new_channel,
    new_message,
    new_place,
    new_topic,
    unique,
)

CHANGES = [call for call in WRITES if not call.path.endswith("_ping")]
REPLAYED = "Idempotency-Replayed"


def keyed(hub: Hub, method: str, path: str, body: Any, key: str, **kwargs: Any) -> Any:
    headers = {"Idempotency-Key": key, **kwargs.pop("headers", {})}
    return hub.call(method, path, body, headers=headers, **kwargs)


def post(hub: Hub, topic_id: str, key: str, content: str = "hi", **kwargs: Any) -> Any:
    body = {"topic_id": topic_id, "sender": "ann", "content_raw": content}
    return keyed(hub, "POST", f"{API}/messages", body, key, **kwargs)


def check_same(first: Any, again: Any) -> None:
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert (first.headers.get(REPLAYED), again.headers.get(REPLAYED)) == (None, "true")


def set_age(hub: Hub, seconds: float) -> int:
    """Let all kept answers be so old; how many there are."""
    with closing(sqlite3.connect(hub.db, timeout=10, isolation_level=None)) as connection:
        now = int(1000 * (time.time() - seconds))
        return connection.execute("UPDATE idempotency_keys SET created_at = ?", (now,)).rowcount


def kept(hub: Hub) -> int:
    with closing(sqlite3.connect(hub.db, timeout=10)) as connection:
        return int(connection.execute("SELECT count(*) FROM idempotency_keys").fetchone()[0])


@pytest.mark.parametrize("call", CHANGES, ids=str)
def test_every_change_asked_for_again_gets_the_same_bytes_and_changes_nothing(hub: Hub, call: Call) -> None:
    place = new_place(hub)
    path, body, key = filled(call.path, place), filled(call.body, place), unique("key")
    first = keyed(hub, call.method, path, body, key)
    assert first.status_code == call.status
    before = head(hub)
    check_same(first, keyed(hub, call.method, path, body, key))
    assert head(hub) == before


def test_these_are_all_changes_there_are() -> None:
    known = {(call.method, re.sub(r"\{(\w+)\}", r"<\1_id>", call.path)) for call in CHANGES}
    ours = [each for each in ENDPOINTS if not each.path.startswith(f"{API}/agents")]  # test_agents.py has those
    assert {(each.method, each.path) for each in ours if each.takes_key} == known


@pytest.mark.parametrize("call", CHANGES, ids=str)
def test_the_answer_has_the_shape_that_it_has_without_a_key(hub: Hub, call: Call) -> None:
    def shape(value: Any) -> Any:
        return {name: shape(each) for name, each in value.items()} if isinstance(value, dict) else type(value)

    answers = []
    for headers in ({}, {"Idempotency-Key": unique("key")}):
        place = new_place(hub)
        path, body = filled(call.path, place), filled(call.body, place)
        answers.append(hub.call(call.method, path, body, headers=headers))
    assert shape(answers[0].json()) == shape(answers[1].json())
    assert list(answers[0].json()) == list(answers[1].json())
    assert answers[0].headers.keys() == answers[1].headers.keys()


def test_a_change_that_changed_nothing_is_kept_too(hub: Hub) -> None:
    place = new_place(hub)
    path, gone = f"{API}/messages/{place.message}", {"op": "delete", "actor": "ann"}
    hub.call("PATCH", path, gone)
    first = keyed(hub, "PATCH", path, gone, unique("key"))
    assert first.json()["event_id"] is None
    assert first.headers.get(REPLAYED) is None
    attached, key = {"kind": "note", "value_json": {"a": 1}}, unique("key")
    path = f"{API}/topics/{place.topic}/attachments"
    assert hub.call("POST", path, attached).status_code == 201
    equal = keyed(hub, "POST", path, attached, key)
    assert (equal.status_code, equal.json()["event_id"]) == (200, None)
    check_same(equal, keyed(hub, "POST", path, attached, key))
    other, moved, key = new_message(hub), {"op": "move_topic", "mode": "one"}, unique("key")
    path, moved["to_topic_id"] = f"{API}/messages/{other['id']}", other["topic_id"]
    nowhere = keyed(hub, "PATCH", path, moved, key)
    assert nowhere.json() == {"affected_count": 0, "event_ids": []}
    check_same(nowhere, keyed(hub, "PATCH", path, moved, key))


def test_the_answer_is_that_of_then_also_when_the_message_has_changed_since(hub: Hub) -> None:
    topic, key = new_topic(hub), unique("key")
    first = post(hub, topic, key)
    path = f"{API}/messages/{first.json()['message']['id']}"
    assert hub.call("PATCH", path, {"op": "edit", "content_raw": "new"}).status_code == 200
    check_same(first, post(hub, topic, key))


@pytest.mark.parametrize("changed", ["body", "bytes", "url", "query", "method"])
def test_another_call_under_the_same_key_is_refused_and_changes_nothing(hub: Hub, changed: str) -> None:
    place, key = new_place(hub), unique("key")
    path, data = f"{API}/messages/{place.message}", json.dumps({"op": "edit", "content_raw": "new"})
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    assert hub.call("PATCH", path, headers=headers, data=data).status_code == 200
    before = head(hub)
    method = "PATCH"
    if changed == "body":
        data = json.dumps({"op": "edit", "content_raw": "newer"})
    elif changed == "bytes":
        data += " "
    elif changed == "url":
        path = f"{API}/messages/{new_message(hub, place.topic)['id']}"
        before = head(hub)
    elif changed == "query":
        path += "?a=1"
    else:
        method, path, data = "POST", f"{API}/channels", json.dumps({"name": unique("channel")})
    check_error(hub.call(method, path, headers=headers, data=data), 422, "IDEMPOTENCY_MISMATCH")
    assert head(hub) == before


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "\x7f", "x" * 256, "a\tb"], ids=repr)
def test_a_key_that_is_none_is_refused(hub: Hub, key: str) -> None:
    topic = new_topic(hub)
    before = head(hub)
    body = json.dumps({"topic_id": topic, "sender": "ann", "content_raw": "hi"}).encode()
    lines = [f"POST {API}/messages HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {TOKEN}",
             "Content-Type: application/json", f"Content-Length: {len(body)}", f"Idempotency-Key: {key}",
             "Connection: close", "", ""]  # fmt: skip
    with socket.create_connection(("127.0.0.1", hub.port), 10) as raw:
        raw.sendall("\r\n".join(lines).encode() + body)
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"INVALID_INPUT" in answer or key == "\x7f"  # some servers refuse control characters by themselves
    assert head(hub) == before


@pytest.mark.parametrize("key", ["x", "!", "~", '"quoted"', "x" * 255])
def test_keys_of_every_good_shape(hub: Hub, key: str) -> None:
    channel = new_channel(hub)
    body = {"channel_id": channel, "title": unique("topic")}
    first = keyed(hub, "POST", f"{API}/topics", body, key)
    assert first.status_code == 201
    check_same(first, keyed(hub, "POST", f"{API}/topics", body, key))


def test_reads_and_pings_take_no_key(hub: Hub) -> None:
    bad = {"Idempotency-Key": "a b"}
    assert hub.call("GET", f"{API}/channels", headers=bad).status_code == 200
    for _ in range(2):
        answer = hub.call("POST", f"{API}/_ping", {}, headers=bad)
        assert (answer.status_code, answer.headers.get(REPLAYED)) == (200, None)


def test_a_refused_change_is_not_kept(hub: Hub) -> None:
    place, key = new_place(hub), unique("key")
    path = f"{API}/messages/{place.message}"
    wrong, right = ({"op": "edit", "content_raw": "new", "expected_version": version} for version in (7, 1))
    check_error(keyed(hub, "PATCH", path, wrong, key), 409, "VERSION_CONFLICT")
    first = keyed(hub, "PATCH", path, right, key)
    assert first.status_code == 200
    check_same(first, keyed(hub, "PATCH", path, right, key))
    check_error(post(hub, "topic_00000000none", unique("key")), 404, "NOT_FOUND")


def test_the_key_of_somebody_else_is_another(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    topic, key = new_topic(hub), unique("key")
    first = post(hub, topic, key)
    answers = []
    for _ in range(2):
        with requests.Session() as person:
            origin = {"Origin": hub.url}
            signed_in = person.post(f"{hub.url}/ui/session", json={"token": TOKEN}, headers=origin, timeout=10)
            assert signed_in.ok
            body = {"topic_id": topic, "sender": "ann", "content_raw": "hi"}
            for _ in range(2):
                answers.append(person.post(f"{hub.url}{API}/messages", json=body, timeout=10,
                                           headers={"Idempotency-Key": key, **origin}))  # fmt: skip
    assert [each.status_code for each in answers] == [201] * 4
    assert [each.headers.get(REPLAYED) for each in answers] == [None, "true", None, "true"]
    assert len({each.json()["event_id"] for each in (first, *answers)}) == 3


def test_a_replay_has_its_own_request_id_and_shows_in_the_log(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS="on")
    topic, key = new_topic(hub), unique("key")
    answers = [post(hub, topic, key, headers={"X-Request-ID": name}) for name in ("first", "again")]
    assert [each.headers["X-Request-ID"] for each in answers] == ["first", "again"]
    assert all("X-RateLimit-Remaining" in each.headers for each in answers)
    lines = {line.get("request_id"): line for line in hub.log_lines()}
    assert (lines["first"].get("replayed"), lines["first"]["event_ids"]) == (None, [answers[0].json()["event_id"]])
    assert (lines["again"].get("replayed"), lines["again"]["event_ids"]) == (True, [])


def test_a_restarted_hub_knows_the_key(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    topic, key = new_topic(hub), unique("key")
    first = post(hub, topic, key)
    hub.stop()
    again = start_hub(folder=hub.folder)
    check_same(first, post(again, topic, key))


def test_kill_9_between_the_commit_and_the_answer(start_hub: Callable[..., Hub]) -> None:
    """The hub dies before anybody has read its answer; who asks again gets it, and the message is there once."""
    hub = start_hub()
    topic, key = new_topic(hub), unique("key")
    body = json.dumps({"topic_id": topic, "sender": "ann", "content_raw": "hi"}).encode()
    before = head(hub)
    with socket.create_connection(("127.0.0.1", hub.port), 10) as raw:
        raw.sendall(
            f"POST {API}/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nIdempotency-Key: {key}\r\n\r\n".encode()
            + body
        )
        with closing(sqlite3.connect(hub.db, timeout=10)) as watching:
            newest = "SELECT max(event_id) FROM events"
            eventually(lambda: watching.execute(newest).fetchone()[0] > before, what="the commit")
        hub.stop(signal.SIGKILL)  # the connection is never read
    again = start_hub(folder=hub.folder)
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    answer = again.call("POST", f"{API}/messages", headers=headers, data=body)
    assert (answer.status_code, answer.headers.get(REPLAYED)) == (201, "true")
    assert [event["event_id"] for event in events_of(again, after=before)] == [answer.json()["event_id"]]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_same_call_at_once_at_all_workers_is_made_once(start_hub: Callable[..., Hub], workers: int) -> None:
    hub = start_hub(WORKERS=workers)
    topic = new_topic(hub)
    for _ in range(5):
        key, before = unique("key"), head(hub)

        def ask(_number: int, key: str = key) -> tuple[int, bytes, str | None]:
            body = {"topic_id": topic, "sender": "ann", "content_raw": "hi"}
            headers = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": key}
            answer = requests.post(f"{hub.url}{API}/messages", json=body, headers=headers, timeout=30)
            return answer.status_code, answer.content, answer.headers.get(REPLAYED)

        answers = in_threads(8, ask)
        assert len({each[:2] for each in answers}) == 1, answers
        assert sorted(each[2] or "" for each in answers) == [""] + ["true"] * 7
        assert head(hub) == before + 1


def test_after_a_day_the_key_is_new_and_old_answers_go_a_few_at_a_time(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    topic = new_topic(hub)
    keys = [unique("key") for _ in range(20)]
    first = [post(hub, topic, key) for key in keys]
    set_age(hub, 24 * 3600 - 60)
    check_same(first[0], post(hub, topic, keys[0]))
    assert set_age(hub, 24 * 3600) == 20
    second = post(hub, topic, keys[-1])
    assert second.headers.get(REPLAYED) is None
    assert second.json()["event_id"] != first[-1].json()["event_id"]
    check_same(second, post(hub, topic, keys[-1]))
    counts = [kept(hub)]
    for _ in range(6):
        post(hub, topic, unique("key"))
        counts.append(kept(hub))
    assert counts == [16, 13, 10, 7, 5, 6, 7]  # each keeps one, and takes up to four away


def test_a_clock_that_steps_back_forgets_nothing_and_keeps_nothing_forever(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    topic, key = new_topic(hub), unique("key")
    first = post(hub, topic, key)
    set_age(hub, -3600)
    check_same(first, post(hub, topic, key))
    set_age(hub, -48 * 3600)
    assert post(hub, topic, key).headers.get(REPLAYED) is None
    assert kept(hub) == 1
