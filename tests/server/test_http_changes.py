"""Messages over HTTP: edit, delete, move."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from ..running_hub import TOKEN, Hub
from .calls import API, NOWHERE, TIMESTAMP, check_error, events_of, head, new_channel, new_message, new_topic
from .message_calls import event, ids, page, read, two_topics


def patch(hub: Hub, message_id: str, **body: Any) -> Any:
    return hub.call("PATCH", f"{API}/messages/{message_id}", body)


def edit(hub: Hub, message_id: str, content: str = "new", **extra: Any) -> Any:
    return patch(hub, message_id, op="edit", content_raw=content, **extra)


def delete(hub: Hub, message_id: str, **extra: Any) -> Any:
    return patch(hub, message_id, op="delete", actor="bob", **extra)


def move(hub: Hub, message_id: str, topic_id: str, mode: str = "one", **extra: Any) -> Any:
    return patch(hub, message_id, op="move_topic", to_topic_id=topic_id, mode=mode, **extra)


def test_an_edit_changes_content_version_and_edited_at_only(hub: Hub) -> None:
    message = new_message(hub, content="old")
    answer = edit(hub, message["id"], "new")
    assert answer.status_code == 200
    edited = answer.json()["message"]
    assert edited == {**message, "content_raw": "new", "version": 2, "edited_at": edited["edited_at"]}
    assert re.fullmatch(TIMESTAMP, edited["edited_at"])
    assert read(hub, message["topic_id"], message["id"]) == edited


def test_an_edit_appends_an_event_with_both_contents(hub: Hub) -> None:
    message = new_message(hub, content="old")
    found = event(hub, edit(hub, message["id"], "new").json()["event_id"])
    assert found["name"] == "message.edited"
    assert found["data_json"] == {
        "message_id": message["id"], "old_content": "old", "new_content": "new", "version": 2,
    }  # fmt: skip


def test_a_deleted_message_is_not_edited(hub: Hub) -> None:
    message = new_message(hub)
    delete(hub, message["id"])
    check_error(edit(hub, message["id"]), 400, "INVALID_INPUT")
    assert read(hub, message["topic_id"], message["id"])["content_raw"] == "[deleted]"


def test_only_one_of_many_edits_of_a_version_wins(hub: Hub) -> None:
    message = new_message(hub)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda number: _edit_alone(hub, message["id"], number), range(16)))
    assert sorted(statuses) == [200] + [409] * 15
    assert read(hub, message["topic_id"], message["id"])["version"] == 2


def _edit_alone(hub: Hub, message_id: str, number: int) -> int:
    body: Any = {"op": "edit", "content_raw": f"edit {number}", "expected_version": 1}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return requests.patch(f"{hub.url}{API}/messages/{message_id}", json=body, headers=headers, timeout=30).status_code


def test_a_deleted_message_stays_as_a_tombstone(hub: Hub) -> None:
    message = new_message(hub)
    answer = delete(hub, message["id"])
    assert answer.status_code == 200
    gone = answer.json()["message"]
    assert re.fullmatch(TIMESTAMP, gone["deleted_at"])
    assert gone["edited_at"] == gone["deleted_at"]
    assert gone == {
        **message, "content_raw": "[deleted]", "version": 2, "deleted_by": "bob",
        "edited_at": gone["edited_at"], "deleted_at": gone["deleted_at"],
    }  # fmt: skip
    assert read(hub, message["topic_id"], message["id"]) == gone


def test_deleting_appends_an_event(hub: Hub) -> None:
    message = new_message(hub)
    found = event(hub, delete(hub, message["id"]).json()["event_id"])
    assert found["name"] == "message.deleted"
    assert found["data_json"] == {"message_id": message["id"], "deleted_by": "bob", "version": 2}


def test_deleting_again_changes_nothing(hub: Hub) -> None:
    message = new_message(hub)
    first = delete(hub, message["id"]).json()["message"]
    before = head(hub)
    answer = patch(hub, message["id"], op="delete", actor="someone else")
    assert answer.status_code == 200
    assert answer.json() == {"message": first, "event_id": None}
    assert head(hub) == before


@pytest.mark.parametrize(
    ("mode", "named", "moved"),
    [
        ("one", 2, [2]),
        ("later", 2, [2, 3, 4]),
        ("later", 0, [0, 1, 2, 3, 4]),
        ("later", 4, [4]),
        ("all", 2, [0, 1, 2, 3, 4]),
    ],
)
def test_messages_move_to_another_topic(hub: Hub, mode: str, named: int, moved: list[int]) -> None:
    source, target, made = two_topics(hub, 5)
    answer = move(hub, made[named], target, mode)
    assert answer.status_code == 200
    assert set(answer.json()) == {"affected_count", "event_ids"}
    assert answer.json()["affected_count"] == len(answer.json()["event_ids"]) == len(moved)
    assert ids(page(hub, topic_id=target)) == [made[index] for index in reversed(moved)]
    assert ids(page(hub, topic_id=source)) == [made[index] for index in (4, 3, 2, 1, 0) if index not in moved]


def test_later_leaves_the_messages_of_other_topics_alone(hub: Hub) -> None:
    channel_id = new_channel(hub)
    source, target, other = (new_topic(hub, channel_id) for _ in range(3))
    named, bystander = new_message(hub, source), new_message(hub, other)
    assert move(hub, named["id"], target, "later").json()["affected_count"] == 1
    assert ids(page(hub, topic_id=other)) == [bystander["id"]]


def test_a_move_counts_as_a_version_but_not_as_an_edit(hub: Hub) -> None:
    source, target, made = two_topics(hub, 1)
    before = read(hub, source, made[0])
    move(hub, made[0], target)
    assert read(hub, target, made[0]) == {**before, "topic_id": target, "version": 2}


def test_a_move_appends_an_event_per_message_for_both_topics(hub: Hub) -> None:
    source, target, made = two_topics(hub, 2)
    event_ids = move(hub, made[0], target, "all").json()["event_ids"]
    for topic_id in (source, target):
        found = events_of(hub, after=event_ids[0] - 1, topic_id=topic_id)
        assert [row["event_id"] for row in found] == event_ids
    found = [event(hub, event_id) for event_id in event_ids]
    channel_id = found[0]["scope"]["channel_id"]
    assert all(row["name"] == "message.moved_topic" for row in found)
    assert all(row["scope"] == {"channel_id": channel_id, "topic_id": source, "topic_id2": target} for row in found)
    assert [row["data_json"] for row in found] == [
        {
            "message_id": message_id, "old_topic_id": source, "new_topic_id": target, "channel_id": channel_id,
            "mode": "all", "version": 2,
        }
        for message_id in made
    ]  # fmt: skip


@pytest.mark.parametrize("mode", ["one", "later", "all"])
def test_a_move_to_where_the_message_is_does_nothing(hub: Hub, mode: str) -> None:
    source, _, made = two_topics(hub, 2)
    before = head(hub)
    answer = move(hub, made[0], source, mode)
    assert answer.status_code == 200
    assert answer.json() == {"affected_count": 0, "event_ids": []}
    assert (head(hub), read(hub, source, made[0])["version"]) == (before, 1)


@pytest.mark.parametrize("mode", ["one", "later", "all"])
def test_a_move_to_another_channel_is_refused(hub: Hub, mode: str) -> None:
    message, elsewhere = new_message(hub), new_topic(hub)
    check_error(move(hub, message["id"], elsewhere, mode), 400, "CROSS_CHANNEL_MOVE")
    assert read(hub, message["topic_id"], message["id"]) == message


def test_a_move_to_an_unknown_topic_is_not_found(hub: Hub) -> None:
    check_error(move(hub, new_message(hub)["id"], NOWHERE["topic"]), 404, "NOT_FOUND")


OPERATIONS: list[dict[str, Any]] = [
    {"op": "edit", "content_raw": "new"},
    {"op": "delete", "actor": "bob"},
    {"op": "move_topic", "to_topic_id": "TARGET", "mode": "all"},
]


def prepared(hub: Hub, operation: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """A topic, a message of it, and the operation with a topic to move to."""
    source, target, made = two_topics(hub, 2)
    return source, made[0], {key: target if value == "TARGET" else value for key, value in operation.items()}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation["op"])
def test_the_expected_version_lets_the_change_through(hub: Hub, operation: dict[str, Any]) -> None:
    _, message_id, operation = prepared(hub, operation)
    assert patch(hub, message_id, **operation, expected_version=1).status_code == 200


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation["op"])
def test_another_version_than_expected_is_a_conflict(hub: Hub, operation: dict[str, Any]) -> None:
    topic_id, message_id, operation = prepared(hub, operation)
    edit(hub, message_id, "second version")
    before, unchanged = head(hub), read(hub, topic_id, message_id)
    body = check_error(patch(hub, message_id, **operation, expected_version=1), 409, "VERSION_CONFLICT")
    assert body["details"] == {"current": 2, "expected": 1}
    assert (head(hub), read(hub, topic_id, message_id)) == (before, unchanged)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation["op"])
@pytest.mark.parametrize("version", ["1", 1.5, True, [1], {}], ids=repr)
def test_an_expected_version_that_is_no_version_is_refused(hub: Hub, operation: dict[str, Any], version: Any) -> None:
    _, message_id, operation = prepared(hub, operation)
    check_error(patch(hub, message_id, **operation, expected_version=version), 400, "INVALID_INPUT")


@pytest.mark.parametrize("version", [0, -1, 2**63, 10**30], ids=repr)
def test_a_number_that_can_be_no_version_is_refused(hub: Hub, version: int) -> None:
    check_error(edit(hub, new_message(hub)["id"], expected_version=version), 400, "INVALID_INPUT")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation["op"])
def test_an_unknown_message_is_not_found(hub: Hub, operation: dict[str, Any]) -> None:
    _, _, operation = prepared(hub, operation)
    check_error(patch(hub, NOWHERE["message"], **operation), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"op": None},
        {"op": "explode"},
        {"op": 7},
        {"op": ["edit"]},
        {"op": "edit"},
        {"op": "edit", "content_raw": None},
        {"op": "edit", "content_raw": 7},
        {"op": "delete"},
        {"op": "delete", "actor": 7},
        {"op": "delete", "actor": ""},
        {"op": "move_topic", "mode": "one"},
        {"op": "move_topic", "to_topic_id": 7, "mode": "one"},
        {"op": "move_topic", "to_topic_id": "TARGET"},
        {"op": "move_topic", "to_topic_id": "TARGET", "mode": "some"},
        {"op": "move_topic", "to_topic_id": "TARGET", "mode": ["one"]},
        {"op": "move_topic", "to_topic_id": "TARGET", "mode": None},
    ],
    ids=str,
)
def test_a_bad_operation_is_refused(hub: Hub, body: dict[str, Any]) -> None:
    topic_id, message_id, body = prepared(hub, body)
    check_error(patch(hub, message_id, **body), 400, "INVALID_INPUT")
    assert read(hub, topic_id, message_id)["version"] == 1
