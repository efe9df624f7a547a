"""Messages: page, post, edit, delete, move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import InvalidInput
from ...store import mutations, queries
from . import fields
from .dispatch import Call, Endpoint


def list_messages(call: Call) -> tuple[int, dict[str, Any]]:
    channel_id, topic_id = fields.query_text(call.args, "channel_id"), fields.query_text(call.args, "topic_id")
    if channel_id is None and topic_id is None:
        raise InvalidInput("channel_id or topic_id is required")
    limit = fields.number(call.args, "limit", 50, 1, cap=fields.MAX_PAGE)
    messages, has_more = call.state.store.read(
        queries.messages,
        channel_id,
        topic_id,
        limit,
        fields.query_text(call.args, "before_id"),
        fields.query_text(call.args, "after_id"),
    )
    return 200, {"messages": messages, "has_more": has_more}


def post_message(call: Call) -> tuple[int, dict[str, Any]]:
    topic_id = fields.text(call.body, "topic_id")
    sender = fields.text(call.body, "sender")
    content = fields.content(call.body)
    settings = call.state.settings
    message, event_ids = call.state.store.write(
        mutations.post_message, topic_id, sender, content, settings.url_allow, settings.url_block
    )
    call.event_ids += event_ids
    return 201, {"message": message, "event_id": event_ids[0]}


def change_message(call: Call, message_id: str) -> tuple[int, dict[str, Any]]:
    operation = call.body.get("op")
    change = _CHANGES.get(operation) if isinstance(operation, str) else None
    if change is None:
        raise InvalidInput(f"op must be one of {', '.join(_CHANGES)}")
    return change(call, message_id, fields.expected_version(call.body))


def _edit(call: Call, message_id: str, version: int | None) -> tuple[int, dict[str, Any]]:
    content = fields.content(call.body)
    message, event_id = call.state.store.write(mutations.edit_message, message_id, content, version)
    call.event_ids.append(event_id)
    return 200, {"message": message, "event_id": event_id}


def _delete(call: Call, message_id: str, version: int | None) -> tuple[int, dict[str, Any]]:
    actor = fields.text(call.body, "actor")
    message, event_id = call.state.store.write(mutations.delete_message, message_id, actor, version)
    if event_id is not None:
        call.event_ids.append(event_id)
    return 200, {"message": message, "event_id": event_id}


def _move(call: Call, message_id: str, version: int | None) -> tuple[int, dict[str, Any]]:
    to_topic_id = fields.text(call.body, "to_topic_id")
    mode = call.body.get("mode")
    if mode not in mutations.MOVE_MODES:
        raise InvalidInput(f"mode must be one of {', '.join(mutations.MOVE_MODES)}")
    event_ids = call.state.store.write(
        mutations.move_message, message_id, to_topic_id, mode, version, heavy=mode != "one"
    )
    call.event_ids += event_ids
    return 200, {"affected_count": len(event_ids), "event_ids": event_ids}


_CHANGES: dict[str, Callable[[Call, str, int | None], tuple[int, dict[str, Any]]]] = {
    "edit": _edit,
    "delete": _delete,
    "move_topic": _move,
}

ENDPOINTS = (
    Endpoint("GET", "/api/v1/messages", list_messages, "read"),
    Endpoint("POST", "/api/v1/messages", post_message, "write"),
    Endpoint("PATCH", "/api/v1/messages/<message_id>", change_message, "write"),
)
