"""A stream that is asked for one event, for a limited time."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from agentlip.client import HubClient, connection
from agentlip.errors import InvalidAuth

from ..running_hub import TOKEN, Hub
from .odd_server import silent

names = itertools.count()


@pytest.fixture
def client(hub: Hub) -> Iterator[HubClient]:
    with HubClient(hub.url, TOKEN) as made:
        yield made


@pytest.fixture
def topic(client: HubClient) -> str:
    return client.create_topic(client.create_channel(f"c{next(names)}").channel.id, "t").topic.id


def test_none_comes_in_time(client: HubClient, topic: str) -> None:
    with client.stream(None, topics=[topic]) as events:
        for seconds in (0.5, 0.2, 0):
            began = time.monotonic()
            assert events.next(timeout=seconds) is None
            assert seconds <= time.monotonic() - began < seconds + 0.4
        sent = client.post_message(topic, "me", "x").event_id
        received = events.next(timeout=10)
        assert received is not None
        assert received.event_id == sent
        assert events.cursor == sent - 1  # type: ignore[operator]
        assert events.next(timeout=0.1) is None
        assert events.cursor == sent, "the next one was asked for"


def test_with_and_without_a_time(client: HubClient, topic: str) -> None:
    ids = [client.post_message(topic, "me", str(number)).event_id for number in range(6)]
    with client.stream(ids[0] - 1, topics=[topic]) as events:  # type: ignore[operator]
        found = [events.next(5), next(events), events.next(), events.next(timeout=0), next(events), events.next(1)]
    assert [each.event_id for each in found if each] == ids


def test_the_hub_goes_away_meanwhile(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    hub.settings["PORT"] = hub.port
    with HubClient(hub.url, TOKEN) as client, client.stream() as events:
        client.create_channel("before")
        assert events.next(timeout=10) is not None
        hub.stop(signal.SIGKILL)
        began = time.monotonic()
        assert events.next(timeout=1) is None
        assert 1 <= time.monotonic() - began < 1.5
        hub.start()
        made = client.create_channel("after").event_id
        received = events.next(timeout=20)
        assert received is not None
        assert received.event_id == made


def test_short_times_in_a_row_do_not_besiege_a_hub_that_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    attempts: list[float] = []
    with HubClient(url, TOKEN).stream(on_disconnect=lambda _, pause: attempts.append(pause)) as events:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert events.next(timeout=0.005) is None
    assert len(attempts) <= 20
    assert sum(attempts[:-1]) <= 1.6


def test_a_hub_that_does_not_answer() -> None:
    with silent() as url, HubClient(url, TOKEN).stream() as events:
        began = time.monotonic()
        assert events.next(timeout=0.2) is None
        assert time.monotonic() - began < 1.5


@pytest.mark.slow
def test_a_silent_hub_is_found_out_by_short_waits_too(
    start_hub: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PING_SECONDS", 0.5)
    hub = start_hub()
    losses: list[str] = []
    with HubClient(hub.url, TOKEN, timeout=0.5).stream(on_disconnect=lambda why, _: losses.append(why)) as events:
        assert events.next(timeout=3) is None
        assert losses == [], "it answers pings"
        for worker in hub.workers():
            os.kill(worker, signal.SIGSTOP)
        end = time.monotonic() + 1.8
        while time.monotonic() < end and not losses:
            assert events.next(timeout=0.05) is None
        assert losses[:1] == ["the hub is silent"]
    hub.stop(signal.SIGKILL)
    hub.start()


def test_close_ends_the_wait(client: HubClient) -> None:
    events = client.stream(None)
    timer = threading.Timer(0.3, events.close)
    timer.start()
    began = time.monotonic()
    assert events.next(timeout=20) is None
    assert time.monotonic() - began < 2
    assert events.next(timeout=20) is None
    timer.join()


def test_a_wrong_token_is_no_time_out(hub: Hub) -> None:
    with HubClient(hub.url, "wrong").stream() as events, pytest.raises(InvalidAuth):
        events.next(timeout=5)


def test_an_event_of_a_kind_is_waited_for(client: HubClient, topic: str) -> None:
    ids = [client.post_message(topic, "me", str(number)).event_id for number in range(5)]
    with client.stream(topics=[topic]) as events:
        found = events.wait_for(lambda event: event.event_id == ids[3], timeout=10)
        assert found.data["message"]["content_raw"] == "3"
        with pytest.raises(TimeoutError):
            events.wait_for(lambda event: event.event_id == ids[3], timeout=0.3)
        assert events.cursor == ids[4]
        later = client.post_message(topic, "me", "later").event_id
        assert next(events).event_id == later
