"""Attachments of a topic: list, add."""

from __future__ import annotations

from typing import Any

from ...errors import InvalidInput
from ...store import mutations, queries
from ...store.urls import check_link
from . import fields
from .dispatch import Call, Endpoint

MAX_BODY = 16 * 1024
_LINK_KINDS = ("url", "link")


def list_attachments(call: Call, topic_id: str) -> tuple[int, dict[str, Any]]:
    return 200, {
        "attachments": call.state.store.read(queries.attachments, topic_id, fields.query_text(call.args, "kind"))
    }


def add_attachment(call: Call, topic_id: str) -> tuple[int, dict[str, Any]]:
    kind = fields.text(call.body, "kind")
    value = call.body.get("value_json")
    if not isinstance(value, dict):
        raise InvalidInput("value_json must be an object")
    fields.refuse_nul(value, "value_json")
    if kind in _LINK_KINDS:
        check_link(value)
    attachment, event_id = call.state.store.write(
        mutations.add_attachment,
        topic_id,
        kind,
        fields.optional_text(call.body, "key"),
        value,
        fields.optional_text(call.body, "dedupe_key"),
        fields.optional_text(call.body, "source_message_id"),
    )
    if event_id is None:
        return 200, {"attachment": attachment, "event_id": None}
    call.event_ids.append(event_id)
    return 201, {"attachment": attachment, "event_id": event_id}


ENDPOINTS = (
    Endpoint("GET", "/api/v1/topics/<topic_id>/attachments", list_attachments, "read"),
    Endpoint("POST", "/api/v1/topics/<topic_id>/attachments", add_attachment, "write", max_body=MAX_BODY),
)
