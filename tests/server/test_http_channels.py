"""Channels, /health and /_ping: the calls that need nothing to be there before."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from agentlip import create_app

from ..running_hub import Hub
from .calls import API, TIMESTAMP, check_error, events_of, head, new_channel, unique


def create(hub: Hub, **body: Any) -> Any:
    return hub.call("POST", f"{API}/channels", body)


def test_a_channel_is_made_and_answered_whole(hub: Hub) -> None:
    name = unique()
    answer = create(hub, name=name, description="for tests")
    assert answer.status_code == 201
    assert set(answer.json()) == {"channel", "event_id"}
    channel = answer.json()["channel"]
    assert list(channel) == ["id", "name", "description", "created_at"]
    assert (channel["name"], channel["description"]) == (name, "for tests")
    assert re.fullmatch(TIMESTAMP, channel["created_at"])


def test_a_channel_id_has_the_promised_shape(hub: Hub) -> None:
    channel_id = new_channel(hub)
    assert re.fullmatch(r"ch_[0-9a-z]{9,}", channel_id)
    assert len(channel_id) <= 64


def test_making_a_channel_appends_its_event(hub: Hub) -> None:
    answer = create(hub, name=unique()).json()
    (event,) = events_of(hub, after=answer["event_id"] - 1, limit=1)
    assert event["event_id"] == answer["event_id"]
    assert event["name"] == "channel.created"
    assert event["data_json"] == {"channel": answer["channel"]}


@pytest.mark.parametrize("extra", [{}, {"description": None}], ids=["absent", "null"])
def test_a_channel_needs_no_description(hub: Hub, extra: dict[str, Any]) -> None:
    answer = create(hub, name=unique(), **extra)
    assert answer.status_code == 201
    assert answer.json()["channel"]["description"] is None


def test_a_duplicate_name_is_refused_and_changes_nothing(hub: Hub) -> None:
    name = unique("private-name")
    made = create(hub, name=name).json()["channel"]["id"]
    before = head(hub)
    body = check_error(create(hub, name=name), 400, "INVALID_INPUT")
    assert body["details"] == {"reason": "ALREADY_EXISTS", "id": made}
    assert name not in str(body)
    assert head(hub) == before


@pytest.mark.parametrize("name", ["x", "é" * 100, "😀" * 100, "with space", "日本語"], ids=len)
def test_names_of_1_to_100_characters_are_taken(hub: Hub, name: str) -> None:
    answer = create(hub, name=name)
    assert answer.status_code == 201, answer.text
    assert answer.json()["channel"]["name"] == name


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": None},
        {"name": ""},
        {"name": "   "},
        {"name": "\t\n"},
        {"name": "x" * 101},
        {"name": "😀" * 101},
        {"name": 7},
        {"name": True},
        {"name": ["x"]},
        {"name": {"a": 1}},
        {"name": "fine", "description": 7},
        {"name": "fine", "description": ["x"]},
    ],
    ids=repr,
)
def test_a_bad_channel_is_refused_and_changes_nothing(hub: Hub, body: dict[str, Any]) -> None:
    before = head(hub)
    check_error(create(hub, **body), 400, "INVALID_INPUT")
    assert head(hub) == before


def test_channels_are_listed_by_name(hub: Hub) -> None:
    names = {unique("zz"), unique("aa"), unique("mm")}
    for name in names:
        create(hub, name=name)
    answer = hub.call("GET", f"{API}/channels")
    assert answer.status_code == 200
    assert set(answer.json()) == {"channels", "has_more"}
    listed = [channel["name"] for channel in answer.json()["channels"]]
    assert listed == sorted(listed)
    assert names <= set(listed)


def test_a_listed_channel_equals_the_one_made(hub: Hub) -> None:
    made = create(hub, name=unique(), description="d").json()["channel"]
    assert made in hub.call("GET", f"{API}/channels").json()["channels"]


def test_health_says_who_the_hub_is(hub: Hub) -> None:
    answer = hub.call("GET", "/health", token=None)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["protocol_version"], body["schema_version"]) == ("ok", "v1", 1)
    assert type(body["schema_version"]) is int
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", body["db_id"])
    assert isinstance(body["instance_id"], str)
    assert body["pid"] > 1
    assert isinstance(body["uptime_seconds"], int)
    assert 0 <= body["uptime_seconds"] < 600


def test_health_does_not_change_between_calls_but_for_the_uptime(hub: Hub) -> None:
    first, second = (hub.call("GET", "/health").json() for _ in range(2))
    assert first.pop("uptime_seconds") <= second.pop("uptime_seconds")
    assert first == second


def test_ping_answers_without_a_body(hub: Hub) -> None:
    answer = hub.call("POST", f"{API}/_ping")
    assert answer.status_code == 200
    assert answer.json() == {"pong": True, "instance_id": hub.call("GET", "/health").json()["instance_id"]}


@pytest.mark.parametrize("echo", ["", "hello", "a\tb\n", "日本語 😀"], ids=repr)
def test_ping_gives_the_echo_back(hub: Hub, echo: str) -> None:
    answer = hub.call("POST", f"{API}/_ping", {"echo": echo})
    assert answer.status_code == 200
    assert answer.json()["echo"] == echo


def test_ping_takes_an_empty_object(hub: Hub) -> None:
    answer = hub.call("POST", f"{API}/_ping", {})
    assert answer.status_code == 200
    assert "echo" not in answer.json()


def test_the_uptime_does_not_follow_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"AGENTLIP_DB": str(tmp_path / "db.sqlite3"), "AGENTLIP_LOG_LEVEL": "error"}
    app = create_app(config)
    now = time.time()
    with monkeypatch.context() as clock:
        clock.setattr(time, "time", lambda: now - 86_400)
        uptime = app.test_client().get("/health").json["uptime_seconds"]
    app.extensions["agentlip"].shut_down(5)
    assert 0 <= uptime < 60
