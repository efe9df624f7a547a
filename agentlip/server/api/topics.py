"""Topics: list those of a channel, create, rename."""

from __future__ import annotations

from typing import Any

from ...store import mutations, queries
from . import fields
from .dispatch import Call, Endpoint


def list_topics(call: Call, channel_id: str) -> tuple[int, dict[str, Any]]:
    limit = fields.number(call.args, "limit", 50, 1, cap=fields.MAX_PAGE)
    offset = fields.number(call.args, "offset", 0, 0)
    topics, has_more = call.state.store.read(queries.topics, channel_id, limit, offset)
    return 200, {"topics": topics, "has_more": has_more}


def create_topic(call: Call) -> tuple[int, dict[str, Any]]:
    channel_id = fields.text(call.body, "channel_id")
    title = fields.text(call.body, "title", 200)
    topic, event_id = call.state.store.write(mutations.create_topic, channel_id, title)
    call.event_ids.append(event_id)
    return 201, {"topic": topic, "event_id": event_id}


def rename_topic(call: Call, topic_id: str) -> tuple[int, dict[str, Any]]:
    title = fields.text(call.body, "title", 200)
    topic, event_id = call.state.store.write(mutations.rename_topic, topic_id, title)
    call.event_ids.append(event_id)
    return 200, {"topic": topic, "event_id": event_id}


ENDPOINTS = (
    Endpoint("GET", "/api/v1/channels/<channel_id>/topics", list_topics, "read"),
    Endpoint("POST", "/api/v1/topics", create_topic, "write"),
    Endpoint("PATCH", "/api/v1/topics/<topic_id>", rename_topic, "write"),
)
