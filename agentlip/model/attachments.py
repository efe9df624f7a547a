"""Attachments of topics: the row, what may be asked, what is answered, what is told."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct

from .fields import PAGE_ROWS, DedupeKey, Id, JsonObject, Key, Kind, Limit, OptionalRowKey, Request
from .payload import Payload
from .result import Result


class Attachment(Struct, frozen=True):
    """`value_json` is the parsed JSON object."""

    id: str
    topic_id: str
    kind: str
    key: str | None
    value_json: Any
    dedupe_key: str
    source_message_id: str | None
    created_at: str


class AddAttachment(Request):
    """Without `dedupe_key` the compact JSON of `value_json` stands in."""

    kind: Kind
    value_json: JsonObject
    key: Key | None = None
    dedupe_key: DedupeKey | None = None
    source_message_id: OptionalRowKey | None = None


class AttachmentsQuery(Struct):
    kind: str | None = None
    limit: Limit = PAGE_ROWS
    before_id: Id | None = None


class AttachmentResult(Result, frozen=True):
    """`event_id` is None when an equal attachment was there before; then `attachment` is that one."""

    attachment: Attachment
    event_id: int | None


class AttachmentPage(Result, frozen=True):
    """Newest first."""

    attachments: list[Attachment]
    has_more: bool


class AttachmentAdded(Payload, frozen=True):
    event: ClassVar = "topic.attachment_added"

    attachment: Attachment
