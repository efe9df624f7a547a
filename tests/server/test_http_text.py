"""Text that people give: nothing blank, nothing without an end, no names that look alike; ids are ids."""

from __future__ import annotations

from typing import Any

import pytest

from ..running_hub import Hub
from .calls import API, WRITES, check_error, filled, head, new_channel, new_message, new_place, new_topic, unique

CHANNEL, TOPIC, RENAME, MESSAGE, EDIT, DELETE, ATTACHMENT = (WRITES[at] for at in (1, 2, 3, 4, 5, 6, 8))
FIELDS = [
    (CHANNEL, "name", 100),
    (CHANNEL, "description", 4096),
    (TOPIC, "title", 200),
    (RENAME, "title", 200),
    (MESSAGE, "sender", 200),
    (DELETE, "actor", 200),
    (ATTACHMENT, "kind", 200),
    (ATTACHMENT, "key", 1024),
]
LABELS = [row for row in FIELDS if row[1] not in ("description", "key")]


def call(hub: Hub, row: Any, **fields: Any) -> Any:
    place = new_place(hub)
    return hub.call(row.method, filled(row.path, place), {**filled(row.body, place), **fields})


@pytest.mark.parametrize(("row", "field", "most"), FIELDS, ids=str)
def test_every_field_has_a_maximum_and_says_it(hub: Hub, row: Any, field: str, most: int) -> None:
    longest = unique("long").ljust(most, "é")
    assert call(hub, row, **{field: longest}).status_code == row.status
    answer = check_error(call(hub, row, **{field: longest + "é"}), 400, "INVALID_INPUT")
    assert answer["error"] == f"{field} must be at most {most} characters"


@pytest.mark.parametrize(("row", "field"), [(MESSAGE, "topic_id"), (TOPIC, "channel_id")], ids=str)
def test_an_id_has_a_maximum(hub: Hub, row: Any, field: str) -> None:
    check_error(call(hub, row, **{field: "x" * 64}), 404, "NOT_FOUND")
    check_error(call(hub, row, **{field: "x" * 65}), 400, "INVALID_INPUT")


@pytest.mark.parametrize(
    "value", ["\u200b", "\u3164\ufe0f", "a\nb", "a\tb", "a\u202eb", "\x1b[1m", "\u2028a"], ids=ascii
)
@pytest.mark.parametrize(("row", "field", "_most"), LABELS, ids=str)
def test_names_are_visible_and_in_one_line(hub: Hub, row: Any, field: str, _most: int, value: str) -> None:
    check_error(call(hub, row, **{field: value}), 400, "INVALID_INPUT")


@pytest.mark.parametrize(
    "content", ["", " ", "\r\n \t", "\u200b\u200d", "\u2028\u2029\ufeff", "\u3000\u2800"], ids=ascii
)
def test_a_blank_message_is_refused_new_or_edited(hub: Hub, content: str) -> None:
    message = new_message(hub)
    before = head(hub)
    body = {"topic_id": message["topic_id"], "sender": "ann", "content_raw": content}
    check_error(hub.call("POST", f"{API}/messages", body), 400, "INVALID_INPUT")
    body = {"op": "edit", "content_raw": content}
    check_error(hub.call("PATCH", f"{API}/messages/{message['id']}", body), 400, "INVALID_INPUT")
    assert head(hub) == before


def test_names_that_look_the_same_are_one(hub: Hub) -> None:
    name = unique("café")
    channel_id = new_channel(hub, name)
    topic_id = new_topic(hub, channel_id, name)
    for twin in (name.replace("é", "e\u0301"), f" {name}", name + "\u200b"):
        answer = check_error(hub.call("POST", f"{API}/channels", {"name": twin}), 400, "INVALID_INPUT")
        assert answer["details"] == {"reason": "ALREADY_EXISTS", "id": channel_id}
        answer = check_error(
            hub.call("POST", f"{API}/topics", {"channel_id": channel_id, "title": twin}), 400, "INVALID_INPUT"
        )
        assert answer["details"] == {"reason": "ALREADY_EXISTS", "id": topic_id}


QUERIES = [
    ("/events", "channel_id"),
    ("/events", "topic_id"),
    ("/messages", "channel_id"),
    ("/messages", "topic_id"),
    ("/messages?topic_id={topic}", "before_id"),
    ("/messages?topic_id={topic}", "after_id"),
    ("/search?q=hi", "channel_id"),
    ("/search?q=hi", "topic_id"),
    ("/search?q=hi", "before_id"),
    ("/channels", "after_id"),
    ("/topics/{topic}/attachments", "before_id"),
]


@pytest.mark.parametrize("value", ["a b", "ch_1,ch_2", "x" * 65, "ch_ü", "%", "ch_1\n", "'"], ids=ascii)
@pytest.mark.parametrize(("path", "name"), QUERIES, ids=str)
def test_a_malformed_id_in_the_query_is_refused(hub: Hub, path: str, name: str, value: str) -> None:
    answer = hub.call("GET", API + filled(path, new_place(hub)), params={name: value})
    assert name in check_error(answer, 400, "INVALID_INPUT")["error"]


def test_one_malformed_id_among_good_ones_is_refused(hub: Hub) -> None:
    place = new_place(hub)
    answer = hub.call("GET", f"{API}/events", params={"topic_id": [place.topic, "a b"]})
    check_error(answer, 400, "INVALID_INPUT")


def test_the_page_refuses_them_too(hub: Hub) -> None:
    check_error(hub.call("GET", "/ui/data/topics", params={"channel_id": "a b"}), 400, "INVALID_INPUT")


def test_ids_that_nobody_has_are_no_mistake(hub: Hub) -> None:
    assert hub.call("GET", f"{API}/events?topic_id=topic_nobody").json()["events"] == []
