"""Attachments of a topic: list, add."""

from __future__ import annotations

from msgspec.structs import asdict

from ...model import AddAttachment, AttachmentPage, AttachmentResult, AttachmentsQuery
from .call import Call, Endpoint

MAX_BODY = 16 * 1024
_PATH = "/api/v1/topics/<topic_id>/attachments"


def list_attachments(call: Call, asked: AttachmentsQuery, topic_id: str) -> tuple[int, AttachmentPage]:
    """The attachments of a topic, newest first."""
    return 200, call.commands.attachment_page(topic_id, **asdict(asked))


def add_attachment(call: Call, asked: AddAttachment, topic_id: str) -> tuple[int, AttachmentResult]:
    """Pin a JSON object to a topic; 200 when an equal one is there already."""
    result = call.commands.attach(topic_id, asked)
    return call.written(200 if result.event_id is None else 201, result)


ENDPOINTS = (
    Endpoint("GET", _PATH, list_attachments, "read", query=AttachmentsQuery, result=AttachmentPage),
    Endpoint(
        "POST",
        _PATH,
        add_attachment,
        "write",
        MAX_BODY,
        request=AddAttachment,
        result=AttachmentResult,
        statuses=(201, 200),
    ),
)
