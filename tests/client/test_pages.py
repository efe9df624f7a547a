"""Iterators over all pages: everything, each once and in order, however long the lists are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from agentlip.client import HubClient, pages

from ..running_hub import TOKEN, Hub

names = itertools.count()


@pytest.fixture
def client(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubClient]:
    monkeypatch.setattr(pages, "_PAGE", 3)
    with HubClient(hub.url, TOKEN) as made:
        yield made


@pytest.fixture
def topic(client: HubClient) -> str:
    return client.topic(f"c{next(names)}/t", create=True).id


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_messages(client: HubClient, topic: str, count: int) -> None:
    sent = [client.post_message(topic, "me", str(number)).message for number in range(count)]
    assert list(client.iter_messages(topic_id=topic)) == sent[::-1]
    channel = sent[0].channel_id if sent else None
    if channel is not None:
        assert list(client.iter_messages(channel_id=channel)) == sent[::-1]
        assert list(client.iter_messages(topic_id=topic, after_id=sent[0].id)) == sent[1:]
        assert list(client.iter_messages(topic_id=topic, before_id=sent[-1].id)) == sent[-2::-1]


@pytest.mark.parametrize("count", [0, 3, 10])
def test_topics(client: HubClient, count: int) -> None:
    channel = client.channel(f"c{next(names)}", create=True).id
    made = {client.create_topic(channel, str(number)).topic.id for number in range(count)}
    found = [each.id for each in client.iter_topics(channel)]
    assert (len(found), set(found)) == (count, made)


def test_topics_that_are_updated_meanwhile_are_not_missed(client: HubClient) -> None:
    channel = client.channel(f"c{next(names)}", create=True).id
    made = [client.create_topic(channel, str(number)).topic.id for number in range(10)]
    found = []
    for topic in client.iter_topics(channel):
        found.append(topic.id)
        if len(found) == 4:  # of the pages to come, some move to the one that was read
            for moved in made[:3]:
                client.post_message(moved, "me", "hi")
    assert sorted(found) == sorted(made)


def test_events(client: HubClient, topic: str) -> None:
    ids = [client.post_message(topic, "me", str(number)).event_id for number in range(8)]
    found = [each.event_id for each in client.iter_events(topics=[topic])]
    assert found[1:] == ids
    assert [each.event_id for each in client.iter_events(ids[4])] == ids[5:]  # type: ignore[arg-type]
    assert list(client.iter_events(ids[-1])) == []  # type: ignore[arg-type]
    everything = [each.event_id for each in client.iter_events()]
    assert everything == list(range(1, ids[-1] + 1))  # type: ignore[operator]


def test_events_end_although_more_come_all_the_time(client: HubClient, topic: str) -> None:
    head = client.post_message(topic, "me", "last").event_id
    found = []
    for event in client.iter_events(topics=[topic]):
        found.append(event.event_id)
        client.post_message(topic, "me", "and more")
    assert found[-1] == head


def test_attachments_and_channels(client: HubClient, topic: str) -> None:
    made = [client.add_attachment(topic, "note", {"n": number}).attachment for number in range(7)]
    assert list(client.iter_attachments(topic)) == made[::-1]
    assert list(client.iter_attachments(topic, "url")) == []
    assert list(client.iter_channels()) == client.channels()
