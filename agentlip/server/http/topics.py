"""Topics: list those of a channel, create, rename."""

from __future__ import annotations

from typing import Any

from . import query
from .call import Call, Endpoint


def list_topics(call: Call, channel_id: str) -> tuple[int, dict[str, Any]]:
    limit = query.number(call.args, "limit", 50, 1, cap=query.MAX_PAGE)
    offset = query.number(call.args, "offset", 0, 0)
    return 200, call.state.commands.topics(channel_id, limit, offset)._asdict()


def create_topic(call: Call) -> tuple[int, dict[str, Any]]:
    return call.written(201, call.state.commands.create_topic(call.field("channel_id"), call.field("title")))


def rename_topic(call: Call, topic_id: str) -> tuple[int, dict[str, Any]]:
    return call.written(200, call.state.commands.rename_topic(topic_id, call.field("title")))


ENDPOINTS = (
    Endpoint("GET", "/api/v1/channels/<channel_id>/topics", list_topics, "read"),
    Endpoint("POST", "/api/v1/topics", create_topic, "write"),
    Endpoint("PATCH", "/api/v1/topics/<topic_id>", rename_topic, "write"),
)
