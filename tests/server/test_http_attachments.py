"""Attachments: posted, idempotent by dedupe key, and made from the URLs of messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from ..running_hub import Hub
from .calls import API, NOWHERE, TIMESTAMP, check_error, events_of, head, new_message, new_topic

KEYS = ["id", "topic_id", "kind", "key", "value_json", "dedupe_key", "source_message_id", "created_at"]
URL = "https://example.org/page"


def attach(hub: Hub, topic_id: str, **body: Any) -> Any:
    body = {"kind": "note", "value_json": {"a": 1}, **body}
    return hub.call("POST", f"{API}/topics/{topic_id}/attachments", body)


def attached(hub: Hub, topic_id: str, **query: Any) -> list[dict[str, Any]]:
    answer = hub.call("GET", f"{API}/topics/{topic_id}/attachments", params=query)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"attachments", "has_more"}
    return list(answer.json()["attachments"])


def test_an_attachment_is_made_and_answered_whole(hub: Hub) -> None:
    message = new_message(hub)
    value = {"z": [1, 2.5, None, True], "a": {"é": "日本語"}}
    answer = attach(
        hub, message["topic_id"], key="k", value_json=value, dedupe_key="d", source_message_id=message["id"]
    )
    assert answer.status_code == 201
    assert set(answer.json()) == {"attachment", "event_id"}
    row = answer.json()["attachment"]
    assert list(row) == KEYS
    assert (row["topic_id"], row["kind"], row["key"], row["value_json"]) == (message["topic_id"], "note", "k", value)
    assert (row["dedupe_key"], row["source_message_id"]) == ("d", message["id"])
    assert list(row["value_json"]) == ["z", "a"]
    assert re.fullmatch(TIMESTAMP, row["created_at"])
    assert re.fullmatch(r"att_[0-9a-z]{9,60}", row["id"])
    assert attached(hub, message["topic_id"]) == [row]


def test_attaching_appends_an_event(hub: Hub) -> None:
    answer = attach(hub, new_topic(hub)).json()
    (event,) = events_of(hub, after=answer["event_id"] - 1, limit=1)
    assert (event["event_id"], event["name"]) == (answer["event_id"], "topic.attachment_added")
    assert event["entity"] == {"type": "attachment", "id": answer["attachment"]["id"]}
    assert event["scope"]["topic_id"] == answer["attachment"]["topic_id"]
    assert event["data_json"] == {"attachment": answer["attachment"]}


@pytest.mark.parametrize("extra", [{}, {"key": None, "source_message_id": None, "dedupe_key": None}], ids=str)
def test_optional_fields_may_be_absent_or_null(hub: Hub, extra: dict[str, Any]) -> None:
    answer = attach(hub, new_topic(hub), **extra)
    assert answer.status_code == 201, answer.text
    row = answer.json()["attachment"]
    assert (row["key"], row["source_message_id"], row["dedupe_key"]) == (None, None, '{"a":1}')


def test_without_a_dedupe_key_the_compact_json_in_the_order_given_stands_in(hub: Hub) -> None:
    topic_id = new_topic(hub)
    row = attach(hub, topic_id, value_json={"b": [1, {"c": None}], "a": "é"}).json()["attachment"]
    assert row["dedupe_key"] == '{"b":[1,{"c":null}],"a":"é"}'
    assert attach(hub, topic_id, value_json={"b": [1, {"c": None}], "a": "é"}).status_code == 200
    assert attach(hub, topic_id, value_json={"a": "é", "b": [1, {"c": None}]}).status_code == 201


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ({}, {}, 200),
        ({"dedupe_key": "d"}, {"dedupe_key": "d"}, 200),
        ({"dedupe_key": "d"}, {"dedupe_key": "d", "value_json": {"other": 2}}, 200),
        ({"key": "k", "dedupe_key": "d"}, {"key": "k", "dedupe_key": "d"}, 200),
        ({"dedupe_key": "d"}, {"dedupe_key": "e"}, 201),
        ({"dedupe_key": "d"}, {"dedupe_key": "d", "key": "k"}, 201),
        ({"dedupe_key": "d"}, {"dedupe_key": "d", "kind": "file"}, 201),
        ({"key": "k", "dedupe_key": "d"}, {"key": "l", "dedupe_key": "d"}, 201),
        ({}, {"value_json": {"a": 2}}, 201),
    ],
    ids=str,
)
def test_topic_kind_key_and_dedupe_key_decide_what_is_the_same(
    hub: Hub, first: dict[str, Any], second: dict[str, Any], status: int
) -> None:
    topic_id = new_topic(hub)
    old = attach(hub, topic_id, **first).json()["attachment"]
    before = head(hub)
    answer = attach(hub, topic_id, **second)
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"attachment": old, "event_id": None}
    assert head(hub) == before + (status == 201)
    assert len(attached(hub, topic_id)) == 1 + (status == 201)


def test_the_same_attachment_on_two_topics_is_two(hub: Hub) -> None:
    assert [attach(hub, new_topic(hub), dedupe_key="d").status_code for _ in range(2)] == [201, 201]


def test_attachments_are_listed_newest_first_and_by_kind(hub: Hub) -> None:
    topic_id = new_topic(hub)
    made = [
        attach(hub, topic_id, kind=kind, dedupe_key=str(number)).json()["attachment"]
        for number, kind in enumerate(["note", "file", "note"])
    ]
    assert attached(hub, topic_id) == made[::-1]
    assert attached(hub, topic_id, kind="note") == [made[2], made[0]]
    assert attached(hub, topic_id, kind="nothing") == []


def test_an_unknown_topic_is_not_found(hub: Hub) -> None:
    check_error(attach(hub, NOWHERE["topic"]), 404, "NOT_FOUND")
    check_error(hub.call("GET", f"{API}/topics/{NOWHERE['topic']}/attachments"), 404, "NOT_FOUND")


def test_an_unknown_source_message_is_not_found(hub: Hub) -> None:
    topic_id = new_topic(hub)
    check_error(attach(hub, topic_id, source_message_id=NOWHERE["message"]), 404, "NOT_FOUND")
    assert attached(hub, topic_id) == []


@pytest.mark.parametrize(
    "body",
    [
        {"kind": None},
        {"kind": ""},
        {"kind": 7},
        {"kind": ["note"]},
        {"key": 7},
        {"key": ["k"]},
        {"dedupe_key": 7},
        {"dedupe_key": {}},
        {"source_message_id": 7},
        {"value_json": None},
        {"value_json": "text"},
        {"value_json": '{"a":1}'},
        {"value_json": 7},
        {"value_json": True},
        {"value_json": [1]},
    ],
    ids=str,
)
def test_a_bad_attachment_is_refused(hub: Hub, body: dict[str, Any]) -> None:
    topic_id = new_topic(hub)
    check_error(attach(hub, topic_id, **body), 400, "INVALID_INPUT")
    assert attached(hub, topic_id) == []


@pytest.mark.parametrize("missing", ["kind", "value_json"])
def test_a_missing_field_is_refused(hub: Hub, missing: str) -> None:
    body = {"kind": "note", "value_json": {}}
    del body[missing]
    answer = hub.call("POST", f"{API}/topics/{new_topic(hub)}/attachments", body)
    check_error(answer, 400, "INVALID_INPUT")


@pytest.mark.parametrize("kind", ["url", "link"])
@pytest.mark.parametrize(
    "value",
    [
        {"url": URL},
        {"url": "http://example.org"},
        {"url": (URL + "x" * 2048)[:2048]},
        {"url": URL, "title": "t" * 500, "description": "d" * 500},
        {"url": URL, "title": "Café & co", "anything": {"else": 1}},
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_good_link_is_taken(hub: Hub, kind: str, value: dict[str, Any]) -> None:
    answer = attach(hub, new_topic(hub), kind=kind, value_json=value)
    assert answer.status_code == 201, answer.text
    assert answer.json()["attachment"]["value_json"] == value


@pytest.mark.parametrize("kind", ["url", "link"])
@pytest.mark.parametrize(
    "value",
    [
        {},
        {"url": None},
        {"url": 7},
        {"url": [URL]},
        {"url": ""},
        {"url": "example.org"},
        {"url": "ftp://example.org/"},
        {"url": "file:///etc/passwd"},
        {"url": "javascript:alert(1)"},
        {"url": "data:text/html,hi"},
        {"url": URL + "?to=javascript:alert(1)"},
        {"url": URL + "?to=JavaScript:alert(1)"},
        {"url": URL + "<b>"},
        {"url": URL + ">"},
        {"url": URL + "\n"},
        {"url": URL + "\x00"},
        {"url": URL + "\x7f"},
        {"url": (URL + "x" * 2049)[:2049]},
        {"url": URL, "title": 7},
        {"url": URL, "title": "t" * 501},
        {"url": URL, "title": "<script>"},
        {"url": URL, "title": "javascript:x"},
        {"url": URL, "title": "data:text/html;base64,eA=="},
        {"url": URL, "title": "bell \x07"},
        {"url": URL, "description": ["d"]},
        {"url": URL, "description": "d" * 501},
        {"url": URL, "description": "a > b"},
    ],
    ids=lambda value: str(value)[:70],
)
def test_a_bad_link_is_refused(hub: Hub, kind: str, value: dict[str, Any]) -> None:
    topic_id = new_topic(hub)
    check_error(attach(hub, topic_id, kind=kind, value_json=value), 400, "INVALID_INPUT")
    assert attached(hub, topic_id) == []


def test_other_kinds_take_any_object(hub: Hub) -> None:
    value = {"url": "javascript:alert(1)", "html": "<b>", "": {}}
    assert attach(hub, new_topic(hub), kind="raw", value_json=value).status_code == 201


@pytest.mark.parametrize(
    ("content", "urls"),
    [
        ("nothing here, not even ftp://example.org", []),
        (f"see {URL}", [URL]),
        (f"see {URL}.", [URL]),
        (f"({URL})!?", [URL]),
        (f"{URL},;: then http://example.net/a?b=c#d", [URL, "http://example.net/a?b=c#d"]),
        (f"{URL} and again {URL}", [URL]),
        ("https:// alone", []),
    ],
    ids=repr,
)
def test_urls_of_a_message_become_attachments(hub: Hub, content: str, urls: list[str]) -> None:
    message = new_message(hub, content=content)
    rows = attached(hub, message["topic_id"])
    assert sorted(row["dedupe_key"] for row in rows) == sorted(urls)
    for row in rows:
        assert (row["kind"], row["value_json"], row["source_message_id"]) == (
            "url", {"url": row["dedupe_key"]}, message["id"],
        )  # fmt: skip


def test_a_url_event_follows_the_event_of_its_message(hub: Hub) -> None:
    answer = hub.post(new_topic(hub), f"see {URL}")
    found = events_of(hub, after=answer["event_id"] - 1)
    assert [event["name"] for event in found] == ["message.created", "topic.attachment_added"]


def test_a_url_the_topic_has_already_is_silent(hub: Hub) -> None:
    first = new_message(hub, content=URL)
    before = head(hub)
    new_message(hub, first["topic_id"], URL)
    assert head(hub) == before + 1
    assert [row["source_message_id"] for row in attached(hub, first["topic_id"])] == [first["id"]]


def test_block_patterns_go_before_allow_patterns(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(URL_ALLOW=r"^https://[a-z.]*good\.example/", URL_BLOCK="secret")
    urls = ["https://good.example/a", "https://good.example/secret", "https://bad.example/a"]
    message = new_message(hub, content=" ".join(urls))
    assert [row["dedupe_key"] for row in attached(hub, message["topic_id"])] == urls[:1]
    assert message["content_raw"] == " ".join(urls)
