"""Replay and live: every matching event exactly once, ascending, with no hole at the seam."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from ..running_hub import TOKEN, Hub, eventually, receive_until
from .raw_socket import RawSocket, append_events, ids, plain_sqlite, worker_fds


def logged(db: Path, after: int = 0, channels: tuple[str, ...] = (), topics: tuple[str, ...] = ()) -> list[int]:
    """The ids that match, by the contract's words, straight from the file; no lists: everything."""
    with plain_sqlite(db) as connection:
        rows = connection.execute(
            "SELECT event_id, scope_channel_id, scope_topic_id, scope_topic_id2 FROM events "
            "WHERE event_id > ? ORDER BY event_id",
            (after,),
        ).fetchall()
    everything = not channels and not topics
    return [row[0] for row in rows if everything or row[1] in channels or row[2] in topics or row[3] in topics]


def head(hub: Hub) -> int:
    return logged(hub.db)[-1] if logged(hub.db) else 0


_names = iter(range(10**6))


def new_topic(hub: Hub) -> tuple[str, str]:
    return hub.make_topic(f"channel {next(_names)}", "first")


def test_the_envelope_has_its_keys_in_the_order_of_the_contract(hub: Hub) -> None:
    channel_id, topic_id = new_topic(hub)
    with hub.listen(head(hub)) as (socket, _answer):
        posted = hub.post(topic_id, 'ü \u2028 \U0001f600 "quoted" \x00 </script>')
        text = str(socket.recv(timeout=10))
    event = json.loads(text)
    assert list(event) == ["type", "event_id", "ts", "name", "scope", "entity", "data"]
    assert list(event["scope"].items()) == [("channel_id", channel_id), ("topic_id", topic_id), ("topic_id2", None)]
    assert list(event["entity"].items()) == [("type", "message"), ("id", posted["message"]["id"])]
    assert (event["type"], event["event_id"], event["name"]) == ("event", posted["event_id"], "message.created")
    assert event["data"] == {"message": posted["message"]}
    assert list(event["data"]["message"]) == [
        "id", "topic_id", "channel_id", "sender", "content_raw", "version", "created_at", "edited_at", "deleted_at",
        "deleted_by", "agent_id",
    ]  # fmt: skip


def test_a_replayed_event_is_the_same_text_as_the_live_one(hub: Hub) -> None:
    _channel_id, topic_id = new_topic(hub)
    before = head(hub)
    with hub.listen(before) as (socket, _answer):
        hub.post(topic_id, "once live, once replayed")
        live = socket.recv(timeout=10)
    with hub.listen(before) as (socket, _answer):
        assert socket.recv(timeout=10) == live


def test_a_payload_comes_as_it_is_stored(hub: Hub) -> None:
    stored = '{"b":1,"a":{"deep":[1.50,"\\u00e9é",null]}}'
    with hub.listen(append_events(hub.db, 1)) as (socket, _answer):
        with plain_sqlite(hub.db) as connection:
            connection.execute(
                "INSERT INTO events (ts, name, scope_topic_id2, entity_type, entity_id, data_json) "
                "VALUES ('t', 'x.y', 'topic_q', 'e', 'i', ?)",
                (stored,),
            )
        text = str(socket.recv(timeout=10))
    assert text.endswith(f'"data":{stored}}}')
    assert json.loads(text)["scope"] == {"channel_id": None, "topic_id": None, "topic_id2": "topic_q"}


def test_a_long_replay_has_no_hole_and_goes_on_live(hub: Hub) -> None:
    last = append_events(hub.db, 3500)
    with hub.listen() as (socket, answer):
        assert answer["replay_until"] == last
        assert ids(receive_until(socket, last)) == list(range(1, last + 1))
        assert ids(receive_until(socket, append_events(hub.db, 3))) == [last + 1, last + 2, last + 3]


def test_a_replay_of_large_events_has_no_hole(hub: Hub) -> None:
    start = head(hub)
    last = append_events(hub.db, 300, size=60_000)
    with hub.listen(start) as (socket, _answer):
        assert ids(receive_until(socket, last)) == list(range(start + 1, last + 1))


@pytest.mark.parametrize("back", [0, 1, 2, 499, 500, 501, 999, 1000, 1001, 1500])
def test_a_replay_starts_right_after_the_cursor_wherever_that_is(hub: Hub, back: int) -> None:
    last = append_events(hub.db, 1600)
    with RawSocket(hub) as raw:
        assert raw.hello(last - back)["replay_until"] == last
        received = [raw.read_event()["event_id"] for _ in range(back)]
        assert received == list(range(last - back + 1, last + 1))
        assert raw.read_until_pong() == []


class World:
    """Two channels with two topics each, and events of all kinds over them."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.a, self.a1 = new_topic(hub)
        self.b, self.b1 = new_topic(hub)
        self.a2 = hub.call("POST", "/api/v1/topics", {"channel_id": self.a, "title": "two"}).json()["topic"]["id"]
        self.foreign = 0

    def happen(self) -> int:
        """Messages everywhere and moves from one topic to another; the last id."""
        for topic in (self.a1, self.a2, self.b1) * 3:
            self.hub.post(topic)
        message = self.hub.post(self.a1)["message"]["id"]
        for to in (self.a2, self.a1, self.a2):
            move = {"op": "move_topic", "to_topic_id": to, "mode": "one"}
            answer = self.hub.call("PATCH", f"/api/v1/messages/{message}", move)
            assert answer.status_code == 200, answer.text
        return append_events(self.hub.db, 2)

    def wishes(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        return {
            "one channel": ((self.a,), ()),
            "two channels": ((self.a, self.b, "ch_none"), ()),
            "a topic that messages move away from": ((), (self.a1,)),
            "a topic that messages move to": ((), (self.a2,)),
            "both topics: a move comes once": ((), (self.a1, self.a2)),
            "a channel and its own topic": ((self.a,), (self.a1,)),
            "a channel and another's topic": ((self.b,), (self.a2,)),
            "an id that does not exist": (("ch_none",), ("topic_none",)),
            "a topic id among the channels": ((self.a1,), ()),
            "a channel id among the topics": ((), (self.a,)),
        }


def wish(channels: tuple[str, ...], topics: tuple[str, ...]) -> dict[str, Any]:
    return {"channels": list(channels), "topics": list(topics)}


def test_filters_choose_the_same_events_in_replay_and_live(hub: Hub) -> None:
    world = World(hub)
    start = head(hub)
    boundary = world.happen()
    sockets = {name: RawSocket(hub) for name in world.wishes()}
    for name, wanted in world.wishes().items():
        sockets[name].hello(start, subscriptions=wish(*wanted))
        replayed = ids(sockets[name].read_until_pong())
        assert replayed == [one for one in logged(hub.db, start, *wanted) if one <= boundary], f"replay of {name}"
    with hub.listen(boundary) as (everything, _answer):
        receive_until(everything, world.happen())
    for name, wanted in world.wishes().items():
        assert ids(sockets[name].read_until_pong()) == logged(hub.db, boundary, *wanted), f"live: {name}"
        sockets[name].sock.close()


@pytest.mark.parametrize("subscriptions", [None, {}, {"channels": []}, {"topics": []}, {"channels": [], "topics": []}])
def test_empty_subscriptions_get_nothing_neither_replayed_nor_live(hub: Hub, subscriptions: Any) -> None:
    last = append_events(hub.db, 5)
    with RawSocket(hub) as raw, hub.listen(last) as (everything, _answer):
        assert raw.hello(0, subscriptions=subscriptions)["replay_until"] == last
        receive_until(everything, append_events(hub.db, 5))
        assert raw.read_until_pong() == []


@pytest.mark.parametrize("beyond", [1, 10_000, 2**63, 1e300])
def test_a_cursor_above_the_head_gets_the_live_events_above_the_head(hub: Hub, beyond: float) -> None:
    last = append_events(hub.db, 1)
    with hub.listen(last + beyond) as (socket, answer):
        assert answer["replay_until"] == last
        assert ids(receive_until(socket, append_events(hub.db, 3))) == [last + 1, last + 2, last + 3]


def test_events_of_another_program_arrive_within_a_second(hub: Hub) -> None:
    with hub.listen(append_events(hub.db, 1)) as (socket, _answer):
        for _ in range(5):
            last = append_events(hub.db, 1)
            assert json.loads(socket.recv(timeout=1))["event_id"] == last


def test_a_rolled_back_event_is_never_seen(hub: Hub) -> None:
    with hub.listen(append_events(hub.db, 1)) as (socket, _answer):
        with plain_sqlite(hub.db) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "INSERT INTO events (ts, name, scope_channel_id, entity_type, entity_id, data_json) "
                "VALUES ('t', 'never', 'ch_x', 'e', 'i', '{}')"
            )
            connection.execute("ROLLBACK")
        last = append_events(hub.db, 1)
        event = json.loads(socket.recv(timeout=10))
        assert (event["event_id"], event["name"]) == (last, "host.noted")


def post_many(hub: Hub, topic_id: str, count: int) -> None:
    with requests.Session() as session:
        for _ in range(count):
            body = {"topic_id": topic_id, "sender": "s", "content_raw": "x"}
            answer = session.post(f"{hub.url}/api/v1/messages", json=body, headers={"Authorization": f"Bearer {TOKEN}"})
            assert answer.status_code == 201, answer.text


def read_to_the_end(hub: Hub, after: int, **hello: Any) -> list[int]:
    """What a subscriber sees from its cursor up to the event named test.end."""
    with hub.listen(after, **hello) as (socket, _answer):
        seen = []
        while True:
            event = json.loads(socket.recv(timeout=30))
            seen.append(event["event_id"])
            if event["name"] == "test.end":
                return seen


def say_the_end(hub: Hub, channel_id: str) -> None:
    with plain_sqlite(hub.db) as connection:
        connection.execute(
            "INSERT INTO events (ts, name, scope_channel_id, entity_type, entity_id, data_json) "
            "VALUES ('t', 'test.end', ?, 'e', 'i', '{}')",
            (channel_id,),
        )


class Storm:
    """Four posters and a foreign bulk writer at work until `end`; subscribers join meanwhile."""

    def __init__(self, hub: Hub, pool: ThreadPoolExecutor) -> None:
        self.hub, self.pool = hub, pool
        self.channel_id, self.topic_id = new_topic(hub)
        self.posters = [pool.submit(post_many, hub, self.topic_id, 120) for _ in range(4)]
        self.over = threading.Event()
        self.foreign = pool.submit(self.append)

    def append(self) -> None:
        while not self.over.is_set():
            append_events(self.hub.db, 7)
            self.over.wait(0.01)

    def end(self) -> None:
        for poster in self.posters:
            poster.result()
        self.over.set()
        self.foreign.result()
        say_the_end(self.hub, self.channel_id)


@pytest.mark.slow
def test_subscribers_that_join_while_others_write_see_no_hole_and_no_repeat(hub: Hub) -> None:
    append_events(hub.db, 1)
    with ThreadPoolExecutor(40) as pool:
        storm = Storm(hub, pool)
        readers: list[tuple[int, Future[list[int]]]] = []
        for index in range(15):
            after = [0, head(hub), max(0, head(hub) - 700)][index % 3]
            readers.append((after, pool.submit(read_to_the_end, hub, after)))
            seen = head(hub)
            eventually(lambda seen=seen: head(hub) > seen + 5 or storm.over.is_set(), what="more events")
        storm.end()
        expected = logged(hub.db)
        for after, reader in readers:
            assert reader.result() == [one for one in expected if one > after], f"after {after}"


@pytest.mark.slow
def test_filtered_subscribers_that_join_while_others_write_miss_nothing(hub: Hub) -> None:
    with ThreadPoolExecutor(20) as pool:
        storm = Storm(hub, pool)
        wanted: Any = {"channels": [storm.channel_id], "topics": [storm.topic_id]}
        readers = []
        for _ in range(10):
            readers.append(pool.submit(read_to_the_end, hub, 0, subscriptions=wanted))
            seen = head(hub)
            eventually(lambda seen=seen: head(hub) > seen + 10 or storm.over.is_set(), what="more events")
        storm.end()
        expected = logged(hub.db, 0, (storm.channel_id,), (storm.topic_id,))
        assert len(expected) > 400
        assert [reader.result() for reader in readers] == [expected] * len(readers)


def sockets_of_each_worker(hub: Hub) -> dict[int, requests.Session]:
    """One kept-alive HTTP connection to each of the two workers, by pid."""
    found: dict[int, requests.Session] = {}
    for _ in range(200):
        session = requests.Session()
        pid = session.get(f"{hub.url}/health", timeout=10).json()["pid"]
        if pid in found:
            session.close()
        found.setdefault(pid, session)
        if len(found) == 2:
            return found
    raise AssertionError("only one worker answers")


def subscribers_on_both_workers(hub: Hub, pids: list[int]) -> list[tuple[RawSocket, dict[str, Any]]]:
    before = {pid: worker_fds(pid) for pid in pids}
    subscribers = []
    while len(subscribers) < 8 or any(worker_fds(pid) < before[pid] + 2 for pid in pids):
        assert len(subscribers) < 200, "one worker takes all WebSockets"
        raw = RawSocket(hub)
        subscribers.append((raw, raw.hello()))
    return subscribers


def test_two_workers_are_one_hub(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(WORKERS=2)
    _channel_id, topic_id = hub.make_topic()
    workers = sockets_of_each_worker(hub)
    subscribers = subscribers_on_both_workers(hub, list(workers))
    assert len({answer["instance_id"] for _raw, answer in subscribers}) == 1
    health = [session.get(f"{hub.url}/health").json()["instance_id"] for session in workers.values()]
    assert {*health} == {answer["instance_id"] for _raw, answer in subscribers}
    for _ in range(10):
        for session in workers.values():
            body = {"topic_id": topic_id, "sender": "s", "content_raw": "x"}
            answer = session.post(f"{hub.url}/api/v1/messages", json=body, headers={"Authorization": f"Bearer {TOKEN}"})
            assert answer.status_code == 201, answer.text
    expected = logged(hub.db)
    for raw, _answer in subscribers:
        assert [raw.read_event()["event_id"] for _ in expected] == expected
        raw.sock.close()
    for session in workers.values():
        session.close()
