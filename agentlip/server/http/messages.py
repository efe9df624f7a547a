"""Messages: page, post, edit, delete, move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import InvalidInput
from . import query
from .call import Call, Endpoint


def list_messages(call: Call) -> tuple[int, dict[str, Any]]:
    page = call.state.commands.messages(
        channel_id=query.text(call.args, "channel_id"),
        topic_id=query.text(call.args, "topic_id"),
        limit=query.number(call.args, "limit", 50, 1, cap=query.MAX_PAGE),
        before_id=query.text(call.args, "before_id"),
        after_id=query.text(call.args, "after_id"),
    )
    return 200, page._asdict()


def read_message(call: Call, message_id: str) -> tuple[int, dict[str, Any]]:
    return 200, {"message": call.state.commands.message(message_id)}


def post_message(call: Call) -> tuple[int, dict[str, Any]]:
    message, event_ids = call.state.commands.post_message_events(
        call.field("topic_id"), call.field("sender"), call.field("content_raw")
    )
    call.event_ids += event_ids
    return 201, {"message": message, "event_id": event_ids[0]}


def change_message(call: Call, message_id: str) -> tuple[int, dict[str, Any]]:
    operation = call.field("op")
    change = _CHANGES.get(operation) if isinstance(operation, str) else None
    if change is None:
        raise InvalidInput(f"op must be one of {', '.join(_CHANGES)}")
    return change(call, message_id, call.field("expected_version"))


def _edit(call: Call, message_id: str, version: Any) -> tuple[int, dict[str, Any]]:
    return call.written(200, call.state.commands.edit(message_id, call.field("content_raw"), version))


def _delete(call: Call, message_id: str, version: Any) -> tuple[int, dict[str, Any]]:
    return call.written(200, call.state.commands.delete(message_id, call.field("actor"), version))


def _move(call: Call, message_id: str, version: Any) -> tuple[int, dict[str, Any]]:
    result = call.state.commands.move(message_id, call.field("to_topic_id"), call.field("mode"), version)
    call.event_ids += result.event_ids
    return 200, result._asdict()


_CHANGES: dict[str, Callable[[Call, str, Any], tuple[int, dict[str, Any]]]] = {
    "edit": _edit,
    "delete": _delete,
    "move_topic": _move,
}

ENDPOINTS = (
    Endpoint("GET", "/api/v1/messages", list_messages, "read"),
    Endpoint("POST", "/api/v1/messages", post_message, "write"),
    Endpoint("GET", "/api/v1/messages/<message_id>", read_message, "read"),
    Endpoint("PATCH", "/api/v1/messages/<message_id>", change_message, "write"),
)
