"""What an agent's token may do: its scopes, the channels that it is confined to, and the tokens that it makes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ..running_hub import Hub
from .agent_calls import ADMIN, call, head, listen, made, post, topic_in, unique
from .event_stream import EventReader


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    hub = Hub(tmp_path_factory.mktemp("agents"), RATE_LIMITS="off", WORKERS=2).start()
    yield hub
    hub.stop()


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


def test_no_token_outlives_the_one_that_made_it(hub: Hub) -> None:
    name, token = made(hub, scopes=ADMIN, expires_in=600)
    end = max(each["expires_at"] or "" for each in call(hub, "GET", f"/agents/{name}/tokens")["tokens"])
    for body in ({}, {"expires_in": 3600}):
        assert call(hub, "POST", f"/agents/{name}/tokens", body, token, 201)["expires_at"] == end
    assert call(hub, "POST", f"/agents/{name}/tokens", {"expires_in": 60}, token, 201)["expires_at"] < end
    new = call(hub, "POST", f"/agents/{name}/tokens/rotate", {}, token, 201)["token_id"]
    kept = {each["token_id"]: each for each in call(hub, "GET", f"/agents/{name}/tokens")["tokens"]}
    assert kept[new]["expires_at"] == end
