"""Channels and topics by name, made when they are missing: once, however many want them at the same time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from unicodedata import normalize

import pytest

from agentlip.client import HubClient
from agentlip.errors import InvalidInput, NotFound

from ..running_hub import TOKEN, Hub

names = itertools.count()


@pytest.fixture
def client(hub: Hub) -> Iterator[HubClient]:
    with HubClient(hub.url, TOKEN) as made:
        yield made


def unique(word: str) -> str:
    return f"{word}{next(names)}"


def test_a_topic_is_made_once(client: HubClient) -> None:
    name = unique("room")
    made = client.topic(f"{name}/Build 7/left", create=True)
    assert made.title == "Build 7/left"
    assert client.channel(name).id == made.channel_id
    assert client.topic(f"{name}/Build 7/left", create=True) == client.topic(f"{name}/Build 7/left") == made
    assert client.topic(f"{made.channel_id}/Build 7/left") == made


def test_a_channel_is_made_once(client: HubClient) -> None:
    name = unique("room")
    made = client.channel(name, create=True, description="words")
    assert (made.name, made.description) == (name, "words")
    assert client.channel(name, create=True, description="other") == client.channel(made.id) == made


def test_what_is_not_there(client: HubClient) -> None:
    name = unique("nowhere")
    for find in (client.channel, client.topic):
        for wanted in (name, f"{name}/topic"):
            with pytest.raises(NotFound):
                find(wanted)
    client.create_channel(name)
    with pytest.raises(NotFound):
        client.topic(f"{name}/topic")


@pytest.mark.parametrize(
    "wanted", ["", "word", "word/", "/title", " / ", "word/ ", f"{'x' * 101}/t", f"word/{'x' * 201}"]
)
def test_what_can_be_no_name(client: HubClient, wanted: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        client.topic(wanted, create=True)
    assert type(caught.value) is InvalidInput


def test_a_slash_in_a_channels_name(client: HubClient) -> None:
    name = unique("team/red")
    channel = client.create_channel(name).channel
    assert client.topic(f"{name}/plan", create=True).channel_id == channel.id
    inner = client.create_channel(f"{name}/plan").channel
    assert client.topic(f"{name}/plan/b", create=True).channel_id == inner.id
    assert client.topic(f"{name}/plan").channel_id == channel.id


def test_letters_that_are_composed_differently_are_the_same(client: HubClient) -> None:
    name = unique("café")
    made = client.topic(f"{normalize('NFC', name)}/é", create=True)
    assert client.topic(f"{normalize('NFD', name)}/é", create=True) == made
    assert client.channel(normalize("NFD", name), create=True).id == made.channel_id


@pytest.mark.parametrize("written", [" {} ", "{}\u200b", "\ufeff{}", "{}\u00a0"])
def test_names_that_look_alike_are_the_same(client: HubClient, written: str) -> None:
    name = unique("alike")
    made = client.topic(f"{name}/same", create=True)
    for create in (False, True):
        assert client.channel(written.format(name), create=create).id == made.channel_id
        assert client.topic(f"{written.format(name)}/{written.format('same')}", create=create) == made


def test_a_topic_beyond_the_first_page(client: HubClient) -> None:
    channel = client.create_channel(unique("many")).channel
    first = client.create_topic(channel.id, "first").topic
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: client.create_topic(channel.id, str(number)), range(520)))
    assert client.topic(f"{channel.name}/first", create=True) == first
    assert len(list(client.iter_topics(channel.id))) == 521


def test_many_who_want_the_same_get_the_same(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(WORKERS=2)
    clients = [HubClient(hub.url, TOKEN) for _ in range(12)]
    with ThreadPoolExecutor(len(clients)) as pool:
        for number in range(6):
            name = f"race{number}/topic"
            found = list(pool.map(lambda each, name=name: each.topic(name, create=True), clients))  # type: ignore[misc]
            assert len({(each.id, each.channel_id) for each in found}) == 1
    assert [each.name for each in clients[0].channels()] == [f"race{number}" for number in range(6)]
    for each in clients:
        each.close()
