"""Asking in a topic, and waiting for an event: for the first one that counts, and not for ever."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from agentlip.client import HubClient, NoAnswer

from ..running_hub import TOKEN, Hub

names = itertools.count()


@pytest.fixture
def client(hub: Hub) -> Iterator[HubClient]:
    with HubClient(hub.url, TOKEN) as made:
        yield made


@pytest.fixture
def topic(client: HubClient) -> str:
    return client.topic(f"c{next(names)}/t", create=True).id


def test_the_answer_of_somebody_else(hub: Hub, client: HubClient, topic: str) -> None:
    client.post_message(topic, "boss", "old words")
    elsewhere = client.topic(f"c{next(names)}/t", create=True).id
    asked = threading.Event()

    def answer() -> None:
        with HubClient(hub.url, TOKEN) as other, other.stream(None, topics=[topic]) as events:
            ready.set()
            question = events.wait_for(lambda event: event.data["message"]["content_raw"] == "Ready?", 20)
            other.post_message(topic, "asker", "thinking aloud")
            other.post_message(elsewhere, "boss", "in another topic")
            other.edit(question.entity.id, "Ready??")
            other.post_message(topic, "boss", "Yes")
            other.post_message(topic, "boss", "and more")
            asked.set()

    ready = threading.Event()
    thread = threading.Thread(target=answer)
    thread.start()
    assert ready.wait(10)
    time.sleep(0.3)  # until its stream is there
    found = client.ask(topic, "Ready?", 20, sender="asker")
    assert (found.sender, found.content_raw, found.topic_id) == ("boss", "Yes", topic)
    assert client.message(found.id) == found
    thread.join(20)
    assert asked.is_set()


def test_nobody_answers(client: HubClient, topic: str) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        client.ask(topic, "Anybody?", timeout=0.5)
    assert 0.5 <= time.monotonic() - began < 2
    assert isinstance(caught.value, NoAnswer)
    assert client.message(caught.value.asked.message.id).content_raw == "Anybody?"


def test_a_topic_by_its_name(client: HubClient) -> None:
    topic = client.topic(f"c{next(names)}/by name", create=True)
    channel = next(each.name for each in client.channels() if each.id == topic.channel_id)
    for name in (f"{channel}/by name", topic):
        with pytest.raises(NoAnswer) as caught:
            client.ask(name, "hi", 0.1)
        assert caught.value.asked.message.topic_id == topic.id


def test_an_event_is_waited_for(client: HubClient, topic: str) -> None:
    sent = client.post_message(topic, "me", "one").event_id
    found = client.wait_for(lambda event: event.name == "message.created", 10, after=0, topics=[topic])
    assert found.event_id == sent
    timer = threading.Timer(0.3, client.post_message, (topic, "me", "two"))
    timer.start()
    found = client.wait_for(lambda event: event.name == "message.created", 10, topics=[topic])
    assert found.data["message"]["content_raw"] == "two"
    timer.join()
    with pytest.raises(TimeoutError):
        client.wait_for(lambda event: True, 0.3, topics=[topic])
