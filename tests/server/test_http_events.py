"""The event log over HTTP: order, paging, tail, filters, the shape of every event."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from ..running_hub import Hub
from .calls import API, TIMESTAMP, check_error, events_of, head, new_channel, new_message, new_place, new_topic

KEYS = ["event_id", "ts", "name", "data_json", "scope", "entity"]


def ask(hub: Hub, query: str = "") -> Any:
    return hub.call("GET", f"{API}/events?{query}")


def ids(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [event["event_id"] for event in answer.json()["events"]]


@pytest.fixture(scope="module")
def long_log(hub: Hub) -> int:
    """The log gets 1200 more events, written by another program; gives the head before them."""
    channel_id = new_channel(hub)
    before = head(hub)
    row = ("2026-01-01T00:00:00.000Z", "host.tick", channel_id, "tick", "t", '{"n":1}')
    with closing(sqlite3.connect(hub.db, timeout=10)) as connection, connection:
        connection.executemany(
            "INSERT INTO events (ts, name, scope_channel_id, entity_type, entity_id, data_json) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [row] * 1200,
        )
    return before


def test_every_event_has_the_promised_shape(hub: Hub) -> None:
    new_message(hub)
    answer = ask(hub)
    assert set(answer.json()) == {"replay_until", "events", "has_more"}
    for event in answer.json()["events"]:
        assert set(event) == set(KEYS)
        assert type(event["event_id"]) is int
        assert re.fullmatch(TIMESTAMP, event["ts"])
        assert isinstance(event["data_json"], dict)
        assert set(event["scope"]) == {"channel_id", "topic_id", "topic_id2"}
        assert set(event["entity"]) == {"type", "id"}


def test_the_events_of_a_conversation_come_in_the_order_they_happened(hub: Hub) -> None:
    start = head(hub)
    place = new_place(hub)
    target = new_topic(hub, place.channel)
    path = f"{API}/messages/{place.message}"
    hub.call("PATCH", path, {"op": "edit", "content_raw": "b"})
    hub.call("PATCH", path, {"op": "move_topic", "to_topic_id": target, "mode": "one"})
    hub.call("PATCH", path, {"op": "delete", "actor": "ann"})
    hub.call("PATCH", f"{API}/topics/{target}", {"title": "renamed"})
    hub.call("POST", f"{API}/topics/{target}/attachments", {"kind": "note", "value_json": {}})
    found = [(event["name"], event["entity"]["type"], event["scope"]) for event in events_of(hub, after=start)]
    channel = {"channel_id": place.channel, "topic_id": None, "topic_id2": None}
    old, new = {**channel, "topic_id": place.topic}, {**channel, "topic_id": target}
    assert found == [
        ("channel.created", "channel", channel),
        ("topic.created", "topic", old),
        ("message.created", "message", old),
        ("topic.created", "topic", new),
        ("message.edited", "message", old),
        ("message.moved_topic", "message", {**old, "topic_id2": target}),
        ("message.deleted", "message", new),
        ("topic.renamed", "topic", new),
        ("topic.attachment_added", "attachment", new),
    ]


def test_the_log_has_no_holes(hub: Hub) -> None:
    start = head(hub)
    for _ in range(5):
        hub.call("POST", f"{API}/channels", {"name": ""})
        new_channel(hub)
    assert ids(ask(hub, f"after={start}")) == list(range(start + 1, start + 6))


def test_replay_until_is_the_head_whatever_is_asked(hub: Hub) -> None:
    new_message(hub)
    latest = head(hub)
    for query in ("", "limit=1", "after=1", f"after={latest + 5}", "tail=1", "channel_id=ch_0none"):
        assert ask(hub, query).json()["replay_until"] == latest, query


def test_events_come_after_the_cursor_in_pages(hub: Hub) -> None:
    for _ in range(5):
        new_message(hub)
    latest = head(hub)
    assert ids(ask(hub, f"after={latest - 5}")) == list(range(latest - 4, latest + 1))
    assert ids(ask(hub, f"after={latest - 5}&limit=2")) == [latest - 4, latest - 3]
    assert ids(ask(hub, f"after={latest}")) == []
    assert ids(ask(hub, f"after={latest + 1000}")) == []


def test_tail_gives_the_last_events_ascending(hub: Hub) -> None:
    new_message(hub)
    latest = head(hub)
    assert ids(ask(hub, "tail=1")) == [latest]
    assert ids(ask(hub, "tail=3")) == [latest - 2, latest - 1, latest]


def test_a_new_hub_has_an_empty_log_and_a_tail_longer_than_the_log_is_the_log(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    assert hub.call("GET", f"{API}/channels").json() == {"channels": [], "has_more": False}
    assert ask(hub).json() == {"replay_until": 0, "events": [], "has_more": False}
    assert ask(hub, "tail=5").json() == {"replay_until": 0, "events": [], "has_more": False}
    hub.make_topic()
    assert ids(ask(hub, "tail=1000")) == [1, 2]


def test_filters_match_any_of_the_ids(hub: Hub) -> None:
    start = head(hub)
    first, second, third = (new_place(hub) for _ in range(3))
    after = f"after={start}"
    assert ids(ask(hub, f"{after}&channel_id={first.channel}")) == [start + 1, start + 2, start + 3]
    assert ids(ask(hub, f"{after}&topic_id={second.topic}")) == [start + 5, start + 6]
    both = f"{after}&channel_id={first.channel}&channel_id={third.channel}"
    assert ids(ask(hub, both)) == [start + number for number in (1, 2, 3, 7, 8, 9)]
    topics = f"{after}&topic_id={first.topic}&topic_id={third.topic}"
    assert ids(ask(hub, topics)) == [start + number for number in (2, 3, 8, 9)]
    mixed = f"{after}&channel_id={first.channel}&topic_id={second.topic}"
    assert ids(ask(hub, mixed)) == [start + number for number in (1, 2, 3, 5, 6)]


def test_filters_go_with_limit_and_tail(hub: Hub) -> None:
    start = head(hub)
    place = new_place(hub)
    new_place(hub)
    assert ids(ask(hub, f"channel_id={place.channel}&limit=2")) == [start + 1, start + 2]
    assert ids(ask(hub, f"channel_id={place.channel}&tail=2")) == [start + 2, start + 3]


def test_an_id_nobody_has_matches_nothing(hub: Hub) -> None:
    assert ids(ask(hub, "channel_id=ch_00000000none")) == []
    assert ids(ask(hub, "topic_id=topic_00000000none")) == []


def test_a_page_holds_100_events_by_default(hub: Hub, long_log: int) -> None:
    assert ids(ask(hub, f"after={long_log}")) == list(range(long_log + 1, long_log + 101))


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (1000, 1000), (1001, 1000), (5000, 1000)])
def test_the_limit_is_capped_at_1000(hub: Hub, long_log: int, limit: int, count: int) -> None:
    assert len(ids(ask(hub, f"after={long_log}&limit={limit}"))) == count


def test_a_tail_of_1000_is_taken(hub: Hub, long_log: int) -> None:
    latest = head(hub)
    assert ids(ask(hub, "tail=1000")) == list(range(latest - 999, latest + 1))


def test_an_event_of_an_unknown_name_is_given_as_it_is(hub: Hub, long_log: int) -> None:
    (event,) = events_of(hub, after=long_log, limit=1)
    assert (event["name"], event["data_json"]) == ("host.tick", {"n": 1})
    assert event["entity"] == {"type": "tick", "id": "t"}


@pytest.mark.parametrize(
    "query",
    [
        "after=x", "after=-1", "after=1.5", "after=1e3", "after=true", "after=%00", "limit=x", "limit=0", "limit=-1",
        "limit=2.0", "tail=0", "tail=-1", "tail=1001", "tail=x", "tail=1.0", "tail=5&after=0", "tail=5&after=3",
    ],
)  # fmt: skip
def test_a_bad_query_is_refused(hub: Hub, query: str) -> None:
    check_error(ask(hub, query), 400, "INVALID_INPUT")


def test_a_cursor_above_the_head_finds_nothing(hub: Hub) -> None:
    answer = ask(hub, f"after={2**63 - 1}")
    assert (answer.status_code, answer.json()["events"]) == (200, [])


@pytest.mark.parametrize("number", [2**63, 10**40], ids=["max+1", "huge"])
def test_a_cursor_beyond_everything_is_refused(hub: Hub, number: int) -> None:
    check_error(ask(hub, f"after={number}"), 400, "INVALID_INPUT")
