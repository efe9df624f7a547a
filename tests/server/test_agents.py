"""Agents over HTTP and WebSocket: their tokens, what these may do and see, and how they end."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from agentlip.server.http.agents import ENDPOINTS

from ..running_hub import Hub, eventually
from .event_stream import EventReader

ADMIN = ["read", "write", "admin"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    hub = Hub(tmp_path_factory.mktemp("agents"), RATE_LIMITS="off", WORKERS=2).start()
    yield hub
    hub.stop()


def call(hub: Hub, method: str, path: str, body: Any = None, token: str | None = None, status: int = 200) -> Any:
    more = {} if token is None else {"token": token}
    answer = hub.call(method, f"/api/v1{path}", body, **more)
    assert answer.status_code == status, answer.text
    return answer.json()


def unique(name: str) -> str:
    return f"{name}-{os.urandom(4).hex()}"


def made(hub: Hub, **more: Any) -> tuple[str, str]:
    """A new agent with a token that has `more`: its name and the token."""
    answer = call(hub, "POST", "/agents", {"name": unique("a")}, status=201)
    name = answer["agent"]["name"]
    if not more:
        return name, answer["token"]
    return name, call(hub, "POST", f"/agents/{name}/tokens", more, status=201)["token"]


def topic_in(hub: Hub) -> tuple[str, str]:
    channel = call(hub, "POST", "/channels", {"name": unique("c")}, status=201)["channel"]["id"]
    return channel, call(hub, "POST", "/topics", {"channel_id": channel, "title": "t"}, status=201)["topic"]["id"]


@contextmanager
def listen(hub: Hub, token: str, after: int | None = None, **subscriptions: Any) -> Iterator[Any]:
    headers = {"Authorization": f"Bearer {token}"}
    with connect(f"ws://127.0.0.1:{hub.port}/ws", additional_headers=headers) as socket:
        hello = {"type": "hello", "after_event_id": head(hub) if after is None else after}
        socket.send(json.dumps(hello | ({"subscriptions": subscriptions} if subscriptions else {})))
        assert json.loads(socket.recv(5))["type"] == "hello_ok"
        yield socket


def head(hub: Hub) -> int:
    return int(call(hub, "GET", "/events?tail=1")["replay_until"])


def post(hub: Hub, topic: str, token: str | None = None, text: str = "hi", sender: str | None = "s") -> Any:
    body = {"topic_id": topic, "content_raw": text} | ({} if sender is None else {"sender": sender})
    return call(hub, "POST", "/messages", body, token, 201)


def test_an_agent_is_made_with_a_token_that_is_stored_nowhere(hub: Hub) -> None:
    name = unique("new")
    answer = call(hub, "POST", "/agents", {"name": name, "kind": "service", "description": "d"}, status=201)
    assert list(answer) == ["agent", "token", "token_id", "event_id"]
    agent = answer["agent"]
    assert list(agent) == ["id", "name", "kind", "description", "created_at", "disabled_at"]
    assert agent["id"].startswith("agent_")
    assert (agent["name"], agent["kind"], agent["description"], agent["disabled_at"]) == (name, "service", "d", None)
    assert len(answer["token"]) == 47
    assert answer["token"].startswith("alp_")
    (event,) = call(hub, "GET", f"/events?after={answer['event_id'] - 1}&limit=1")["events"]
    assert (event["name"], event["data_json"]) == ("agent.created", {"agent": agent})
    assert event["entity"] == {"type": "agent", "id": agent["id"]}
    assert set(event["scope"].values()) == {None}
    with closing(sqlite3.connect(hub.folder / "db.sqlite3")) as file:
        assert answer["token"] not in "\n".join(file.iterdump())
    for path in ("/agents", f"/agents/{name}", f"/agents/{name}/tokens"):
        assert answer["token"] not in json.dumps(call(hub, "GET", path))


def test_agents_are_listed_by_name(hub: Hub) -> None:
    made(hub), made(hub)
    listed = call(hub, "GET", "/agents")["agents"]
    assert [each["name"] for each in listed] == sorted(each["name"] for each in listed)
    assert {**listed[0], "presence": None, "unacked": 0} == listed[0]
    assert call(hub, "GET", f"/agents/{listed[0]['name']}") == {"agent": listed[0]}


@pytest.mark.parametrize(
    "name", ["", "A", "ä", "a ", "-a", "a-", ".a", "a_", "a" * 65, "a b", "a\n", None, 5, ["a"], "a/b", "@a"]
)
def test_a_name_of_another_form_is_refused(hub: Hub, name: Any) -> None:
    assert call(hub, "POST", "/agents", {"name": name}, status=400)["code"] == "INVALID_INPUT"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"kind": "robot"}), ("", {"description": 5}), ("/tokens", {"scopes": []}),
        ("/tokens", {"scopes": ["all"]}),
        ("/tokens", {"scopes": "read"}), ("/tokens", {"channels": []}), ("/tokens", {"channels": ["a b"]}),
        ("/tokens", {"expires_in": 0}), ("/tokens", {"expires_in": "1"}), ("/tokens", {"label": "\n"}),
        ("/tokens/rotate", {"grace_seconds": -1}), ("/tokens/rotate", {"grace_seconds": True}),
    ],
)  # fmt: skip
def test_values_of_other_types_are_refused(hub: Hub, path: str, body: Any) -> None:
    name, _ = made(hub)
    target, more = (f"/agents/{name}{path}", {}) if path else ("/agents", {"name": unique("a")})
    assert call(hub, "POST", target, more | body, status=400)["code"] == "INVALID_INPUT"


def test_a_name_is_given_once(hub: Hub) -> None:
    name, _ = made(hub)
    answer = call(hub, "POST", "/agents", {"name": name}, status=409)
    assert answer["code"] == "CONFLICT"


@pytest.mark.parametrize("path", ["", "/tokens"])
def test_an_unknown_agent_is_not_found(hub: Hub, path: str) -> None:
    assert call(hub, "GET", f"/agents/nobody{path}", status=404)["code"] == "NOT_FOUND"


def test_whoami(hub: Hub) -> None:
    assert call(hub, "GET", "/whoami") == {"agent": None, "scopes": ADMIN, "channels": None, "admin": True}
    name, token = made(hub)
    answer = call(hub, "GET", "/whoami", token=token)
    assert list(answer) == ["agent", "scopes", "channels", "admin"]
    assert (answer["agent"]["name"], answer["scopes"], answer["admin"]) == (name, ["read", "write"], False)
    channel, _ = topic_in(hub)
    _, token = made(hub, scopes=["admin", "admin"], channels=[channel])
    answer = call(hub, "GET", "/whoami", token=token)
    assert (answer["scopes"], answer["channels"], answer["admin"]) == (["admin"], [channel], True)


def test_the_sender_is_the_agent(hub: Hub) -> None:
    _, topic = topic_in(hub)
    name, token = made(hub)
    agent_id = call(hub, "GET", "/whoami", token=token)["agent"]["id"]
    posted = post(hub, topic, token, sender=None)
    message = posted["message"]
    assert (message["sender"], message["agent_id"]) == (name, agent_id)
    assert list(message)[:10] == [
        "id", "topic_id", "channel_id", "sender", "content_raw", "version", "created_at", "edited_at", "deleted_at",
        "deleted_by",
    ]  # fmt: skip
    assert post(hub, topic, token, sender=name)["message"]["agent_id"] == agent_id
    assert post(hub, topic, sender=name)["message"]["agent_id"] is None
    (event,) = call(hub, "GET", f"/events?after={posted['event_id'] - 1}&limit=1")["events"]
    assert event["data_json"] == {"message": message}
    assert call(hub, "GET", f"/messages/{message['id']}") == {"message": message}
    found = [
        call(hub, "GET", path)["messages"] for path in (f"/messages?topic_id={topic}", f"/search?q=hi&topic_id={topic}")
    ]
    assert [[each["agent_id"] for each in page] for page in found] == [[None, agent_id, agent_id]] * 2
    deleted = call(hub, "PATCH", f"/messages/{message['id']}", {"op": "delete"}, token)["message"]
    assert (deleted["deleted_by"], deleted["agent_id"]) == (name, agent_id)


@pytest.mark.parametrize("sender", ["another", "", 5])
def test_another_sender_is_a_mismatch(hub: Hub, sender: Any) -> None:
    _, topic = topic_in(hub)
    _, token = made(hub)
    body = {"topic_id": topic, "sender": sender, "content_raw": "x"}
    assert hub.call("POST", "/api/v1/messages", body, token=token).status_code in (400, 403)
    if sender == "another":
        assert call(hub, "POST", "/messages", body, token, 403)["code"] == "SENDER_MISMATCH"
        message = post(hub, topic)["message"]["id"]
        body = {"op": "delete", "actor": sender}
        assert call(hub, "PATCH", f"/messages/{message}", body, token, 403)["code"] == "SENDER_MISMATCH"


@pytest.mark.parametrize("scope", ADMIN)
def test_a_token_may_do_what_its_scopes_say(hub: Hub, scope: str) -> None:
    name, token = made(hub, scopes=[scope])
    _, topic = topic_in(hub)
    body = {"topic_id": topic, "content_raw": "x"}
    tried = {
        "read": hub.call("GET", "/api/v1/channels", token=token),
        "write": hub.call("POST", "/api/v1/messages", body, token=token),
        "admin": hub.call("GET", f"/api/v1/agents/{name}/tokens", token=token),
    }
    assert {each for each, answer in tried.items() if answer.status_code < 300} == {scope}
    assert {answer.json().get("code") for answer in tried.values() if answer.status_code >= 300} == {"FORBIDDEN"}
    assert hub.call("GET", "/ui/data/status", token=token).json()["code"] == "FORBIDDEN"


def test_a_token_makes_only_tokens_that_may_do_no_more(hub: Hub) -> None:
    channel, _ = topic_in(hub)
    other, _ = topic_in(hub)
    name, token = made(hub, scopes=["read", "admin"], channels=[channel])
    for body in ({"scopes": ["write"]}, {}, {"scopes": ["read"], "channels": [other]}):
        assert call(hub, "POST", f"/agents/{name}/tokens", body, token, 403)["code"] == "FORBIDDEN"
    assert call(hub, "POST", "/agents", {"name": unique("a")}, token, 403)["code"] == "FORBIDDEN"
    granted = call(hub, "POST", f"/agents/{name}/tokens", {"scopes": ["read"]}, token, 201)
    assert (granted["scopes"], granted["channels"]) == (["read"], [channel])
    assert call(hub, "POST", f"/agents/{name}/tokens", {"channels": ["ch_nowhere"]}, status=404)


def test_a_confined_token_sees_its_channels_alone(hub: Hub) -> None:
    (channel, topic), (other, elsewhere) = topic_in(hub), topic_in(hub)
    here, there = post(hub, topic, text="needle")["message"], post(hub, elsewhere, text="needle")["message"]
    _, token = made(hub, channels=[channel])

    def seen(path: str, key: str) -> set[str]:
        return {each["id"] for each in call(hub, "GET", path, token=token)[key]}

    assert seen("/channels", "channels") == {channel}
    assert seen("/search?q=needle", "messages") == {here["id"]}
    events = call(hub, "GET", "/events?limit=1000", token=token)["events"]
    assert {each["scope"]["channel_id"] for each in events} == {channel}
    assert call(hub, "GET", f"/events?channel_id={other}&topic_id={elsewhere}", token=token)["events"] == []
    both = call(hub, "GET", f"/events?topic_id={elsewhere}&topic_id={topic}&limit=1000", token=token)["events"]
    assert {each["scope"]["topic_id"] for each in both} == {topic}
    assert seen(f"/messages?topic_id={topic}", "messages") == {here["id"]}
    for method, path, body in (
        ("GET", f"/channels/{other}/topics", None), ("GET", f"/messages?channel_id={other}", None),
        ("GET", f"/messages?topic_id={elsewhere}", None), ("GET", f"/messages/{there['id']}", None),
        ("GET", f"/topics/{elsewhere}/attachments", None), ("GET", f"/search?q=x&channel_id={other}", None),
        ("GET", f"/search?q=x&topic_id={elsewhere}", None), ("GET", f"/channels?after_id={other}", None),
        ("POST", "/messages", {"topic_id": elsewhere, "content_raw": "x"}),
        ("POST", "/topics", {"channel_id": other, "title": "x"}), ("PATCH", f"/topics/{elsewhere}", {"title": "x"}),
        ("PATCH", f"/messages/{there['id']}", {"op": "edit", "content_raw": "x"}),
        ("PATCH", f"/messages/{there['id']}", {"op": "delete"}),
        ("PATCH", f"/messages/{here['id']}", {"op": "move_topic", "to_topic_id": elsewhere, "mode": "one"}),
        ("POST", f"/topics/{elsewhere}/attachments", {"kind": "k", "value_json": {}}),
        ("POST", f"/topics/{topic}/attachments", {"kind": "k", "value_json": {}, "source_message_id": there["id"]}),
    ):  # fmt: skip
        assert call(hub, method, path, body, token, 404)["code"] == "NOT_FOUND", path
    assert call(hub, "POST", "/channels", {"name": unique("c")}, token, 403)["code"] == "FORBIDDEN"


@pytest.mark.parametrize("wanted", [{}, {"channels": "both"}, {"topics": "both"}])
def test_a_confined_token_hears_its_channels_alone(hub: Hub, wanted: dict[str, str]) -> None:
    (channel, topic), (other, elsewhere) = topic_in(hub), topic_in(hub)
    _, token = made(hub, channels=[channel])
    both = {"channels": [other, channel], "topics": [elsewhere, topic]}
    old = post(hub, topic)["event_id"], post(hub, elsewhere)["event_id"]
    with listen(hub, token, old[0] - 1, **{name: both[name] for name in wanted}) as socket:
        assert json.loads(socket.recv(5))["event_id"] == old[0]
        post(hub, elsewhere)
        new = post(hub, topic)["event_id"]
        assert json.loads(socket.recv(5))["event_id"] == new


def test_those_who_want_everything_hear_of_agents(hub: Hub) -> None:
    channel, _ = topic_in(hub)
    with listen(hub, made(hub)[1]) as all_of_it, listen(hub, made(hub)[1], channels=[channel]) as some:
        name = made(hub)[0]
        while json.loads(all_of_it.recv(5))["data"].get("agent", {}).get("name") != name:
            pass
        call(hub, "POST", "/topics", {"channel_id": channel, "title": "n"}, status=201)
        assert json.loads(some.recv(5))["name"] == "topic.created"


def end_of(socket: Any) -> tuple[int, str]:
    """How the hub closes it, after whatever comes before."""
    try:
        while True:
            socket.recv(5)
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "")


def refused(hub: Hub, token: str) -> bool:
    answer = hub.call("GET", "/api/v1/whoami", token=token, headers={"Connection": "close"})
    assert answer.status_code in (200, 401)
    return answer.status_code == 401 and answer.json()["code"] == "INVALID_AUTH"


def revoked(hub: Hub, name: str, token: str) -> None:
    token_id = call(hub, "GET", f"/agents/{name}/tokens")["tokens"][-1]["token_id"]
    first = call(hub, "DELETE", f"/agents/{name}/tokens/{token_id}")
    assert first["token"]["revoked_at"] is not None
    assert call(hub, "DELETE", f"/agents/{name}/tokens/{token_id}") == first


def disabled(hub: Hub, name: str, token: str) -> None:
    answer = call(hub, "PATCH", f"/agents/{name}", {"disabled": True})
    assert answer["agent"]["disabled_at"] is not None
    assert call(hub, "PATCH", f"/agents/{name}", {"disabled": True})["event_id"] is None


def rotated(hub: Hub, name: str, token: str) -> None:
    answer = call(hub, "POST", f"/agents/{name}/tokens/rotate", {"grace_seconds": 0}, token, 201)
    assert list(answer) == ["token", "token_id", "old_tokens_end_at"]
    assert call(hub, "GET", "/whoami", token=answer["token"])["agent"]["name"] == name


@pytest.mark.parametrize("end", [revoked, disabled, rotated])
def test_a_token_that_ends_is_refused_by_all_workers_and_its_sockets_close(
    hub: Hub, end: Callable[[Hub, str, str], None]
) -> None:
    name, token = made(hub)
    with ExitStack() as opened:
        sockets = [opened.enter_context(listen(hub, token)) for _ in range(6)]  # some at each worker
        assert not refused(hub, token)
        end(hub, name, token)
        assert all(refused(hub, token) for _ in range(8))
        began = time.monotonic()
        for socket in sockets:
            assert end_of(socket) == (1008, "Token revoked")
        assert time.monotonic() - began < 3


def test_an_enabled_agent_is_let_in_again(hub: Hub) -> None:
    name, token = made(hub)
    call(hub, "PATCH", f"/agents/{name}", {"disabled": True})
    assert refused(hub, token)
    call(hub, "PATCH", f"/agents/{name}", {"disabled": False})
    assert not refused(hub, token)


def test_a_rotated_token_has_its_grace(hub: Hub) -> None:
    name, token = made(hub, label="old", scopes=["read"])
    answer = call(hub, "POST", f"/agents/{name}/tokens/rotate", token=token, status=201)
    assert not refused(hub, token)
    kept = {each["token_id"]: each for each in call(hub, "GET", f"/agents/{name}/tokens")["tokens"]}
    assert {each["expires_at"] for each in kept.values()} == {None, answer["old_tokens_end_at"]}
    assert (kept[answer["token_id"]]["label"], kept[answer["token_id"]]["scopes"]) == ("old", ["read"])
    other, _ = made(hub)
    assert call(hub, "POST", f"/agents/{other}/tokens/rotate", {}, token, 403)["code"] == "FORBIDDEN"


def test_a_token_expires_by_itself(hub: Hub) -> None:
    _, token = made(hub, expires_in=1)
    with listen(hub, token) as socket:
        assert end_of(socket) == (1008, "Token revoked")
    assert refused(hub, token)


def test_it_is_known_when_a_token_was_last_used(hub: Hub) -> None:
    name, token = made(hub)
    assert [each["last_used_at"] for each in call(hub, "GET", f"/agents/{name}/tokens")["tokens"]] == [None]
    call(hub, "GET", "/channels", token=token)
    eventually(
        lambda: call(hub, "GET", f"/agents/{name}/tokens")["tokens"][0]["last_used_at"], 5, "the note of its use"
    )


@pytest.mark.parametrize("token", ["alp_" + "x" * 43, "alp_", "alp_" + "x" * 42, "alp_" + "x" * 44])
def test_a_token_that_nobody_has_is_refused(hub: Hub, token: str) -> None:
    assert call(hub, "GET", "/channels", token=token, status=401)["code"] == "INVALID_AUTH"


def test_other_hubs_find_their_tables_as_they_were(hub: Hub) -> None:
    made(hub)
    with closing(sqlite3.connect(hub.folder / "db.sqlite3")) as file:
        assert file.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchall() == [("1",)]
        assert [row[1] for row in file.execute("PRAGMA table_info(messages)")] == [
            "id", "topic_id", "channel_id", "sender", "content_raw", "version", "created_at", "edited_at",
            "deleted_at", "deleted_by",
        ]  # fmt: skip


def test_tokens_outlive_a_restart_and_the_tables_come_with_the_first_agent(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    with closing(sqlite3.connect(hub.folder / "db.sqlite3")) as file:
        assert not file.execute("SELECT 1 FROM sqlite_master WHERE name LIKE '%agent%'").fetchall()
        assert call(hub, "GET", "/agents") == {"agents": []}
        _, token = made(hub)
        assert file.execute("SELECT 1 FROM sqlite_master WHERE name = 'agents'").fetchall()
    hub.stop()
    hub.start()
    assert not refused(hub, token)


AGENT_CHANGES = {
    ("POST", "/api/v1/agents"): {"name": "{new}"},
    ("PATCH", "/api/v1/agents/<name>"): {"description": "d"},
    ("POST", "/api/v1/agents/<name>/tokens"): {},
    ("POST", "/api/v1/agents/<name>/tokens/rotate"): {},
    ("DELETE", "/api/v1/agents/<name>/tokens/<token_id>"): None,
}


def test_these_are_all_changes_of_agents() -> None:
    assert {(each.method, each.path) for each in ENDPOINTS if each.takes_key} == set(AGENT_CHANGES)


@pytest.mark.parametrize("change", AGENT_CHANGES, ids=" ".join)
def test_a_change_under_a_key_is_made_once_and_its_token_is_stored_nowhere(hub: Hub, change: tuple[str, str]) -> None:
    (method, path), body = change, AGENT_CHANGES[change]
    name, _ = made(hub)
    token_id = call(hub, "GET", f"/agents/{name}/tokens")["tokens"][0]["token_id"]
    path = path.replace("<name>", name).replace("<token_id>", token_id)
    if body is not None:
        body = {field: unique("n") if value == "{new}" else value for field, value in body.items()}
    first, again = (hub.call(method, path, body, headers={"Idempotency-Key": name}) for _ in range(2))
    assert first.status_code in (200, 201)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    with closing(sqlite3.connect(hub.folder / "db.sqlite3")) as file:
        assert first.json().get("token") is None or str(first.json()["token"]) not in "\n".join(file.iterdump())


def test_a_confined_token_streams_and_waits_for_its_channels_alone(hub: Hub) -> None:
    (channel, topic), (_, elsewhere) = topic_in(hub), topic_in(hub)
    name, token = made(hub, channels=[channel])
    before = head(hub)
    with EventReader(hub.port, f"after={before}", token=token) as stream:
        post(hub, elsewhere)
        new = post(hub, topic)["event_id"]
        assert stream.read("heartbeat").id == str(new)
        waited = call(hub, "GET", f"/events?after={before}&wait=5", token=token)["events"]
        assert [each["event_id"] for each in waited] == [new]
        assert call(hub, "GET", f"/events?after={new}&wait=0.1", token=token)["events"] == []
        call(hub, "PATCH", f"/agents/{name}", {"disabled": True})
        with pytest.raises((EOFError, ConnectionError)):
            stream.ids(1 << 60)


def test_a_token_that_ends_while_it_waits_is_refused_then(hub: Hub) -> None:
    name, token = made(hub)
    url = f"{hub.url}/api/v1/events?after={head(hub) + 1000}&wait=30"
    with ThreadPoolExecutor(1) as pool:
        parked = pool.submit(requests.get, url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        path = f"/agents/{name}/tokens"
        eventually(lambda: call(hub, "GET", path)["tokens"][0]["last_used_at"], 5, "that it was let in")
        began = time.monotonic()
        call(hub, "PATCH", f"/agents/{name}", {"disabled": True})
        answer = parked.result(30)
        assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_AUTH")
        assert time.monotonic() - began < 5
        answer.close()


def test_no_token_outlives_the_one_that_made_it(hub: Hub) -> None:
    name, token = made(hub, scopes=ADMIN, expires_in=600)
    end = max(each["expires_at"] or "" for each in call(hub, "GET", f"/agents/{name}/tokens")["tokens"])
    for body in ({}, {"expires_in": 3600}):
        assert call(hub, "POST", f"/agents/{name}/tokens", body, token, 201)["expires_at"] == end
    assert call(hub, "POST", f"/agents/{name}/tokens", {"expires_in": 60}, token, 201)["expires_at"] < end
    new = call(hub, "POST", f"/agents/{name}/tokens/rotate", {}, token, 201)["token_id"]
    kept = {each["token_id"]: each for each in call(hub, "GET", f"/agents/{name}/tokens")["tokens"]}
    assert kept[new]["expires_at"] == end


def test_a_broken_row_hides_no_other_token(hub: Hub) -> None:
    (broken, bad), (_, good) = made(hub), made(hub)
    with closing(sqlite3.connect(hub.folder / "db.sqlite3", timeout=10, isolation_level=None)) as file:
        file.execute(
            "UPDATE agent_tokens SET scopes = '{' WHERE agent_id = (SELECT id FROM agents WHERE name = ?)", (broken,)
        )
        try:
            made(hub)  # so that the hub reads them anew
            assert refused(hub, bad)
            assert not refused(hub, good)
        finally:
            file.execute("UPDATE agent_tokens SET scopes = '[]' WHERE scopes = '{'")
