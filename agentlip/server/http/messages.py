"""Messages: page, read, post, change."""

from __future__ import annotations

from msgspec.structs import asdict

from ...errors import CrossChannelMove, NotFound, VersionConflict
from ...model import (
    ChangeMessage,
    MessageAnswer,
    MessagePage,
    MessageResult,
    MessagesQuery,
    MoveResult,
    PostMessage,
)
from .call import Call, Endpoint


def list_messages(call: Call, asked: MessagesQuery) -> tuple[int, MessagePage]:
    """Messages of a channel or a topic, newest first.

    One of the two is required. `after_id` gives those right after it, so that nobody who pages forward skips one.
    """
    return 200, call.commands.messages(**asdict(asked))


def read_message(call: Call, message_id: str) -> tuple[int, MessageAnswer]:
    """One message."""
    return 200, MessageAnswer(call.commands.message(message_id))


def post_message(call: Call, asked: PostMessage) -> tuple[int, MessageResult]:
    """Post a message to a topic; its URLs become attachments."""
    result, event_ids = call.commands.post(asked)
    call.event_ids += event_ids
    return 201, result


def change_message(call: Call, asked: ChangeMessage, message_id: str) -> tuple[int, MessageResult | MoveResult]:
    """Edit, delete or move a message.

    With `expected_version` nothing changes when the message has another one by then.
    """
    result = call.commands.change(message_id, asked)
    if isinstance(result, MessageResult):
        return call.written(200, result)
    call.event_ids += result.event_ids
    return 200, result


ENDPOINTS = (
    Endpoint(
        "GET", "/api/v1/messages", list_messages, "read", query=MessagesQuery, result=MessagePage, errors=(NotFound,)
    ),
    Endpoint(
        "POST",
        "/api/v1/messages",
        post_message,
        "write",
        request=PostMessage,
        result=MessageResult,
        statuses=(201,),
        errors=(NotFound,),
    ),
    Endpoint("GET", "/api/v1/messages/<message_id>", read_message, "read", result=MessageAnswer),
    Endpoint(
        "PATCH",
        "/api/v1/messages/<message_id>",
        change_message,
        "write",
        request=ChangeMessage,
        result=MessageResult | MoveResult,
        errors=(VersionConflict, CrossChannelMove),
    ),
)
