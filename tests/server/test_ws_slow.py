"""Slow, silent and vanished clients: they are closed, nobody else waits, and nothing of them stays."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ..running_hub import Hub, eventually, receive_until
from .raw_socket import PING, PONG, TEXT, RawSocket, append_events, frame, ids, worker_fds

BACKPRESSURE = (1008, "backpressure")
SMALL = 4096  # bytes the kernel holds on the client's side


@contextlib.contextmanager
def nothing_left_behind(hub: Hub, timeout: float = 15) -> Iterator[None]:
    """The worker has no more descriptors afterwards than before, and its log no traceback."""
    pid = hub.call("GET", "/health").json()["pid"]
    hub.session.close()
    with hub.listen():
        pass
    baseline = eventually(lambda: steady_fds(pid), what="a steady number of descriptors")
    yield
    eventually(lambda: worker_fds(pid) <= baseline, timeout, "the return of all descriptors")
    assert "Traceback" not in hub.log()


def steady_fds(pid: int) -> int:
    """The number of descriptors, once it has not changed for a while."""
    counts = set()
    for _ in range(20):
        counts.add(worker_fds(pid))
        time.sleep(0.01)
    return counts.pop() if len(counts) == 1 else 0


def test_a_stalled_client_is_closed_and_another_keeps_receiving_everything(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(QUEUE_EVENTS=10)
    _channel_id, topic_id = hub.make_topic()
    start = 2
    with nothing_left_behind(hub), RawSocket(hub, SMALL) as stalled, hub.listen(start) as (brisk, _answer):
        stalled.hello(start)
        for _ in range(60):
            last = hub.post(topic_id, "x" * 60_000)["event_id"]
            assert json.loads(brisk.recv(timeout=5))["event_id"] == last
        hub.session.close()
        events, close = stalled.read_to_close()
        assert close == BACKPRESSURE
        seen = ids(events)
        assert seen == list(range(start + 1, start + 1 + len(seen)))
        assert 0 < len(seen) < 60
        with hub.listen(seen[-1]) as (again, _answer):
            assert ids(receive_until(again, last)) == list(range(seen[-1] + 1, last + 1))


def test_the_queue_is_bounded_in_bytes_too(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(QUEUE_BYTES=200_000)
    _channel_id, topic_id = hub.make_topic()
    with nothing_left_behind(hub), RawSocket(hub, SMALL) as stalled, hub.listen(2) as (brisk, _answer):
        stalled.hello(2)
        for _ in range(40):
            last = hub.post(topic_id, "x" * 60_000)["event_id"]
            assert json.loads(brisk.recv(timeout=5))["event_id"] == last
        hub.session.close()
        assert stalled.read_close() == BACKPRESSURE


@pytest.mark.slow
def test_a_client_that_is_slow_but_reads_gets_everything(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(QUEUE_EVENTS=10, SEND_TIMEOUT=1)
    last = append_events(hub.db, 80, size=6_000)
    with nothing_left_behind(hub), RawSocket(hub, SMALL) as slow:
        slow.hello()
        assert [slow.read_event()["event_id"] for _ in range(last)] == list(range(1, last + 1))


@pytest.mark.slow
def test_a_client_that_reads_slowly_but_all_the_time_is_not_closed(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(SEND_TIMEOUT=2, PING_INTERVAL=1.5)
    last = append_events(hub.db, 300, size=3_000)
    with nothing_left_behind(hub), RawSocket(hub, SMALL) as slow:
        slow.say_hello()
        slow.sip(4_000, seconds=8)  # the kernel takes nothing new from the hub in this time
        seen: list[int] = []
        while not seen or seen[-1] < last:
            opcode, payload = slow.read_frame()
            assert opcode in (PING, TEXT), payload
            seen += ids([json.loads(payload)]) if b'"event"' in payload else []
        assert seen == list(range(1, last + 1))


@pytest.mark.slow
def test_a_replaying_client_that_stops_reading_is_closed_after_the_send_timeout(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(SEND_TIMEOUT=1)
    last = append_events(hub.db, 3000, size=3_000)
    with nothing_left_behind(hub), RawSocket(hub, SMALL) as stalled, RawSocket(hub, SMALL) as gone:
        gone.say_hello()
        stalled.say_hello()
        started = time.monotonic()
        with hub.listen() as (brisk, _answer):
            assert ids(receive_until(brisk, last)) == list(range(1, last + 1))
        eventually(lambda: time.monotonic() > started + 2, what="the end of the send timeout")
        messages, close = stalled.read_to_close()
        assert close == BACKPRESSURE
        seen = ids(messages[1:])
        assert seen == list(range(1, len(seen) + 1))
        assert 0 < len(seen) < last


@pytest.mark.slow
def test_clients_that_never_read_again_are_dropped(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(SEND_TIMEOUT=0.5)
    append_events(hub.db, 3000, size=3_000)
    stalled = []
    with nothing_left_behind(hub):
        for _ in range(5):
            stalled.append(RawSocket(hub, SMALL))
            stalled[-1].say_hello()
    for raw in stalled:
        raw.read_to_the_end()
        raw.sock.close()


@pytest.mark.slow
def test_a_peer_that_resets_in_the_middle_of_what_it_is_sent_leaves_nothing(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    last = append_events(hub.db, 2000, size=3_000)
    with nothing_left_behind(hub):
        for after in (0, last):
            raw = RawSocket(hub, SMALL)
            raw.hello(after)
            append_events(hub.db, 30, size=60_000)
            raw.reset()
        with hub.listen(last) as (brisk, _answer):
            receive_until(brisk, append_events(hub.db, 1))


def test_sockets_that_come_and_go_in_every_way_leave_nothing(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    append_events(hub.db, 10)
    with nothing_left_behind(hub):
        for round_ in range(40):
            raw = RawSocket(hub)
            if round_ % 2:
                raw.hello()
            if round_ % 4 < 2:
                raw.send(8, b"\x03\xe8")
            raw.reset() if round_ % 3 else raw.sock.close()


def answer_pings(raw: RawSocket, count: int, payload: bytes | None = None) -> float:
    """Answer so many pings, with the payload if given; the seconds it took."""
    started = time.monotonic()
    for _ in range(count):
        opcode, asked = raw.read_frame()
        assert opcode == PING
        raw.send(PONG, asked if payload is None else payload)
    return time.monotonic() - started


@pytest.mark.slow
def test_a_peer_that_answers_no_ping_is_dropped_and_one_that_does_stays(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(PING_INTERVAL=0.3)
    head = append_events(hub.db, 2000, size=3_000)
    with nothing_left_behind(hub), RawSocket(hub) as polite, ThreadPoolExecutor() as pool:
        silent, stalled = RawSocket(hub), RawSocket(hub, SMALL)
        silent.hello(head)
        stalled.say_hello()
        polite.hello(head)
        with RawSocket(hub) as chatty:  # says no hello, and answers with something else: still alive
            answered = pool.submit(answer_pings, chatty, 6, b"not what was asked")
            assert answer_pings(polite, 6) > 1.0, "pings come once an interval"
            assert answered.result() > 1.0
        last = append_events(hub.db, 1)
        assert polite.read_event()["event_id"] == last
    for dead in (silent, stalled):
        dead.read_to_the_end()
        dead.sock.close()


@pytest.mark.parametrize(
    "begun", [b"\x81", frame(TEXT, b"x" * 1000)[:50], frame(PING, b"x" * 100)[:50]], ids=["header", "text", "ping"]
)
def test_a_peer_that_stops_in_the_middle_of_a_frame_is_dropped_like_any_silent_one(
    start_hub: Callable[..., Hub], begun: bytes
) -> None:
    hub = start_hub(PING_INTERVAL=0.3)
    with nothing_left_behind(hub), RawSocket(hub) as half:
        half.hello()
        half.sock.sendall(begun)
        half.read_to_the_end()
