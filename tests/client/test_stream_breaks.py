"""The stream over breaks: restarts, another log, slow consumers, silent hubs, servers that turn it away."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from agentlip.client import HubClient, HubUnreachable, connection, stream

from ..running_hub import TOKEN, Hub, eventually
from .odd_server import answer, raw, serving
from .poster import Poster, whole_log


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LONGEST_PAUSE_SECONDS", 0.2)


def restart(hub: Hub, how: int = signal.SIGKILL) -> None:
    """On the same port."""
    hub.stop(how)
    hub.settings["PORT"] = hub.port
    hub.start()


@pytest.mark.slow
def test_ten_restarts(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    topic = hub.make_topic()[1]
    received = []
    lost: list[str] = []
    with HubClient(hub.url, TOKEN) as client, Poster(client, topic):
        events = client.stream(on_disconnect=lambda reason, _: lost.append(reason))
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(lambda: [received.append(event) for event in events])  # type: ignore[func-returns-value]
            try:
                for attempt in range(10):
                    count = len(received)
                    eventually(lambda count=count: len(received) > count + 20, 20, "events")
                    restart(hub, signal.SIGTERM if attempt % 5 == 4 else signal.SIGKILL)
                last = client.post_message(topic, "me", "last").event_id
                eventually(lambda: received[-1].event_id >= last, 10, "the last event")  # type: ignore[operator]
            finally:
                events.close()
            reading.result(5)
        log = whole_log(client)
    assert len(lost) >= 10
    assert "closed with 1001 Server shutting down" in lost
    assert received == log[: len(received)]
    assert len(received) > 200


@pytest.mark.slow
def test_a_consumer_that_is_slow(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(QUEUE_EVENTS=20)
    topic = hub.make_topic()[1]
    lost: list[str] = []
    with HubClient(hub.url, TOKEN) as client:
        with client.stream(on_disconnect=lambda reason, _: lost.append(reason)) as events:
            received = [next(events)]
            for _ in range(250):
                client.post_message(topic, "me", "x" * 60_000)
            last = client.post_message(topic, "me", "last").event_id
            received += itertools.takewhile(lambda event: event.event_id != last, events)
        assert received == whole_log(client)[:-1]
    assert lost


@pytest.mark.slow
def test_a_hub_that_falls_silent(start_hub: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PING_SECONDS", 0.6)
    hub = start_hub()
    topic = hub.make_topic()[1]
    lost: list[str] = []
    (worker,) = hub.workers()
    client = HubClient(hub.url, TOKEN, timeout=1)
    events = client.stream(on_disconnect=lambda reason, _: lost.append(reason))
    with ThreadPoolExecutor(1) as pool, events:
        for _ in range(2):
            next(events)
        third = pool.submit(next, events)
        with pytest.raises(TimeoutError):
            third.result(1.5)
        assert lost == []  # it answered pings
        os.kill(worker, signal.SIGSTOP)
        try:
            eventually(lambda: len(lost) >= 2, 10, "the losses")
        finally:
            os.kill(worker, signal.SIGCONT)
        with HubClient(hub.url, TOKEN) as poster:
            sent = poster.post_message(topic, "me", "x").event_id
        assert third.result(10).event_id == sent
    assert lost[0] == "the hub is silent"


@pytest.mark.parametrize("serve_odd", [raw(b""), answer(502), answer(503, b'{"code":"SHUTTING_DOWN"}')])
def test_pauses_grow(serve_odd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "FIRST_PAUSE_SECONDS", 0.01)
    random.seed(7)
    pauses: list[float] = []
    with serving(serve_odd) as url:
        events = HubClient(url, TOKEN).stream(
            on_disconnect=lambda _, pause: pauses.append(pause) or (len(pauses) == 12 and events.close())  # type: ignore[func-returns-value]
        )
        assert list(events) == []
    longest = [min(0.2, 0.01 * 2**number) for number in range(12)]
    assert all(0 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
    assert max(pauses) > 0.1
    assert len(set(pauses)) == 12


def test_a_stranger_that_refuses() -> None:
    with serving(answer(404)) as url, pytest.raises(HubUnreachable, match="answers 404, and not as a hub does"):
        next(HubClient(url, TOKEN).stream())


def envelope(event_id: int) -> str:
    scope = {"channel_id": "ch_1", "topic_id": None, "topic_id2": None, "later": 1}
    entity = {"type": "thing", "id": "1"}
    item = {"event_id": event_id, "ts": "now", "name": "x", "scope": scope, "entity": entity, "data": {}, "more": 1}
    return json.dumps({"type": "event", **item})


@pytest.fixture
def scripted() -> Iterator[Any]:
    """A hub by a script: a list of what each connection sends. Yields (scripts, hellos, URL)."""
    scripts: list[list[str]] = []
    hellos: list[tuple[int, str | None]] = []

    def handler(socket: ServerConnection) -> None:
        hello = json.loads(socket.recv(5))
        hellos.append((hello["after_event_id"], hello.get("db_id")))
        for text in scripts.pop(0):
            socket.send(text)
        socket.socket.shutdown(2)

    with serve(handler, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield scripts, hellos, f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join(5)


def test_repeats_and_nonsense(scripted: Any) -> None:
    """What came before is dropped; what is invalid costs the connection, which begins after what was processed."""
    scripts, hellos, url = scripted
    hello = json.dumps({"type": "hello_ok", "replay_until": 9, "db_id": "log"})
    scripts += [
        [hello, *map(envelope, (1, 1, 2, 1, 2, 3))],
        [hello, envelope(3), envelope(4), '{"type":"news"}', "[]", envelope(5), "not JSON"],
        [hello, envelope(6), '{"type":"event"}'],
        ['{"type":"error"}'],
        [hello, *map(envelope, (7, 8))],
    ]
    with HubClient(url, TOKEN).stream() as events:
        assert [next(events).event_id for _ in range(8)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert hellos == [(0, None), *((after, "log") for after in (3, 5, 6, 6))]


def test_a_large_event(start_hub: Callable[..., Hub]) -> None:
    """Larger than what is read at once; the content is any text."""
    hub = start_hub()
    topic = hub.make_topic()[1]
    text = "é\x00\u2028🐈" * 6000
    with HubClient(hub.url, TOKEN) as client, client.stream(2) as events:
        client.post_message(topic, "me", text)
        assert next(events).data["message"]["content_raw"] == text
