"""Agents over HTTP and WebSocket: they are made, write under their names, and their tokens end."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import pytest
import requests

from agentlip.server.http.agents import ENDPOINTS

from ..running_hub import Hub, eventually
from .agent_calls import ADMIN, call, end_of, head, listen, made, post, refused, topic_in, unique


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    hub = Hub(tmp_path_factory.mktemp("agents"), RATE_LIMITS="off", WORKERS=2).start()
    yield hub
    hub.stop()


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
