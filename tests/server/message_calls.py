"""Calls about messages, in a line each."""

from __future__ import annotations

from typing import Any

from ..running_hub import Hub
from .calls import API, events_of, new_channel, new_message, new_topic


def page(hub: Hub, **query: Any) -> Any:
    return hub.call("GET", f"{API}/messages", params=query)


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [message["id"] for message in answer.json()["messages"]]


def read(hub: Hub, topic_id: str, message_id: str) -> dict[str, Any]:
    """The message as it is listed now."""
    (found,) = [row for row in page(hub, topic_id=topic_id).json()["messages"] if row["id"] == message_id]
    return dict(found)


def event(hub: Hub, event_id: int) -> dict[str, Any]:
    (found,) = events_of(hub, after=event_id - 1, limit=1)
    assert found["event_id"] == event_id
    return found


def two_topics(hub: Hub, count: int = 0) -> tuple[str, str, list[str]]:
    """Two topics of one channel, the first with `count` messages."""
    channel_id = new_channel(hub)
    first, second = new_topic(hub, channel_id), new_topic(hub, channel_id)
    return first, second, [new_message(hub, first, f"m{number}")["id"] for number in range(count)]
