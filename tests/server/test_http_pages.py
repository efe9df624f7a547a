"""Lists are pages: bounded by rows and bytes, whole when put together, and read while others are served."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from ..running_hub import Hub
from ..side_by_side import in_threads
from .calls import API, check_error, head, new_channel, new_message, new_topic, unique
from .test_http_heavy import longest_health

PAGE_BYTES = 4 << 20
LARGEST = 80_000  # of a row in these tests, with what is around it


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    running = Hub(tmp_path_factory.mktemp("hub")).start()
    yield running
    running.session.close()
    running.stop()


def insert(hub: Hub, sql: str, *values: Any) -> None:
    """As some program on the hub's host would."""
    with closing(sqlite3.connect(hub.db, timeout=20)) as connection, connection:
        connection.execute(sql, values)


def numbers(count: int) -> str:
    return f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"


def add_attachments(hub: Hub, topic_id: str, count: int, padding: int = 0) -> None:
    insert(
        hub,
        f"{numbers(count)} INSERT INTO topic_attachments SELECT 'att_' || ?1 || printf('%06d', i), ?1, 'note', NULL, "
        "json_object('i', i, 'x', replace(hex(zeroblob(?2)), '00', 'x')), 'd' || i, NULL, "
        "'2026-01-01T00:00:' || printf('%02d', i / 1000) || '.000Z' FROM n",
        topic_id,
        padding,
    )  # fmt: skip


def add_messages(hub: Hub, topic_id: str, count: int, text: str) -> None:
    channel_id = new_message(hub, topic_id)["channel_id"]
    insert(
        hub,
        f"{numbers(count)} INSERT INTO messages (id, topic_id, channel_id, sender, content_raw, version, created_at) "
        "SELECT 'msg_00' || ?1 || printf('%06d', i), ?1, ?2, 's', ?3, 1, 't' FROM n",
        topic_id,
        channel_id,
        text,
    )


def pages(hub: Hub, path: str, rows: str, cursor: str, **query: Any) -> list[list[dict[str, Any]]]:
    """All pages, from the first on."""
    found: list[list[dict[str, Any]]] = []
    while True:
        answer = hub.call("GET", API + path, params=query)
        assert answer.status_code == 200, answer.text
        assert len(answer.content) < PAGE_BYTES + LARGEST + 1000
        found.append(answer.json()[rows])
        if not answer.json()["has_more"]:
            return found
        query[cursor] = found[-1][-1]["id"]


def test_channels_come_in_pages_by_name(hub: Hub) -> None:
    made = {new_channel(hub, unique("ch")) for _ in range(7)}
    found = pages(hub, "/channels", "channels", "after_id", limit=3)
    assert [len(page) for page in found[:-1]] == [3] * (len(found) - 1)
    rows = [row for page in found for row in page]
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    assert made <= {row["id"] for row in rows}
    assert hub.call("GET", f"{API}/channels").json()["channels"] == rows
    check_error(hub.call("GET", f"{API}/channels?after_id=ch_nobody"), 404, "NOT_FOUND")


def test_attachments_come_in_pages_newest_first(hub: Hub) -> None:
    topic_id = new_topic(hub)
    add_attachments(hub, topic_id, 2500)
    path = f"/topics/{topic_id}/attachments"
    found = pages(hub, path, "attachments", "before_id")
    assert [len(page) for page in found] == [1000, 1000, 500]
    assert [row["value_json"]["i"] for page in found for row in page] == list(range(2500, 0, -1))
    assert pages(hub, path, "attachments", "before_id", kind="url") == [[]]
    others = pages(hub, path, "attachments", "before_id", kind="note", limit=700)
    assert [row["id"] for page in others for row in page] == [row["id"] for page in found for row in page]
    check_error(hub.call("GET", f"{API}{path}?before_id=att_nobody"), 404, "NOT_FOUND")


def test_a_page_of_attachments_ends_by_its_bytes(hub: Hub) -> None:
    topic_id = new_topic(hub)
    add_attachments(hub, topic_id, 600, 16_000)
    found = pages(hub, f"/topics/{topic_id}/attachments", "attachments", "before_id")
    assert len(found) == 3
    assert [row["value_json"]["i"] for page in found for row in page] == list(range(600, 0, -1))


@pytest.mark.parametrize("text", ["x" * 65_536, "é" * 32_768, "\0" * 10_900], ids=["ascii", "é", "escaped"])
def test_a_page_of_messages_ends_by_its_bytes_both_ways(hub: Hub, text: str) -> None:
    topic_id = new_topic(hub)
    add_messages(hub, topic_id, 150, text)
    found = pages(hub, "/messages", "messages", "before_id", topic_id=topic_id, limit=1000)
    assert len(found) == 3
    ids = [row["id"] for page in found for row in page]
    assert (len(ids), ids) == (151, sorted(ids, reverse=True))
    upwards: list[str] = []
    after, more = "msg_0", True
    while more:
        query = {"topic_id": topic_id, "limit": 1000, "after_id": after}
        answer = hub.call("GET", f"{API}/messages", params=query).json()
        more, page = answer["has_more"], [row["id"] for row in answer["messages"]]
        upwards, after = page + upwards, page[0]
    assert upwards == ids


def test_one_row_larger_than_all_else_is_a_page_of_its_own(hub: Hub) -> None:
    topic_id = new_topic(hub)
    message = new_message(hub, topic_id)
    insert(
        hub, "UPDATE messages SET sender = replace(hex(zeroblob(5000000)), '00', 'x') WHERE id = ?", message["id"]
    )  # fmt: skip
    new_message(hub, topic_id)
    first = hub.call("GET", f"{API}/messages?topic_id={topic_id}").json()
    assert (len(first["messages"]), first["has_more"]) == (2, False)
    new_message(hub, topic_id)
    insert(hub, "UPDATE messages SET sender = replace(hex(zeroblob(5000000)), '00', 'x') WHERE topic_id = ?", topic_id)
    assert [len(page) for page in _all(hub, topic_id)] == [1, 1, 1]


def _all(hub: Hub, topic_id: str) -> Iterator[list[Any]]:
    before: dict[str, str] = {}
    more = True
    while more:
        answer = hub.call("GET", f"{API}/messages", params={"topic_id": topic_id, **before}).json()
        more, before = answer["has_more"], {"before_id": answer["messages"][-1]["id"]}
        yield answer["messages"]


def test_a_page_of_events_ends_by_its_bytes(hub: Hub) -> None:
    topic_id = new_topic(hub)
    channel_id = new_message(hub, topic_id)["channel_id"]
    start = head(hub)
    insert(
        hub,
        f"{numbers(150)} INSERT INTO events "
        "(ts, name, scope_channel_id, scope_topic_id, entity_type, entity_id, data_json) "
        "SELECT 't', 'custom', ?, ?, 'x', 'x', json_quote(replace(hex(zeroblob(60000)), '00', 'x')) FROM n",
        channel_id,
        topic_id,
    )  # fmt: skip
    for scope in ({}, {"topic_id": topic_id}):
        after, sizes, ids = start, [], []
        while True:
            answer = hub.call("GET", f"{API}/events", params={"after": after, "limit": 1000, **scope})
            assert len(answer.content) < PAGE_BYTES + LARGEST
            page = answer.json()
            sizes.append(len(page["events"]))
            ids += [event["event_id"] for event in page["events"]]
            if not page["has_more"]:
                break
            after = ids[-1]
        assert (len(sizes), ids) == (3, list(range(start + 1, start + 151)))
        tail = hub.call("GET", f"{API}/events", params={"tail": 150, **scope}).json()
        assert tail["has_more"]
        last = [event["event_id"] for event in tail["events"]]
        assert 60 < len(last) < 80
        assert last == list(range(start + 151 - len(last), start + 151))


@pytest.mark.slow
def test_large_lists_hold_up_nobody_and_take_little_memory(hub: Hub) -> None:
    many, large = new_topic(hub), new_topic(hub)
    add_attachments(hub, many, 50_000)
    add_messages(hub, large, 1000, "x" * 65_536)
    (worker,) = hub.workers()
    before = _memory(worker)
    paths = [
        f"/topics/{many}/attachments?kind=rare",
        f"/topics/{many}/attachments",
        f"/messages?topic_id={large}&limit=1000",
        f"/search?q=xx&topic_id={large}&limit=1000",
    ]  # fmt: skip

    def read(number: int) -> int:
        path = API + paths[number % len(paths)]
        return sum(_status(hub, path) == 200 for _ in range(5))

    with longest_health(hub) as longest:
        assert in_threads(4, read) == [5] * 4
    assert longest() < 1
    assert _memory(worker) - before < 150 << 20


def _status(hub: Hub, path: str) -> int:
    headers = {"Authorization": f"Bearer {hub.settings['AUTH_TOKEN']}"}
    return requests.get(hub.url + path, headers=headers, timeout=30).status_code


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
def test_slow_searches_hold_up_neither_quick_ones_nor_the_page_nor_lists(hub: Hub) -> None:
    slow = new_topic(hub)
    add_messages(hub, slow, 3000, "needle in the hay " * 3000)
    topic_id = new_topic(hub)
    new_message(hub, topic_id, "a pin")

    def search(_number: int) -> int:
        return _status(hub, f"{API}/search?q=nothing-like-this&topic_id={slow}")

    def quick(_number: int) -> list[float]:
        took = []
        for path in (
            f"{API}/search?q=pin&topic_id={topic_id}", "/ui/data/topics", "/ui/data/status", f"{API}/channels",
        ) * 3:  # fmt: skip
            started = time.monotonic()
            assert _status(hub, path) == 200
            took.append(time.monotonic() - started)
        return took

    results = in_threads(7, lambda number: quick(number) if number == 6 else search(number))
    assert max(results[6]) < 4, json.dumps(results)
    assert set(results[:6]) <= {200, 503}


def test_totals_are_exact_and_read_once_for_all_who_look(hub: Hub) -> None:
    with closing(sqlite3.connect(hub.db)) as connection:
        (messages,) = connection.execute("SELECT count(*) FROM messages").fetchone()
        (attachments,) = connection.execute("SELECT count(*) FROM topic_attachments").fetchone()
    time.sleep(1.1)  # what was read before is forgotten
    status = hub.call("GET", "/ui/data/status").json()
    assert (status["messages"], status["attachments"]) == (messages, attachments)
