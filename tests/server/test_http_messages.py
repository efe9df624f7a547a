"""Messages over HTTP: post, page."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from ..running_hub import TOKEN, Hub
from .calls import API, NOWHERE, TIMESTAMP, check_error, events_of, head, new_channel, new_message, new_topic
from .message_calls import event, ids, page, read, two_topics

KEYS = [
    "id", "topic_id", "channel_id", "sender", "content_raw", "version", "created_at", "edited_at", "deleted_at",
    "deleted_by", "agent_id",
]  # fmt: skip


def create(hub: Hub, **body: Any) -> Any:
    return hub.call("POST", f"{API}/messages", body)


def test_a_message_is_posted_and_answered_whole(hub: Hub) -> None:
    channel_id = new_channel(hub)
    topic_id = new_topic(hub, channel_id)
    answer = create(hub, topic_id=topic_id, sender="ann", content_raw="hello")
    assert answer.status_code == 201
    assert {"message", "event_id"} <= set(answer.json())
    message = answer.json()["message"]
    assert list(message) == KEYS
    assert message["topic_id"] == topic_id
    assert message["channel_id"] == channel_id
    assert (message["sender"], message["content_raw"], message["version"]) == ("ann", "hello", 1)
    assert (message["edited_at"], message["deleted_at"], message["deleted_by"]) == (None, None, None)
    assert re.fullmatch(TIMESTAMP, message["created_at"])
    assert read(hub, topic_id, message["id"]) == message


def test_posting_appends_an_event_that_holds_the_message(hub: Hub) -> None:
    answer = hub.post(new_topic(hub))
    found = event(hub, answer["event_id"])
    message = answer["message"]
    assert found["name"] == "message.created"
    assert found["scope"] == {
        "channel_id": message["channel_id"], "topic_id": message["topic_id"], "topic_id2": None,
    }  # fmt: skip
    assert found["entity"] == {"type": "message", "id": message["id"]}
    assert found["data_json"] == {"message": message}


def test_message_ids_have_the_promised_shape_and_only_grow(hub: Hub) -> None:
    topic_id = new_topic(hub)
    made = [new_message(hub, topic_id)["id"] for _ in range(20)]
    assert made == sorted(set(made))
    assert all(re.fullmatch(r"msg_[0-9a-z]{9,60}", message_id) for message_id in made)


def test_message_ids_grow_in_commit_order_under_concurrent_posts(hub: Hub) -> None:
    topic_id = new_topic(hub)
    start = head(hub)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: _post_alone(hub, topic_id, str(number)), range(80)))
    posted = [found["entity"]["id"] for found in events_of(hub, after=start, topic_id=topic_id)]
    assert len(posted) == 80
    assert posted == sorted(posted)


def _post_alone(hub: Hub, topic_id: str, content: str) -> None:
    body = {"topic_id": topic_id, "sender": "ann", "content_raw": content}
    answer = requests.post(
        f"{hub.url}{API}/messages", json=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
    )
    assert answer.status_code == 201, answer.text


def test_a_message_needs_its_topic(hub: Hub) -> None:
    check_error(create(hub, topic_id=NOWHERE["topic"], sender="ann", content_raw="x"), 404, "NOT_FOUND")


@pytest.mark.parametrize("field", ["topic_id", "sender", "content_raw"])
@pytest.mark.parametrize("value", ["absent", None, 7, True, ["x"], {"a": 1}], ids=repr)
def test_a_field_that_is_missing_or_no_string_is_refused(hub: Hub, field: str, value: Any) -> None:
    body = {"topic_id": new_topic(hub), "sender": "ann", "content_raw": "x", field: value}
    if value == "absent":
        del body[field]
    check_error(create(hub, **body), 400, "INVALID_INPUT")


def test_an_empty_sender_is_refused(hub: Hub) -> None:
    check_error(create(hub, topic_id=new_topic(hub), sender="", content_raw="x"), 400, "INVALID_INPUT")


@pytest.mark.parametrize(
    ("query", "expected", "has_more"),
    [
        ({}, [4, 3, 2, 1, 0], False),
        ({"limit": 2}, [4, 3], True),
        ({"limit": 5}, [4, 3, 2, 1, 0], False),
        ({"before_id": 3}, [2, 1, 0], False),
        ({"before_id": 3, "limit": 2}, [2, 1], True),
        ({"before_id": 0}, [], False),
        ({"after_id": 1}, [4, 3, 2], False),
        ({"after_id": 0, "limit": 2}, [2, 1], True),
        ({"after_id": 2, "limit": 2}, [4, 3], False),
        ({"after_id": 4}, [], False),
    ],
    ids=str,
)
def test_messages_come_in_pages_newest_first(
    hub: Hub, query: dict[str, int], expected: list[int], has_more: bool
) -> None:
    topic_id, _, made = two_topics(hub, 5)
    asked: dict[str, Any] = {key: made[value] if key.endswith("_id") else value for key, value in query.items()}
    answer = page(hub, topic_id=topic_id, **asked)
    assert ids(answer) == [made[index] for index in expected]
    assert answer.json()["has_more"] is has_more


def test_paging_forward_skips_nothing(hub: Hub) -> None:
    topic_id, _, made = two_topics(hub, 8)
    seen, more = made[:1], True
    while more:
        answer = page(hub, topic_id=topic_id, after_id=seen[-1], limit=3)
        seen += ids(answer)[::-1]
        more = answer.json()["has_more"]
    assert seen == made


def test_a_page_holds_50_messages_by_default(hub: Hub) -> None:
    topic_id, _, made = two_topics(hub, 51)
    answer = page(hub, topic_id=topic_id)
    assert ids(answer) == made[:0:-1]
    assert answer.json()["has_more"] is True


def test_a_channel_gives_the_messages_of_all_its_topics(hub: Hub) -> None:
    channel_id = new_channel(hub)
    first, second = new_topic(hub, channel_id), new_topic(hub, channel_id)
    made = [new_message(hub, topic_id)["id"] for topic_id in (first, second, first)]
    new_message(hub)
    assert ids(page(hub, channel_id=channel_id)) == made[::-1]
    assert ids(page(hub, channel_id=channel_id, topic_id=second)) == [made[1]]


def test_messages_of_neither_a_channel_nor_a_topic_are_refused(hub: Hub) -> None:
    check_error(page(hub), 400, "INVALID_INPUT")
    check_error(page(hub, limit=5), 400, "INVALID_INPUT")
