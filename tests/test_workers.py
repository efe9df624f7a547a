"""Several gunicorn workers on one file are one hub: for posters, subscribers, and whoever else writes to the file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from http.client import HTTPConnection
from typing import Any

import pytest

from .running_hub import Hub, eventually
from .server.raw_socket import RawSocket, append_events, ids, plain_sqlite
from .side_by_side import Script
from .stress import (
    THE_END,
    Poster,
    Subscriber,
    Visit,
    ask,
    check_posters,
    check_subscriber,
    everywhere,
    http,
    log_of,
    post,
    worker_at,
)

WORKERS = 3
SHUTTING_DOWN = (1001, "Server shutting down")
BACKPRESSURE = (1008, "backpressure")
BY_THEMSELVES = {"left", "reset", THE_END, BACKPRESSURE}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One hub of three workers, shared by the tests that harm nobody."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GUNICORN_CMD_ARGS", "--keep-alive 60")  # connections wait here until every worker has one
        running = Hub(tmp_path_factory.mktemp("hub"), WORKERS=WORKERS).start()
    try:
        wait_for_all(running)
        yield running
    finally:
        running.session.close()
        running.stop()


@pytest.fixture
def sockets(hub: Hub) -> Iterator[dict[int, RawSocket]]:
    """A WebSocket at each worker, live from the head of the log on."""
    found = {pid: some[0] for pid, some in everywhere(hub, WORKERS, lambda: RawSocket(hub)).items()}
    for raw in found.values():
        raw.hello(head(hub))
        raw.sock.settimeout(20)
    yield found
    for raw in found.values():
        raw.sock.close()


def head(hub: Hub) -> int:
    return int(hub.call("GET", "/api/v1/events?tail=1").json()["replay_until"])


def close_all(connections: dict[int, list[HTTPConnection]]) -> None:
    for some in connections.values():
        for connection in some:
            connection.close()


def wait_for_all(hub: Hub) -> None:
    """Wait until every worker serves."""
    close_all(everywhere(hub, WORKERS, lambda: http(hub)))


class Storm:
    """Two posters at each worker, and subscribers that come at any time; leaving the block waits for all of them."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.places = [hub.make_topic(f"channel {number}", "first") for number in range(2)]
        body = {"channel_id": self.places[0][0], "title": "second"}
        second = hub.call("POST", "/api/v1/topics", body).json()["topic"]["id"]
        self.topics = [second, *(topic for _channel, topic in self.places)]
        self.posters: list[Poster] = []
        self.subscribers: list[Subscriber] = []
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(60)
        self._posting: list[Future[None]] = []
        self._following: list[Future[None]] = []

    def __enter__(self) -> Storm:
        wait_for_all(self.hub)
        for some in everywhere(self.hub, WORKERS, lambda: http(self.hub), 2).values():
            for connection in some:
                poster = Poster(self.hub, connection, f"poster {len(self.posters)}", self.topics)
                self.posters.append(poster)
                self._posting.append(self._pool.submit(poster.run, self._over))
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the posters, say the end in every topic, wait for all subscribers."""
        self._over.set()
        try:
            for posting in self._posting:
                posting.result(30)
            for topic in self.topics:
                self.hub.post(topic, THE_END)
            for following in self._following:
                following.result(30)
        finally:
            for subscriber in self.subscribers:
                subscriber.ends = 0  # after a failure nobody must come back for ever
            self._pool.shutdown(cancel_futures=True)

    def join(self, **how: Any) -> Subscriber:
        """One more subscriber; it ends when all topics it follows have said the end."""
        ends = {self.places[0][0]: 2}.get(how.get("channel", ""), 1) if {"channel", "topic"} & how.keys() else 3
        subscriber = Subscriber(self.hub, ends, **how)
        self.subscribers.append(subscriber)
        self._following.append(self._pool.submit(subscriber.run))
        return subscriber

    def join_everywhere(self) -> None:
        """A subscriber at each worker, that stays."""
        for (first,) in everywhere(self.hub, WORKERS, lambda: RawSocket(self.hub)).values():
            stayer = self.join(first=first, after=head(self.hub))
            eventually(lambda stayer=stayer: stayer.visits and stayer.visits[0].worker, what="a live subscriber")

    def join_of_all_kinds(self) -> None:
        (channel, topic), (other, _topic) = self.places
        self.join()
        self.join(stay=150)
        self.join(stay=110, how="reset", after=head(self.hub))
        self.join(channel=channel)
        self.join(channel=other, stay=90, how="reset")
        self.join(topic=topic, stay=70, after=head(self.hub))

    def wait_for_posts(self, count: int) -> None:
        """Wait until every poster has got that many more answers."""
        goals = [(poster, len(poster.acknowledged) + count) for poster in self.posters]
        eventually(lambda: all(len(poster.acknowledged) >= goal for poster, goal in goals), 30, "posts by all posters")

    def visits(self) -> list[Visit]:
        return [visit for subscriber in self.subscribers for visit in subscriber.visits]

    def check(self) -> None:
        check_posters(self.hub, self.posters)
        for subscriber in self.subscribers:
            check_subscriber(subscriber)
        assert "Traceback" not in self.hub.log()


def is_replaced(hub: Hub, gone: set[int]) -> bool:
    return len(hub.workers()) == WORKERS and not gone & hub.workers()


@pytest.mark.slow
def test_nothing_is_lost_when_a_worker_is_killed_among_posters_and_subscribers(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(WORKERS=WORKERS)
    with Storm(hub) as storm:
        storm.join_of_all_kinds()
        storm.wait_for_posts(50)
        storm.join_everywhere()
        victim = worker_at(hub, storm.posters[0].connection)
        on_victim = [poster for poster in storm.posters if worker_at(hub, poster.connection) == victim]
        assert not [poster.name for poster in storm.posters if poster.refused or poster.unanswered]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: is_replaced(hub, {victim}), what="a new worker")
        storm.wait_for_posts(20)
        storm.join_of_all_kinds()
        storm.join_everywhere()
        storm.wait_for_posts(50)
    storm.check()
    lost = [visit for visit in storm.visits() if visit.end == "lost"]
    assert lost
    assert {visit.worker for visit in lost} <= {victim, 0}
    assert {visit.end for visit in storm.visits()} <= BY_THEMSELVES | {"lost"}
    for poster in storm.posters:
        assert poster.refused == {}
        assert len(poster.unanswered) <= (poster in on_victim), "a call at another worker was cut off"
    assert [one.refusals for one in storm.subscribers if len(one.refusals) > 1] == []
    assert is_replaced(hub, {victim})


@pytest.mark.slow
def test_a_reload_under_load_closes_with_1001_and_loses_nothing(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(WORKERS=WORKERS)
    with Storm(hub) as storm:
        storm.join_of_all_kinds()
        storm.join_everywhere()
        storm.wait_for_posts(30)
        old = hub.workers()
        assert hub.process is not None
        hub.process.send_signal(signal.SIGHUP)
        eventually(lambda: is_replaced(hub, old), 20, "three new workers")
        storm.wait_for_posts(20)
        storm.join_everywhere()
    storm.check()
    assert {visit.worker for visit in storm.visits() if visit.end == SHUTTING_DOWN} - {0} == old
    assert {visit.end for visit in storm.visits()} <= BY_THEMSELVES | {SHUTTING_DOWN}
    assert {refusal for poster in storm.posters for refusal in poster.refused.values()} <= {(503, "SHUTTING_DOWN")}
    for refusal in [refusal for subscriber in storm.subscribers for refusal in subscriber.refusals]:
        assert "503 " in refusal


def test_a_post_at_any_worker_reaches_the_subscribers_of_all(hub: Hub, sockets: dict[int, RawSocket]) -> None:
    _channel_id, topic_id = hub.make_topic("reach", "first")
    last = head(hub)
    for raw in sockets.values():
        assert [raw.read_event()["event_id"] for _ in range(2)] == [last - 1, last]
    posters = everywhere(hub, WORKERS, lambda: http(hub))
    assert posters.keys() == sockets.keys() == hub.workers()
    for number in range(20):
        for (connection,) in posters.values():
            status, answer = post(connection, topic_id, f"number {number}")
            assert (status, answer["event_id"]) == (201, last + 1)
            last += 1
            for raw in sockets.values():
                event = raw.read_event()
                assert (event["event_id"], event["data"]["message"]) == (last, answer["message"])
    close_all(posters)


def test_commits_of_other_programs_reach_the_subscribers_of_all_workers(
    hub: Hub, sockets: dict[int, RawSocket]
) -> None:
    start, (_channel_id, topic_id) = head(hub), hub.make_topic("foreign", "first")
    append_events(hub.db, 1)
    append_events(hub.db, 300)
    script = Script(
        "from pathlib import Path\nfrom agentlip.store import mutations\nfrom agentlip.store.store import Store",
        "store = Store(Path(sys.argv[1]), 'FULL', 5)\n"
        "for number in range(20): store.write(mutations.post_message, sys.argv[2], 'script', f'number {number}')\n"
        "store.close()",
        hub.db,
        topic_id,
    )
    script.ready()
    script.go()
    for _ in range(20):
        append_events(hub.db, 3)
    script.result()
    last = append_events(hub.db, 1)
    assert last == start + 2 + 301 + 20 + 60 + 1
    for raw in sockets.values():
        events = [raw.read_event() for _ in range(last - start)]
        assert ids(events) == list(range(start + 1, last + 1))
        said = [event["data"]["message"]["content_raw"] for event in events if event["name"] == "message.created"]
        assert said == [f"number {number}" for number in range(20)]


def test_no_post_fails_when_all_workers_write_at_once(hub: Hub) -> None:
    _channel_id, topic_id = hub.make_topic("load", "first")
    start = head(hub)
    connections = everywhere(hub, WORKERS, lambda: http(hub), 3)

    def post_many(connection: HTTPConnection) -> list[tuple[int, dict[str, Any]]]:
        return [post(connection, topic_id) for _ in range(80)]

    with ThreadPoolExecutor(9) as pool:
        flat = [connection for some in connections.values() for connection in some]
        answers = [answer for many in pool.map(post_many, flat) for answer in many]
    assert Counter(status for status, _answer in answers) == {201: 720}
    assert sorted(answer["event_id"] for _status, answer in answers) == list(range(start + 1, start + 721))
    log = log_of(hub)
    assert list(log) == list(range(1, start + 721))
    for _status, answer in answers:
        assert log[answer["event_id"]]["data_json"] == {"message": answer["message"]}
    close_all(connections)


def seconds_of_calls_until(
    posts: list[Future[Any]], others: list[HTTPConnection], live: list[RawSocket]
) -> list[float]:
    """Read and ping at all workers until all posts are answered; how long each call took."""
    spent = []
    while wait(posts, 0.05).not_done:
        for path in ("/health", "/api/v1/channels", "/api/v1/events?tail=5"):
            for connection in others:
                started = time.monotonic()
                assert ask(connection, "GET", path)[0] == 200
                spent.append(time.monotonic() - started)
        for raw in live:
            started = time.monotonic()
            assert raw.read_until_pong() == []
            spent.append(time.monotonic() - started)
    return spent


@pytest.mark.slow
def test_a_locked_database_holds_up_writes_and_nothing_else(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(WORKERS=WORKERS, WRITE_TIMEOUT=3)
    wait_for_all(hub)
    _channel_id, topic_id = hub.make_topic()
    live = [some[0] for some in everywhere(hub, WORKERS, lambda: RawSocket(hub)).values()]
    for raw in live:
        raw.hello(2)
    with plain_sqlite(hub.db) as connection, ThreadPoolExecutor(WORKERS) as pool:
        connection.execute("BEGIN IMMEDIATE")
        others, posters = (everywhere(hub, WORKERS, lambda: http(hub)) for _ in range(2))
        posts = [pool.submit(post, some[0], topic_id) for some in posters.values()]
        spent = seconds_of_calls_until(posts, [some[0] for some in others.values()], live)
        connection.execute("ROLLBACK")
    assert max(spent) < 2
    assert len(spent) > 60
    for one in posts:
        status, answer = one.result()
        assert (status, answer["code"], answer["details"]) == (503, "SERVICE_UNAVAILABLE", {"reason": "database busy"})
    for some in posters.values():
        assert post(some[0], topic_id)[0] == 201
    for raw in live:
        assert [raw.read_event()["event_id"] for _ in range(3)] == [3, 4, 5]
        raw.sock.close()
    close_all(others)
    close_all(posters)


def test_websockets_spread_over_all_workers(hub: Hub) -> None:
    """The kernel chooses, and on a busy machine it does so lopsidedly, but nobody is left out."""
    opened: list[RawSocket] = []
    spread: Counter[int] = Counter()
    with contextlib.ExitStack() as stack:
        while len(spread) < WORKERS or min(spread.values()) < 3:
            assert len(opened) < 400, spread
            opened.append(RawSocket(hub))
            stack.callback(opened[-1].sock.close)
            spread[worker_at(hub, opened[-1])] += 1
    assert spread.keys() == hub.workers()


def test_all_workers_say_they_are_the_same_hub(hub: Hub, sockets: dict[int, RawSocket]) -> None:
    connections = everywhere(hub, WORKERS, lambda: http(hub))
    health = {pid: ask(some[0], "GET", "/health")[1] for pid, some in connections.items()}
    assert {pid: answer["pid"] for pid, answer in health.items()} == {pid: pid for pid in sockets}
    file = json.loads((hub.folder / "server.json").read_text())
    for answer in health.values():
        assert (answer["instance_id"], answer["db_id"]) == (file["instance_id"], file["db_id"])
    close_all(connections)
