"""Attachments of a topic: list, add."""

from __future__ import annotations

from typing import Any

from . import query
from .call import Call, Endpoint

MAX_BODY = 16 * 1024


def list_attachments(call: Call, topic_id: str) -> tuple[int, dict[str, Any]]:
    page = call.state.commands.attachment_page(
        topic_id,
        query.text(call.args, "kind"),
        query.number(call.args, "limit", query.MAX_PAGE, 1, cap=query.MAX_PAGE),
        query.text(call.args, "before_id"),
    )
    return 200, page._asdict()


def add_attachment(call: Call, topic_id: str) -> tuple[int, dict[str, Any]]:
    result = call.state.commands.add_attachment(
        topic_id,
        call.field("kind"),
        call.field("value_json"),
        key=call.field("key"),
        dedupe_key=call.field("dedupe_key"),
        source_message_id=call.field("source_message_id"),
    )
    return call.written(200 if result.event_id is None else 201, result)


ENDPOINTS = (
    Endpoint("GET", "/api/v1/topics/<topic_id>/attachments", list_attachments, "read"),
    Endpoint("POST", "/api/v1/topics/<topic_id>/attachments", add_attachment, "write", max_body=MAX_BODY),
)
