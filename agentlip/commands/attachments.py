"""Attachments: add, list."""

from __future__ import annotations

from typing import Any

from ..model import PAGE_ROWS, AddAttachment, Attachment, AttachmentPage, AttachmentResult, fields
from ..store import mutations, queries
from ..store.urls import check_link
from . import checks
from .noun import Noun

_LINK_KINDS = ("url", "link")


class Attachments(Noun):
    """Commands on attachments."""

    def add_attachment(
        self,
        topic_id: str,
        kind: str,
        value_json: dict[str, Any],
        *,
        key: str | None = None,
        dedupe_key: str | None = None,
        source_message_id: str | None = None,
    ) -> AttachmentResult:
        """Pin a JSON object to a topic; an equal one gives the old row and no event."""
        return self.attach(topic_id, AddAttachment(kind, value_json, key, dedupe_key, source_message_id))

    def attach(self, topic_id: str, asked: AddAttachment) -> AttachmentResult:
        """As add_attachment, of a request."""
        fields.key(topic_id, "topic_id")
        self._see_topic(topic_id)
        self._see_message(asked.source_message_id)
        checks.refuse_nul(asked.value_json, "value_json")
        if asked.kind in _LINK_KINDS:
            check_link(asked.value_json)
        more = asked.kind, asked.key, asked.value_json, asked.dedupe_key, asked.source_message_id
        return self._change(AttachmentResult, mutations.add_attachment, topic_id, *more)

    def attachments(self, topic_id: str, kind: str | None = None) -> list[Attachment]:
        """All attachments of a topic, newest first."""
        page = self.attachment_page(topic_id, kind)
        found = page.attachments
        while page.has_more:
            page = self.attachment_page(topic_id, kind, before_id=found[-1].id)
            found += page.attachments
        return found

    def attachment_page(
        self, topic_id: str, kind: str | None = None, limit: int = PAGE_ROWS, before_id: str | None = None
    ) -> AttachmentPage:
        """A page of a topic's attachments, newest first; `before_id` is the last of the page before."""
        topic_id, kind = fields.key(topic_id, "topic_id"), None if kind is None else fields.key(kind, "kind")
        limit, before_id = checks.limit(limit), checks.optional_id(before_id, "before_id")
        self._see_topic(topic_id)
        return AttachmentPage(*self._home.store.read_page(queries.attachments, topic_id, kind, limit, before_id))
