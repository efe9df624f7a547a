"""The declarations: payloads by the names of events, one check for host code and JSON, and bytes as they are stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from agentlip import Agentlip
from agentlip.errors import InvalidInput
from agentlip.model import (
    KNOWN_EVENTS,
    PAYLOADS,
    AddAttachment,
    AgentCreated,
    ChangeAgent,
    ChangeMessage,
    CreateChannel,
    Entity,
    Event,
    MessageCreated,
    MoveMessages,
    Scope,
    TopicRenamed,
)
from agentlip.model.fields import checks_of, request_of
from agentlip.server.http import agents, attachments, channels, events, health, messages, search, topics


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Any]:
    app = Flask(__name__)
    app.config["AGENTLIP_DB"] = str(tmp_path / "db.sqlite3")
    Agentlip(app)
    yield app.extensions["agentlip"]
    app.extensions["agentlip"].close()


def test_each_event_of_the_hub_has_the_payload_of_its_name(hub: Any) -> None:
    channel = hub.create_channel("all").channel
    topic, other = (hub.create_topic(channel.id, title).topic for title in "ab")
    hub.rename_topic(topic.id, "c")
    message = hub.post_message(topic.id, "me", "see https://example.com/a").message
    hub.edit(message.id, "new")
    hub.move(message.id, other.id)
    hub.delete(message.id, "me")
    agent = hub.create_agent("a", description="d").agent
    hub.change_agent("a", ChangeAgent(kind="service"))
    found = {event.name: event.payload for event in hub.events(after=0)}
    assert {name: type(payload) for name, payload in found.items()} == {
        name: kind for name, kind in PAYLOADS.items() if name != "message.enriched"
    }
    assert found["message.created"] == MessageCreated(message)
    assert found["agent.created"] == AgentCreated(agent)
    assert found["topic.renamed"] == TopicRenamed(topic.id, "a", "c")
    assert set(PAYLOADS) == set(KNOWN_EVENTS)


@pytest.mark.parametrize(
    ("name", "data"), [("own.event", {"message": 1}), ("message.created", {}), ("topic.renamed", None)]
)
def test_what_does_not_fit_has_no_payload(name: str, data: object) -> None:
    event = Event(1, "t", name, Scope("ch_1"), Entity("x", "1"), json.dumps(data))
    assert (event.payload, event.data) == (None, data)


def test_every_endpoint_of_the_api_declares_what_it_takes_and_answers() -> None:
    for noun in (agents, attachments, channels, events, health, messages, search, topics):
        for endpoint in noun.ENDPOINTS:
            assert (endpoint.result is None) == endpoint.streams, endpoint
            assert (endpoint.request is None) == (endpoint.method in ("GET", "DELETE")), endpoint


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "op must be one of edit, delete, move_topic"),
        ({"op": ["edit"]}, "op must be one of edit, delete, move_topic"),
        ({"op": "edit", "content_raw": 1}, "content_raw must be a string"),
        ({"op": "delete", "actor": " "}, "actor must be a non-blank string"),
        ({"op": "move_topic", "to_topic_id": "t"}, "mode must be one of one, later, all"),
        ({"op": "delete", "actor": "a", "expected_version": True}, "expected_version must be a whole number from 1"),
    ],
    ids=str,
)
def test_the_first_field_that_is_wrong_is_named(body: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        request_of(ChangeMessage, body)
    assert caught.value.message == words


def test_a_request_is_the_one_its_tag_says_and_passes_over_what_it_does_not_know() -> None:
    body = {"op": "move_topic", "to_topic_id": "t", "mode": "all", "expected_version": 2.0, "later": [1]}
    assert request_of(ChangeMessage, body) == MoveMessages("t", "all", 2)
    assert [name for name, _ in checks_of(AddAttachment)] == list(AddAttachment.__struct_fields__)


@pytest.mark.parametrize("name", [None, 7, "", "x" * 101, "a\0", "a\ud800", "\u200b", "a\nb"], ids=ascii)
def test_host_code_and_json_are_told_the_same(hub: Any, name: Any) -> None:
    told = []
    for make in (lambda: CreateChannel.of({"name": name}), lambda: hub.create_channel(name)):
        with pytest.raises(InvalidInput) as caught:
            make()
        told.append(caught.value.message)
    assert told[0] == told[1]


# What msgspec's own JSON would write or take otherwise than orjson: this is why the latter writes it.
WRITTEN = {
    1e16: b"1e+16", -0.0: b"-0.0", 1.0: b"1.0", (1 << 64) - 1: b"18446744073709551615", float("nan"): b"null",
    "\x7f\u2028\xe9": '"\x7f\u2028\xe9"'.encode(),
}  # fmt: skip


@pytest.mark.parametrize(("value", "written"), WRITTEN.items(), ids=ascii)
def test_values_are_stored_as_ever(hub: Any, value: Any, written: bytes) -> None:
    event_id = hub.append("own.value", {"channel_id": "ch_1"}, {"a": value})
    (event,) = hub.events(after=event_id - 1)
    assert event.data_json.encode() == b'{"a":' + written + b"}"


@pytest.mark.parametrize("value", [1 << 64, {1: 2}, {1, 2}, object(), "\ud800"], ids=lambda it: type(it).__name__)
def test_values_that_others_could_not_read_are_refused(hub: Any, value: Any) -> None:
    with pytest.raises(InvalidInput, match="cannot be written as JSON"):
        hub.append("own.value", {"channel_id": "ch_1"}, {"a": value})
