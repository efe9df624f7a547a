"""Topics: made, renamed, listed by what happened last."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ..running_hub import Hub
from .calls import API, NOWHERE, TIMESTAMP, check_error, events_of, head, new_channel, new_topic, unique


def create(hub: Hub, **body: Any) -> Any:
    return hub.call("POST", f"{API}/topics", body)


def rename(hub: Hub, topic_id: str, **body: Any) -> Any:
    return hub.call("PATCH", f"{API}/topics/{topic_id}", body)


def listed(hub: Hub, channel_id: str, **query: Any) -> Any:
    return hub.call("GET", f"{API}/channels/{channel_id}/topics", params=query)


def ids(answer: Any) -> list[str]:
    return [topic["id"] for topic in answer.json()["topics"]]


BAD_TITLES = [None, "", "  \n", "x" * 201, "😀" * 201, 7, False, ["x"], {"a": 1}]


def test_a_topic_is_made_and_answered_whole(hub: Hub) -> None:
    channel_id, title = new_channel(hub), unique()
    answer = create(hub, channel_id=channel_id, title=title)
    assert answer.status_code == 201
    assert set(answer.json()) == {"topic", "event_id"}
    topic = answer.json()["topic"]
    assert list(topic) == ["id", "channel_id", "title", "created_at", "updated_at"]
    assert (topic["channel_id"], topic["title"]) == (channel_id, title)
    assert topic["created_at"] == topic["updated_at"]
    assert re.fullmatch(TIMESTAMP, topic["created_at"])
    assert re.fullmatch(r"topic_[0-9a-z]{9,}", topic["id"])


def test_making_a_topic_appends_its_event(hub: Hub) -> None:
    answer = create(hub, channel_id=new_channel(hub), title=unique()).json()
    (event,) = events_of(hub, after=answer["event_id"] - 1, limit=1)
    topic = answer["topic"]
    assert (event["event_id"], event["name"]) == (answer["event_id"], "topic.created")
    assert event["scope"] == {"channel_id": topic["channel_id"], "topic_id": topic["id"], "topic_id2": None}
    assert event["data_json"] == {"topic": topic}


def test_a_topic_needs_its_channel(hub: Hub) -> None:
    check_error(create(hub, channel_id=NOWHERE["channel"], title="x"), 404, "NOT_FOUND")


@pytest.mark.parametrize("channel_id", [None, 7, ["ch_x"], {}, True], ids=repr)
def test_a_channel_id_that_is_no_string_is_refused(hub: Hub, channel_id: Any) -> None:
    check_error(create(hub, channel_id=channel_id, title="x"), 400, "INVALID_INPUT")


def test_a_duplicate_title_in_a_channel_is_refused(hub: Hub) -> None:
    channel_id, title = new_channel(hub), unique("private-title")
    made = create(hub, channel_id=channel_id, title=title).json()["topic"]["id"]
    before = head(hub)
    body = check_error(create(hub, channel_id=channel_id, title=title), 400, "INVALID_INPUT")
    assert body["details"] == {"reason": "ALREADY_EXISTS", "id": made}
    assert title not in str(body)
    assert head(hub) == before


def test_the_same_title_in_two_channels_is_fine(hub: Hub) -> None:
    assert new_topic(hub, title="the same") != new_topic(hub, title="the same")


@pytest.mark.parametrize("title", ["x", "é" * 200, "😀" * 200], ids=len)
def test_titles_of_1_to_200_characters_are_taken(hub: Hub, title: str) -> None:
    answer = create(hub, channel_id=new_channel(hub), title=title)
    assert answer.status_code == 201, answer.text
    assert answer.json()["topic"]["title"] == title


@pytest.mark.parametrize("title", BAD_TITLES, ids=repr)
def test_a_bad_title_is_refused(hub: Hub, title: Any) -> None:
    check_error(create(hub, channel_id=new_channel(hub), title=title), 400, "INVALID_INPUT")


@pytest.mark.parametrize("title", BAD_TITLES, ids=repr)
def test_renaming_to_a_bad_title_is_refused(hub: Hub, title: Any) -> None:
    check_error(rename(hub, new_topic(hub), title=title), 400, "INVALID_INPUT")


@pytest.mark.parametrize("missing", ["channel_id", "title"])
def test_a_missing_field_is_refused(hub: Hub, missing: str) -> None:
    body = {"channel_id": new_channel(hub), "title": "x"}
    del body[missing]
    check_error(create(hub, **body), 400, "INVALID_INPUT")


def test_renaming_keeps_the_id_and_appends_an_event(hub: Hub) -> None:
    topic = create(hub, channel_id=new_channel(hub), title="old").json()["topic"]
    answer = rename(hub, topic["id"], title="new")
    assert answer.status_code == 200
    renamed = answer.json()["topic"]
    assert {**renamed, "updated_at": ""} == {**topic, "title": "new", "updated_at": ""}
    (event,) = events_of(hub, after=answer.json()["event_id"] - 1, limit=1)
    assert (event["event_id"], event["name"]) == (answer.json()["event_id"], "topic.renamed")
    assert event["data_json"] == {"topic_id": topic["id"], "old_title": "old", "new_title": "new"}


def test_renaming_to_a_title_of_the_channel_is_refused(hub: Hub) -> None:
    channel_id = new_channel(hub)
    new_topic(hub, channel_id, "taken")
    topic_id = new_topic(hub, channel_id, "free")
    check_error(rename(hub, topic_id, title="taken"), 400, "INVALID_INPUT")
    assert sorted(topic["title"] for topic in listed(hub, channel_id).json()["topics"]) == ["free", "taken"]


def test_the_title_left_by_a_rename_is_free_again(hub: Hub) -> None:
    channel_id = new_channel(hub)
    rename(hub, new_topic(hub, channel_id, "left"), title="went on")
    assert create(hub, channel_id=channel_id, title="left").status_code == 201


def test_renaming_an_unknown_topic_is_not_found(hub: Hub) -> None:
    check_error(rename(hub, NOWHERE["topic"], title="x"), 404, "NOT_FOUND")


def test_renaming_without_a_title_is_refused(hub: Hub) -> None:
    check_error(rename(hub, new_topic(hub)), 400, "INVALID_INPUT")


def test_the_topics_of_an_unknown_channel_are_not_found(hub: Hub) -> None:
    check_error(listed(hub, NOWHERE["channel"]), 404, "NOT_FOUND")


def test_a_new_channel_has_no_topics(hub: Hub) -> None:
    answer = listed(hub, new_channel(hub))
    assert answer.status_code == 200
    assert answer.json() == {"topics": [], "has_more": False}


def test_topics_are_listed_newest_first(hub: Hub) -> None:
    channel_id = new_channel(hub)
    made = [new_topic(hub, channel_id) for _ in range(3)]
    assert ids(listed(hub, channel_id)) == made[::-1]


def test_a_message_brings_its_topic_to_the_top(hub: Hub) -> None:
    channel_id = new_channel(hub)
    first, second = new_topic(hub, channel_id), new_topic(hub, channel_id)
    message = hub.post(first)["message"]
    top = listed(hub, channel_id).json()["topics"][0]
    if top["id"] == second:  # both in one millisecond
        assert top["updated_at"] == message["created_at"]
    else:
        assert (top["id"], top["updated_at"]) == (first, message["created_at"])


@pytest.mark.parametrize(
    ("query", "expected", "has_more"),
    [
        ({}, [4, 3, 2, 1, 0], False),
        ({"limit": 2}, [4, 3], True),
        ({"limit": 2, "offset": 2}, [2, 1], True),
        ({"limit": 2, "offset": 3}, [1, 0], False),
        ({"limit": 5}, [4, 3, 2, 1, 0], False),
        ({"offset": 4}, [0], False),
        ({"offset": 99}, [], False),
    ],
    ids=str,
)
def test_topics_come_in_pages(hub: Hub, query: dict[str, int], expected: list[int], has_more: bool) -> None:
    channel_id = new_channel(hub)
    made = [new_topic(hub, channel_id) for _ in range(5)]
    answer = listed(hub, channel_id, **query)
    assert ids(answer) == [made[index] for index in expected]
    assert answer.json()["has_more"] is has_more


def test_a_page_of_topics_holds_50_by_default(hub: Hub) -> None:
    channel_id = new_channel(hub)
    for _ in range(51):
        new_topic(hub, channel_id)
    answer = listed(hub, channel_id).json()
    assert (len(answer["topics"]), answer["has_more"]) == (50, True)
