"""The event log: scope rules of append; pages by limit, bytes, bound and scope; rows others have broken."""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
from typing import Any

import pytest

from agentlip.errors import InvalidInput
from agentlip.model import KNOWN_EVENTS, UNSCOPED, Entity, Event, Scope
from agentlip.store import log
from agentlip.store.store import Store
from agentlip.store.writer import Transaction

LOTS = 1 << 30
INSERT = (
    "INSERT INTO events (ts, name, scope_channel_id, scope_topic_id, scope_topic_id2, entity_type, "
    "entity_id, data_json) VALUES ('t', 'custom', ?, ?, ?, 'e', 'e_1', ?)"
)


def append(store: Store, name: str, *scope: str | None, data: Any = None) -> int:
    return store.write(lambda transaction: transaction.append(name, Scope(*scope), Entity("e", "e_1"), data))


def append_all(store: Store, scopes: list[Scope]) -> None:
    def command(transaction: Transaction) -> None:
        for scope in scopes:
            transaction.append("custom", scope, Entity("e", "e_1"), {})

    store.write(command)


def payload(entry: log.Entry) -> Any:
    return json.loads(entry.envelope.decode("utf-8"))


def events(store: Store, *wanted: Any) -> list[Event]:
    return store.events_with_more(*wanted)[0]


def ids(rows: list[Any]) -> list[int]:
    return [row.event_id for row in rows]


SCOPES = [Scope(*values) for values in itertools.product(("c", None), ("t", None), ("t2", None))]


@pytest.mark.parametrize("scope", SCOPES, ids=str)
@pytest.mark.parametrize("name", [*KNOWN_EVENTS, "their.event"])
def test_an_event_needs_the_scopes_of_its_name(store: Store, name: str, scope: Scope) -> None:
    needed = KNOWN_EVENTS.get(name, ())
    if (any(scope) or name in UNSCOPED) and all(getattr(scope, key) for key in needed):
        assert append(store, name, *scope) == store.latest() == 1
    else:
        with pytest.raises(InvalidInput):
            append(store, name, *scope)
        assert store.latest() == 0


def test_an_empty_text_is_no_scope(store: Store) -> None:
    with pytest.raises(InvalidInput):
        append(store, "their.event", "", "", "")


def test_the_ids_of_the_log_start_at_one_and_have_no_gaps_after_a_refusal(store: Store) -> None:
    assert append(store, "x", "c") == 1
    with pytest.raises(InvalidInput):
        append(store, "x")
    assert append(store, "x", "c") == 2
    assert store.bounds() == (1, store.latest()) == (1, 2)


def test_an_empty_log_has_the_head_zero(store: Store) -> None:
    assert store.bounds() == (0, store.latest()) == (0, 0)
    assert store.entries(0, log.MAX_ID, 10, LOTS) == []
    assert events(store, 0, log.MAX_ID, 10, True, (), ()) == []


def test_an_entry_is_the_whole_envelope_and_the_scope(store: Store, foreign: sqlite3.Connection) -> None:
    append(store, "x", "c", "t", "t2", data={"ü": [1, None, "\0\n"]})
    (entry,) = store.entries(0, 1, 10, LOTS)
    assert entry.scope == Scope("c", "t", "t2")
    envelope = payload(entry)
    assert list(envelope) == ["type", "event_id", "ts", "name", "scope", "entity", "data"]
    assert envelope["data"] == {"ü": [1, None, "\0\n"]}
    assert envelope["ts"] == foreign.execute("SELECT ts FROM events").fetchone()[0]


def test_an_event_is_the_same_as_a_value(store: Store) -> None:
    append(store, "x", "c", None, "t2", data={"a": 1})
    (event,) = events(store, 0, 1, 10, False, (), ())
    assert (event.event_id, event.name, event.scope, event.entity) == (1, "x", Scope("c", None, "t2"), ("e", "e_1"))
    assert (event.data_json, event.data) == ('{"a":1}', {"a": 1})


@pytest.fixture
def twenty(store: Store) -> Store:
    """Events 1 to 20 in the channels c0, c1 in turn."""
    append_all(store, [Scope(f"c{number % 2}") for number in range(20)])
    return store


@pytest.mark.parametrize(
    ("after", "until", "limit", "expected"),
    [
        (0, 20, 100, range(1, 21)),
        (0, 20, 5, range(1, 6)),
        (5, 20, 5, range(6, 11)),
        (5, 8, 100, range(6, 9)),
        (5, 5, 100, []),
        (9, 5, 100, []),
        (20, log.MAX_ID, 100, []),
        (0, log.MAX_ID, 20, range(1, 21)),
        (log.MAX_ID, log.MAX_ID, 1, []),
    ],
)
def test_a_page_holds_what_is_after_up_to_until_within_the_limit(
    twenty: Store, after: int, until: int, limit: int, expected: Any
) -> None:
    assert ids(twenty.entries(after, until, limit, LOTS)) == list(expected)
    assert ids(events(twenty, after, until, limit, False, (), ())) == list(expected)
    both = frozenset({"c0", "c1"})
    page, reached = twenty.page(after, until, limit, LOTS, both, frozenset())
    assert ids(page) == list(expected)
    assert reached == (page[-1].event_id if len(page) == limit else until)


@pytest.mark.parametrize("filtered", [False, True])
def test_a_page_ends_with_the_event_that_exceeds_the_bytes(twenty: Store, filtered: bool) -> None:
    def page_of(max_bytes: int) -> list[int]:
        if not filtered:
            return ids(twenty.entries(0, 20, 20, max_bytes))
        page, reached = twenty.page(0, 20, 20, max_bytes, {"c0", "c1"}, ())
        assert reached == page[-1].event_id
        return ids(page)

    sizes = [len(entry.envelope) for entry in twenty.entries(0, 20, 20, LOTS)]
    assert page_of(1) == [1]
    assert page_of(sum(sizes[:3])) == [1, 2, 3, 4]
    assert page_of(sum(sizes[:3]) - 1) == [1, 2, 3]


def test_pages_one_after_the_other_are_the_whole_log(twenty: Store) -> None:
    seen: list[int] = []
    while page := twenty.entries(seen[-1] if seen else 0, 20, 3, 400):
        seen += ids(page)
    assert seen == list(range(1, 21))


@pytest.mark.parametrize(
    ("after", "until", "limit", "expected"),
    [(0, 20, 3, [18, 19, 20]), (0, 10, 3, [8, 9, 10]), (0, 20, 100, range(1, 21)), (9, 10, 3, [10]), (0, 0, 3, [])],
)
def test_tail_gives_the_last_events_ascending(twenty: Store, after: int, until: int, limit: int, expected: Any) -> None:
    assert ids(events(twenty, after, until, limit, True, (), ())) == list(expected)
    assert ids(events(twenty, after, until, limit, True, ("c0", "c1"), ())) == list(expected)


# 1..6
MIXED = [
    Scope("c1"),
    Scope("c1", "t1"),
    Scope("c1", "t1", "t2"),
    Scope("c2", "t3"),
    Scope(None, None, "t1"),
    Scope("c2"),
]
FILTERS = [
    ("c1", "", [1, 2, 3]),
    ("c2", "", [4, 6]),
    ("c1 c2", "", [1, 2, 3, 4, 6]),
    ("", "t1", [2, 3, 5]),
    ("", "t2", [3]),
    ("", "t1 t2", [2, 3, 5]),
    ("c1", "t1 t2", [1, 2, 3, 5]),
    ("c2", "t1", [2, 3, 4, 5, 6]),
    ("t1", "c1", []),
    ("none", "none", []),
    ("", "", []),
    ("C1 c1%", "", []),
]


@pytest.mark.parametrize(("channels", "topics", "expected"), FILTERS)
def test_a_filter_takes_events_that_touch_a_scope_once_each(
    store: Store, channels: str, topics: str, expected: list[int]
) -> None:
    append_all(store, MIXED)
    wanted = frozenset(channels.split()), frozenset(topics.split())
    assert ids(store.page(0, 99, 99, LOTS, *wanted)[0]) == expected
    assert ids(store.page(0, 99, 2, LOTS, *wanted)[0]) == expected[:2]
    if channels or topics:
        lists = [*wanted[0]] * 2, [*wanted[1]] * 2
        assert ids(events(store, 0, 99, 99, False, *lists)) == expected
        assert ids(events(store, 0, 99, 2, True, *lists)) == expected[-2:]


UNUSED = frozenset(f"unused{number}" for number in range(log.FEW_IDS))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("more", [frozenset(), UNUSED], ids=["few", "many"])
def test_a_filtered_page_is_what_a_scan_of_the_log_would_give(
    store: Store, monkeypatch: pytest.MonkeyPatch, seed: int, more: frozenset[str]
) -> None:
    monkeypatch.setattr(log, "SCAN_SECONDS", 60)  # however busy the machine is
    chance = random.Random(seed)
    names = [*"abcdefgh", None]
    scopes = [Scope("c" + chance.choice("abcd"), chance.choice(names), chance.choice(names)) for _ in range(400)]
    append_all(store, scopes)
    for _ in range(100):
        channels = {"c" + letter for letter in chance.sample("abcd", chance.randint(0, 2))} | more
        topics = set(chance.sample("abcdefgh", chance.randint(1, 6))) | more
        after, until, limit = chance.randint(0, 399), chance.randint(0, 420), chance.randint(1, 60)
        matching = [
            number
            for number, scope in enumerate(scopes, 1)
            if after < number <= until and (scope[0] in channels or {*scope[1:]} & topics)
        ]
        page, reached = store.page(after, until, limit, LOTS, channels, topics)
        assert ids(page) == matching[:limit]
        assert reached == (page[-1].event_id if len(page) == limit else until)
        values = store.read(log.event_page, after, until, limit, channels, topics)
        assert (ids(values[0]), values[1]) == (ids(page), reached)
        tail = events(store, after, until, limit, True, list(channels), list(topics))
        assert ids(tail) == matching[-limit:]


def test_a_page_of_many_ids_also_ends_by_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    append_all(store, [Scope("c", "t" if number % 150 == 0 else None) for number in range(1, 1001)])
    monkeypatch.setattr(log, "SCAN_SECONDS", 0.0)
    cursor, seen, pages = 0, list[int](), 0
    while cursor < 1000:
        page, reached = store.page(cursor, 1000, 10, LOTS, (), UNUSED | {"t"})
        assert cursor < reached <= cursor + 100
        cursor, seen, pages = reached, seen + ids(page), pages + 1
    assert seen == list(range(150, 1001, 150))
    assert pages > 10


def test_thousands_of_scopes_in_one_filter_are_fine(twenty: Store) -> None:
    many = frozenset(f"c{number}" for number in range(1, 5000))
    assert ids(twenty.page(0, 20, 4, LOTS, many, many)[0]) == [2, 4, 6, 8]
    assert ids(events(twenty, 0, 20, 4, False, sorted(many), sorted(many))) == [2, 4, 6, 8]


def test_a_scope_that_is_no_unicode_text_matches_nothing(twenty: Store) -> None:
    for more in (frozenset[str](), UNUSED):
        assert ids(twenty.page(0, 20, 2, LOTS, more | {"\ud800", "c0"}, frozenset())[0]) == [1, 3]


BROKEN = ["", "{", "not json", '{"a":1', "{'a':1}", "[1,]", "NaN", '{"a":1}{"b":2}', '"\n"', '{"a":1}\0more']


@pytest.mark.parametrize("data_json", BROKEN)
def test_data_of_another_program_that_is_no_json_becomes_null(
    store: Store, foreign: sqlite3.Connection, data_json: str
) -> None:
    foreign.execute(INSERT, ("c", None, None, data_json))
    append(store, "x", "c", data={"fine": True})
    pages = store.entries(0, 9, 9, LOTS), store.page(0, 9, 9, LOTS, frozenset("c"), frozenset())[0]
    assert [[payload(entry)["data"] for entry in page] for page in pages] == [[None, {"fine": True}]] * 2
    assert [event.data for event in events(store, 0, 9, 9, False, (), ())] == [None, {"fine": True}]


@pytest.mark.parametrize(
    "data_json", ["null", "7", '"x"', "[]", ' {"a" : 1} ', '{"a":"\u2028ü🎈"}', '{"b":1,"a":1e999}']
)
def test_data_of_another_program_goes_out_as_it_is(store: Store, foreign: sqlite3.Connection, data_json: str) -> None:
    foreign.execute(INSERT, ("c", None, None, data_json))
    (entry,) = store.entries(0, 9, 9, LOTS)
    assert entry.envelope.endswith(b'"data":' + data_json.encode() + b"}")


def test_data_of_another_program_that_is_no_utf8_does_not_stop_the_log(
    store: Store, foreign: sqlite3.Connection
) -> None:
    foreign.execute(INSERT.replace("?)", "CAST(x'22ff22' AS TEXT))"), ("c", None, None))
    append(store, "x", "c")
    assert ids(store.entries(0, 9, 9, LOTS)) == [1, 2]
    assert ids(events(store, 0, 9, 9, False, (), ())) == [1, 2]


def test_a_scope_of_another_program_that_is_no_utf8_does_not_stop_a_filter(
    store: Store, foreign: sqlite3.Connection
) -> None:
    foreign.execute(INSERT.replace("'custom', ?", "'custom', CAST(x'ff' AS TEXT)"), (None, None, "{}"))
    append(store, "x", "c")
    for more in (frozenset[str](), UNUSED):
        assert ids(store.page(0, 9, 9, LOTS, more | {"c"}, more)[0]) == [2]


def test_what_another_program_commits_is_seen_at_once(store: Store, foreign: sqlite3.Connection) -> None:
    assert store.latest() == 0
    foreign.execute(INSERT, ("c", None, None, "{}"))
    assert store.latest() == 1
    assert ids(store.entries(0, 9, 9, LOTS)) == [1]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT max(event_id) FROM events",
        "SELECT min(event_id) FROM events",
        log._PAGE,
        *log._FORWARD.values(),
        *log._BACKWARD.values(),
    ],
)
def test_a_look_into_the_log_neither_scans_nor_sorts(foreign: sqlite3.Connection, sql: str) -> None:
    plan = foreign.execute(f"EXPLAIN QUERY PLAN {sql}", (1,) * sql.count("?")).fetchall()
    assert all(row[3].startswith("SEARCH") for row in plan), plan
