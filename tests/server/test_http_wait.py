"""Calls that wait for events: woken at once, an empty answer at the end of their time, bounded, ended with the hub."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from agentlip import create_app

from ..running_hub import Hub, eventually
from .calls import API, check_error, head, new_channel, new_place, new_topic
from .raw_http import dial, parked, read_answer
from .raw_http import head as request_head

LONG = 40


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


def wait(hub: Hub, query: str, seconds: float | str = LONG) -> Any:
    """A call on a connection of its own."""
    with dial(hub.port) as sock:
        sock.settimeout(60)
        sock.sendall(request_head("GET", f"{API}/events?{query}&wait={seconds}"))
        return read_answer(sock)


def ids(answer: Any) -> list[int]:
    assert answer.status == 200, answer.body
    return [event["event_id"] for event in answer.json()["events"]]


def test_what_is_there_already_is_answered_at_once(hub: Hub) -> None:
    start = head(hub)
    place = new_place(hub)
    began = time.monotonic()
    assert ids(wait(hub, f"after={start}&topic_id={place.topic}"))[0] > start
    assert time.monotonic() - began < LONG / 4


def test_it_is_woken_by_the_next_event_and_goes_on_from_there(hub: Hub) -> None:
    topic_id = new_topic(hub)
    cursor = head(hub)
    with dial(hub.port) as sock:
        for _ in range(3):
            sock.sendall(request_head("GET", f"{API}/events?after={cursor}&wait={LONG}"))
            parked(sock)
            began = time.monotonic()
            posted = hub.post(topic_id)["event_id"]
            answer = read_answer(sock)
            assert time.monotonic() - began < LONG / 4
            assert ids(answer) == [posted]
            cursor = answer.json()["replay_until"]


@pytest.mark.parametrize("seconds", ["0.3", "1"])
def test_without_an_event_it_is_an_empty_answer_after_the_time(hub: Hub, seconds: str) -> None:
    cursor, began = head(hub), time.monotonic()
    answer = wait(hub, f"after={cursor}", seconds)
    assert time.monotonic() - began >= float(seconds)
    assert (answer.status, answer.json()) == (200, {"replay_until": cursor, "events": [], "has_more": False})


def test_no_time_to_wait_is_no_wait(hub: Hub) -> None:
    assert ids(wait(hub, f"after={head(hub)}", "0")) == []


def test_only_events_of_its_channels_and_topics_wake_it(hub: Hub) -> None:
    channel_id, topic_id, other = new_channel(hub), new_topic(hub), new_topic(hub)
    cursor = head(hub)
    with dial(hub.port) as sock:
        sock.sendall(
            request_head("GET", f"{API}/events?after={cursor}&channel_id={channel_id}&topic_id={topic_id}&wait={LONG}")
        )
        parked(sock)
        hub.post(other)
        parked(sock)
        posted = hub.post(topic_id)["event_id"]
        assert ids(read_answer(sock)) == [posted]


def test_a_cursor_above_the_head_waits_for_what_is_above_it(hub: Hub) -> None:
    topic_id = new_topic(hub)
    cursor = head(hub) + 2
    with dial(hub.port) as sock:
        sock.sendall(request_head("GET", f"{API}/events?after={cursor}&wait={LONG}"))
        parked(sock)
        posted = [hub.post(topic_id)["event_id"] for _ in range(3)]
        assert ids(read_answer(sock)) == posted[2:]


def test_a_commit_of_another_program_wakes_it(hub: Hub) -> None:
    channel_id = new_channel(hub)
    cursor = head(hub)
    with dial(hub.port) as sock:
        sock.sendall(request_head("GET", f"{API}/events?after={cursor}&wait={LONG}"))
        parked(sock)
        with closing(sqlite3.connect(hub.db, timeout=10)) as connection, connection:
            connection.execute(
                "INSERT INTO events (ts, name, scope_channel_id, entity_type, entity_id, data_json) "
                "VALUES ('t', 'their.event', ?, 'e', 'e_1', '{}')",
                (channel_id,),
            )
        assert read_answer(sock).json()["events"][0]["name"] == "their.event"


@pytest.mark.parametrize("seconds", ["-1", "51", "50.1", "x", "1e1", "nan", "", "1,5", "9" * 30])
def test_a_time_that_is_none_is_refused(hub: Hub, seconds: str) -> None:
    check_error(hub.call("GET", f"{API}/events?wait={seconds}"), 400, "INVALID_INPUT")


def test_it_can_not_be_used_with_tail(hub: Hub) -> None:
    check_error(hub.call("GET", f"{API}/events?tail=1&wait=1"), 400, "INVALID_INPUT")


def test_a_wait_needs_the_token(hub: Hub) -> None:
    check_error(hub.call("GET", f"{API}/events?wait=1", token=None), 401, "MISSING_AUTH")


def test_writers_and_waiters_at_the_same_time_lose_and_repeat_nothing(hub: Hub, pool: ThreadPoolExecutor) -> None:
    topic_id = new_topic(hub)
    start = head(hub)

    def follow(last: Future[int]) -> list[int]:
        seen: list[int] = []
        with dial(hub.port) as sock:
            sock.settimeout(60)
            while not last.done() or not seen or seen[-1] < last.result():
                cursor = seen[-1] if seen else start
                sock.sendall(request_head("GET", f"{API}/events?after={cursor}&topic_id={topic_id}&wait=5&limit=7"))
                seen += ids(read_answer(sock))
        return seen

    last: Future[int] = Future()
    following = [pool.submit(follow, last) for _ in range(3)]

    def write(_: int) -> list[int]:
        with dial(hub.port) as sock:
            posted = []
            for _number in range(25):
                body = f'{{"topic_id":"{topic_id}","sender":"s","content_raw":"x"}}'.encode()
                lines = ("Content-Type: application/json", f"Content-Length: {len(body)}")
                sock.sendall(request_head("POST", f"{API}/messages", *lines) + body)
                posted.append(read_answer(sock).json()["event_id"])
            return posted

    posted = sorted(each for written in pool.map(write, range(4)) for each in written)
    last.set_result(posted[-1])
    for follower in following:
        assert follower.result(60) == posted


def test_waits_and_websockets_share_the_slots_and_who_hangs_up_gives_his_back(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(MAX_CONNECTIONS=2)
    path = f"{API}/events?wait={LONG}"
    with hub.listen(), dial(hub.port) as sock:
        sock.sendall(request_head("GET", path))
        parked(sock)
        refused = check_error(hub.call("GET", path), 503, "SERVICE_UNAVAILABLE")
        assert refused["details"] == {"reason": "connection limit"}
        assert hub.call("GET", f"{API}/events").status_code == 200
        sock.close()
        eventually(lambda: hub.call("GET", f"{API}/events?wait=0.01").status_code == 200, what="a free slot")


def test_a_hub_that_stops_answers_those_who_wait_with_what_there_is(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    with dial(hub.port) as sock:
        sock.sendall(request_head("GET", f"{API}/events?wait={LONG}"))
        parked(sock)
        assert hub.process is not None
        hub.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert ids(read_answer(sock)) == []
        assert time.monotonic() - began < LONG / 4
    hub.session.close()
    assert hub.process.wait(15) == 0


def test_a_post_to_another_worker_wakes_it(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(WORKERS=2)
    topic_id = new_topic(hub)
    cursor = head(hub)
    socks = [dial(hub.port) for _ in range(6)]
    try:
        for sock in socks:
            sock.sendall(request_head("GET", f"{API}/events?after={cursor}&wait={LONG}"))
        eventually(lambda: all(hub.worker_of(sock) for sock in socks), what="all accepted")
        parked(socks[-1])
        posted = hub.post(topic_id)["event_id"]
        for sock in socks:
            sock.settimeout(LONG / 4)
            assert ids(read_answer(sock)) == [posted]
    finally:
        for sock in socks:
            sock.close()


def test_host_code_waits_too_and_a_hub_that_ends_lets_it_go(tmp_path: Any) -> None:
    state = create_app({"AGENTLIP_DB": str(tmp_path / "db.sqlite3")}).extensions["agentlip"]
    pages: list[Any] = []
    try:
        waiting = threading.Thread(target=lambda: pages.append(state.wait_for_events(LONG)))
        waiting.start()
        eventually(lambda: state.is_in_use, what="the wait")
        state.append("host.event", {"channel_id": "ch_a"}, {})
        waiting.join(LONG / 4)
        assert [event.event_id for event in pages[0].events] == [1]
        assert not state.is_in_use
        waiting = threading.Thread(target=lambda: pages.append(state.wait_for_events(LONG, 1)))
        waiting.start()
        eventually(lambda: state.is_in_use, what="the wait")
    finally:
        state.close()
    waiting.join(LONG / 4)
    assert pages[1].events == []
