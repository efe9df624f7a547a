"""The stream while nothing breaks: replay and live, filters, the cursor, the end, and what a hub refuses."""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agentlip.client import HubClient, Stream
from agentlip.errors import InvalidAuth, InvalidInput, MissingAuth

from ..running_hub import ROOT, TOKEN, Hub, eventually
from .odd_server import silent
from .poster import whole_log

names = itertools.count()


@pytest.fixture
def client(hub: Hub) -> Iterator[HubClient]:
    with HubClient(hub.url, TOKEN) as made:
        yield made


@pytest.fixture
def topic(client: HubClient) -> str:
    return client.create_topic(client.create_channel(f"c{next(names)}").channel.id, "t").topic.id


def take(stream: Stream, count: int) -> list[Any]:
    return list(itertools.islice(stream, count))


def test_replay_then_live(client: HubClient, topic: str) -> None:
    for number in range(400):
        client.post_message(topic, "me", str(number))
    log = whole_log(client)
    with client.stream() as events:
        assert take(events, len(log)) == log
        live = client.post_message(topic, "me", "live")
        received = next(events)
        assert (received.event_id, received.data["message"]["id"]) == (live.event_id, live.message.id)


def test_from_a_cursor(client: HubClient, topic: str) -> None:
    ids = [client.post_message(topic, "me", str(number)).event_id for number in range(5)]
    with client.stream(ids[1]) as events:  # type: ignore[arg-type]
        assert [each.event_id for each in take(events, 3)] == ids[2:]


def test_from_now_on(client: HubClient, topic: str) -> None:
    client.post_message(topic, "me", "before")
    connected = threading.Event()
    with ThreadPoolExecutor(1) as pool, client.stream(None, on_connect=lambda _: connected.set()) as events:
        first = pool.submit(next, events)
        assert connected.wait(10)
        sent = client.post_message(topic, "me", "after").event_id
        assert first.result(10).event_id == sent
        assert events.cursor == sent - 1  # type: ignore[operator]


def test_filters(client: HubClient, topic: str) -> None:
    channel = client.events(0, 1000, topics=[topic]).events[0].scope.channel_id
    assert channel is not None
    other = client.create_topic(channel, "other").topic.id
    away = client.create_topic(client.create_channel(f"c{next(names)}").channel.id, "away").topic.id
    ids = [client.post_message(each, "me", "x").event_id for each in (topic, other, away, topic)]
    with client.stream(topics=[topic]) as events:
        assert [each.event_id for each in take(events, 3)][1:] == [ids[0], ids[3]]
    with client.stream(ids[0] - 1, channels=[channel]) as events:  # type: ignore[operator]
        assert [each.event_id for each in take(events, 3)] == [ids[0], ids[1], ids[3]]
    with client.stream(ids[0] - 1, channels=[channel], topics=[away]) as events:  # type: ignore[operator]
        assert [each.event_id for each in take(events, 4)] == ids


def test_no_channels_are_no_events(client: HubClient, topic: str) -> None:
    connected = threading.Event()
    stream = client.stream(channels=[], on_connect=lambda _: connected.set())
    with ThreadPoolExecutor(1) as pool, stream:
        rest = pool.submit(list, stream)
        assert connected.wait(10)
        client.post_message(topic, "me", "x")
        time.sleep(0.3)
        stream.close()
        assert rest.result(5) == []


def test_the_cursor_is_what_was_processed(client: HubClient, topic: str) -> None:
    first = client.post_message(topic, "me", "1").event_id
    second = client.post_message(topic, "me", "2").event_id
    stream = client.stream(first - 1)  # type: ignore[operator]
    with stream:
        for event in stream:
            assert stream.cursor == event.event_id - 1  # it is being processed
            if event.event_id == second:
                break
        assert stream.cursor == first
        assert stream.db_id == client.health()["db_id"]
    assert stream.cursor == first  # the one that was left in the middle is not


def test_after_a_failed_callback_it_goes_on(client: HubClient, topic: str) -> None:
    sent = client.post_message(topic, "me", "1").event_id
    calls = []

    def fail_once(hello: dict[str, Any]) -> None:
        calls.append(hello)
        if len(calls) == 1:
            raise RuntimeError("mine")

    with client.stream(sent - 1, on_connect=fail_once) as events:  # type: ignore[operator]
        with pytest.raises(RuntimeError, match="mine"):
            next(events)
        assert next(events).event_id == sent
    assert calls[0]["replay_until"] >= sent


@pytest.mark.parametrize("where", ["waiting", "connecting", "pausing"])
def test_close_from_another_thread(client: HubClient, where: str) -> None:
    ready = threading.Event()
    with contextlib.ExitStack() as stack:
        used = client
        if where == "connecting":
            used = HubClient(stack.enter_context(silent()), TOKEN)
        elif where == "pausing":
            used = HubClient("http://127.0.0.1:1", TOKEN)
        stream = used.stream(
            None, on_connect=lambda _: ready.set(), on_disconnect=lambda _, pause: pause > 1 and ready.set()
        )
        with ThreadPoolExecutor(1) as pool, stream:
            rest = pool.submit(list, stream)
            if where == "connecting":
                eventually(lambda: stream._connection and stream._connection._socket, 5, "the connection")
                time.sleep(0.1)
            else:
                assert ready.wait(20)
            began = time.monotonic()
            stream.close()
            stream.close()
            assert rest.result(5) == []
            assert time.monotonic() - began < 1
    assert list(stream) == []


def test_close_while_the_consumer_works(hub: Hub, client: HubClient, topic: str) -> None:
    for number in range(50):
        client.post_message(topic, "me", str(number))
    stream = client.stream()
    seen = []
    for event in stream:
        seen.append(event)
        if len(seen) == 3:
            closer = threading.Thread(target=stream.close)
            closer.start()
            closer.join(5)
    assert len(seen) == 3
    assert stream.cursor == seen[-1].event_id
    client.close()
    eventually(lambda: not connections_to(hub), 5, "the end of the connection")


def connections_to(hub: Hub) -> list[str]:
    end = f"0100007F:{hub.port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return [line for line in lines if line.split()[2] == end and line.split()[3] == "01"]  # established


def test_tokens(hub: Hub) -> None:
    for token, kind in ((None, MissingAuth), ("wrong", InvalidAuth)):
        stream = HubClient(hub.url, token).stream()
        with pytest.raises(MissingAuth) as caught:
            next(stream)
        assert type(caught.value) is kind


@pytest.mark.parametrize(
    "options",
    [
        {"after": -1},
        {"after": 1.5},
        {"after": "1"},
        {"channels": [5]},
        {"topics": [None]},
        {"channels": ["x" * 300_000]},
    ],
    ids=["negative", "half", "text", "number", "null", "too large"],
)
def test_what_a_hub_refuses(client: HubClient, options: dict[str, Any]) -> None:
    with ThreadPoolExecutor(1) as pool, client.stream(**options) as stream:
        first = pool.submit(next, stream)
        try:
            assert type(first.exception(5)) is InvalidInput
        finally:
            stream.close()


@pytest.mark.parametrize("option", ["channels", "topics"])
def test_a_text_is_no_list_of_ids(client: HubClient, option: str) -> None:
    for call in (client.stream, client.events):
        with pytest.raises(InvalidInput, match=option):
            call(**{option: "ch_1"})  # type: ignore[operator]


_INTERRUPTED = """
import sys, threading
from agentlip.client import HubClient

stream = HubClient(sys.argv[1], sys.argv[2]).stream(None, on_connect=lambda _: print("connected", flush=True))
try:
    for event in stream:
        pass
except KeyboardInterrupt:
    stream.close()
print(len(threading.enumerate()), stream._connection, flush=True)
"""


def test_an_interrupt_ends_it(hub: Hub) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED, hub.url, TOKEN], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"connected\n"
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=10)
    assert (out, err, child.returncode) == (b"1 None\n", b"", 0)
