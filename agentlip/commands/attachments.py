"""Attachments: add, list."""

from __future__ import annotations

from typing import Any

from ..model import Attachment, AttachmentPage, AttachmentResult
from ..store import mutations, queries
from ..store.page import PAGE_ROWS
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
        kind = checks.label(kind, "kind", checks.MAX_KIND_CHARS)
        value_json = checks.json_object(value_json, "value_json")
        if kind in _LINK_KINDS:
            check_link(value_json)
        written = self._home.store.write(
            mutations.add_attachment,
            checks.key(topic_id, "topic_id"),
            kind,
            checks.optional_text(key, "key", checks.MAX_KEY_CHARS),
            value_json,
            checks.optional_text(dedupe_key, "dedupe_key", checks.MAX_DEDUPE_CHARS, 1),
            checks.optional_text(source_message_id, "source_message_id", checks.MAX_ID_CHARS),
        )
        return AttachmentResult(*written)

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
        topic_id, kind = checks.key(topic_id, "topic_id"), None if kind is None else checks.key(kind, "kind")
        limit, before_id = checks.limit(limit), checks.optional_id(before_id, "before_id")
        return AttachmentPage(*self._home.store.read_page(queries.attachments, topic_id, kind, limit, before_id))
