"""Every call of the client against a real hub, with its typed result."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from agentlip.client import HubClient
from agentlip.model import Attachment, Channel, Event, Message, Topic

from ..running_hub import ROOT, TOKEN, Hub
from .odd_server import Late, serving


@pytest.fixture
def client(hub: Hub) -> Any:
    with HubClient(hub.url, TOKEN) as made:
        yield made


@pytest.fixture
def topic(client: HubClient, request: pytest.FixtureRequest) -> Topic:
    channel = client.create_channel(request.node.name).channel
    return client.create_topic(channel.id, "first").topic


def test_health_and_ping(hub: Hub, client: HubClient) -> None:
    with HubClient(hub.url) as stranger:
        health = stranger.health()
    assert health["status"] == "ok"
    assert health == client.health() | {"uptime_seconds": health["uptime_seconds"], "pid": health["pid"]}
    assert client.ping() == {"pong": True, "instance_id": health["instance_id"]}
    assert client.ping({"a": ["é", None]})["echo"] == {"a": ["é", None]}


def test_channels(client: HubClient) -> None:
    made, event_id = client.create_channel("zebra", "stripes")
    assert isinstance(made, Channel)
    assert (made.name, made.description) == ("zebra", "stripes")
    assert client.create_channel("aardvark").channel.description is None
    channels = client.channels()
    assert made in channels
    assert [each.name for each in channels] == sorted(each.name for each in channels)
    assert client.events(event_id - 1, 1).events[0].data["channel"]["id"] == made.id


def test_topics(client: HubClient, topic: Topic) -> None:
    renamed, event_id = client.rename_topic(topic.id, "other")
    assert isinstance(renamed, Topic)
    assert (renamed.id, renamed.title) == (topic.id, "other")
    second = client.create_topic(topic.channel_id, "second")
    assert second.event_id > event_id
    page = client.topics(topic.channel_id, limit=1)
    assert page.has_more
    assert client.topics(topic.channel_id, limit=1, offset=1).has_more is False
    assert {each.id for each in client.topics(topic.channel_id).topics} == {topic.id, second.topic.id}


def test_messages(client: HubClient, topic: Topic) -> None:
    sent = [client.post_message(topic.id, "me", text).message for text in ("one", "two\n\x00 ü 🐈", "three")]
    assert isinstance(sent[0], Message)
    page = client.messages(topic_id=topic.id)
    assert page.messages == sent[::-1]
    assert page.has_more is False
    assert client.messages(channel_id=topic.channel_id, limit=1) == (sent[:1:-1], True)
    assert client.messages(topic_id=topic.id, before_id=sent[1].id).messages == sent[:1]
    assert client.messages(topic_id=topic.id, after_id=sent[0].id, limit=1).messages == [sent[1]]
    assert client.message(sent[1].id) == sent[1]


def test_search(client: HubClient, topic: Topic) -> None:
    sent = client.post_message(topic.id, "me", "a walrus & a carpenter").message
    client.post_message(topic.id, "me", "neither")
    page = client.search("walrus", channel_id=topic.channel_id)
    assert page.messages == [sent]
    assert (page.has_more, type(page.fts_used)) == (False, bool)
    assert client.search("walrus", topic_id="topic_none").messages == []


def test_edit_and_delete(client: HubClient, topic: Topic) -> None:
    message = client.post_message(topic.id, "me", "one").message
    edited = client.edit(message.id, "uno", expected_version=1)
    assert (edited.message.content_raw, edited.message.version) == ("uno", 2)
    deleted = client.delete(message.id, "janitor", expected_version=2)
    assert (deleted.message.deleted_by, deleted.message.version) == ("janitor", 3)
    assert deleted.event_id == edited.event_id + 1  # type: ignore[operator]
    assert client.delete(message.id, "janitor") == (deleted.message, None)


def test_move(client: HubClient, topic: Topic) -> None:
    other = client.create_topic(topic.channel_id, "other").topic
    ids = [client.post_message(topic.id, "me", str(number)).message.id for number in range(3)]
    count, events = client.move(ids[1], other.id, "later", expected_version=1)
    assert (count, len(events)) == (2, 2)
    assert [each.id for each in client.messages(topic_id=topic.id).messages] == ids[:1]
    assert client.move(ids[1], other.id) == (0, [])


def test_attachments(client: HubClient, topic: Topic) -> None:
    message = client.post_message(topic.id, "me", "look").message
    made, event_id = client.add_attachment(
        topic.id, "note", {"b": 1, "a": [None]}, key="k", dedupe_key="d", source_message_id=message.id
    )
    assert isinstance(made, Attachment)
    assert event_id is not None
    assert (made.value_json, made.key, made.dedupe_key) == ({"b": 1, "a": [None]}, "k", "d")
    assert client.add_attachment(topic.id, "note", {}, key="k", dedupe_key="d") == (made, None)
    assert client.attachments(topic.id) == [made]
    assert client.attachments(topic.id, "url") == []


def test_events(client: HubClient, topic: Topic) -> None:
    message, event_id = client.post_message(topic.id, "me", "hi")
    page = client.events(0, 1000, topics=[topic.id])
    assert isinstance(page.events[0], Event)
    assert [each.name for each in page.events] == ["topic.created", "message.created"]
    assert page.replay_until == event_id
    assert client.events(tail=1).events == page.events[-1:]
    assert [each.name for each in client.events(channels=[topic.channel_id], limit=1).events] == ["channel.created"]
    last = page.events[-1]
    assert (last.scope.topic_id, last.entity.id, last.data["message"]["id"]) == (topic.id, message.id, message.id)


def test_calls_that_are_far_apart(client: HubClient, topic: Topic) -> None:
    """The server closes a connection that was idle for two seconds; no change may meet that."""
    before = client.post_message(topic.id, "me", "one").event_id
    time.sleep(2.5)
    assert client.post_message(topic.id, "me", "two").event_id == before + 1  # type: ignore[operator]
    assert client.health()["status"] == "ok"


def test_calls_close_together_share_a_connection(hub: Hub, client: HubClient) -> None:
    client.health()
    (kept,) = client._http._idle
    client.ping()
    assert [each[2] for each in client._http._idle] == [kept[2]]


def test_many_threads_share_a_client(client: HubClient, topic: Topic) -> None:
    sent: list[str] = []

    def post(name: str) -> None:
        sent.extend(client.post_message(topic.id, name, str(number)).message.id for number in range(20))

    threads = [threading.Thread(target=post, args=(f"t{number}",)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(sent)) == 240
    assert {each.id for each in client.messages(topic_id=topic.id, limit=1000).messages} == set(sent)


def test_a_closed_client_opens_new_connections(client: HubClient) -> None:
    client.health()
    client.close()
    assert client._http._idle == []
    assert client.ping()["pong"] is True


def test_a_call_that_is_under_way_when_the_client_is_closed_leaves_no_connection() -> None:
    late = Late()
    with serving(late) as url:
        client = HubClient(url)
        call = threading.Thread(target=client.health)
        call.start()
        assert late.asked.wait(10)
        client.close()
        late.may_answer.set()
        call.join(10)
        assert late.closed.wait(5)


def test_importing_the_client_imports_little() -> None:
    program = "import sys, agentlip.client; print([n for n in sys.argv[1:] if n in sys.modules])"
    unwanted = ["flask", "flask_sock", "sqlite3", "gevent", "gunicorn", "wsproto", "simple_websocket", "click"]
    command = [sys.executable, "-c", program, *unwanted]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout == "[]\n"
