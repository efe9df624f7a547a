"""The workspace's file in the place of a hub: the reading half of HubClient."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...model import PAGE_ROWS, Attachment, Channel, EventPage, Message, MessagePage, SearchPage, TopicPage
from ...store import log, queries
from ...store.read_only import ReadOnly
from ...store.search import search, words_of


class Offline:
    """Its methods are those of HubClient, and raise the same errors or StorageError. For one thread."""

    def __init__(self, database: Path) -> None:
        """Raises StorageError."""
        self._file = ReadOnly(database)

    def __enter__(self) -> Offline:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def channels(self) -> list[Channel]:
        found: list[Channel] = []
        more = True
        while more:
            page, more = self._file.read(queries.channels, PAGE_ROWS, found[-1].id if found else None)
            found += page
        return found

    def topics(self, channel_id: str, limit: int = 50, offset: int = 0) -> TopicPage:
        return TopicPage(*self._file.read(queries.topics, channel_id, limit, offset))

    def messages(
        self,
        *,
        channel_id: str | None = None,
        topic_id: str | None = None,
        limit: int = 50,
        before_id: str | None = None,
        after_id: str | None = None,
    ) -> MessagePage:
        return MessagePage(*self._file.read(queries.messages, channel_id, topic_id, limit, before_id, after_id))

    def message(self, message_id: str) -> Message:
        return self._file.read(queries.message, message_id)

    def attachments(self, topic_id: str, kind: str | None = None) -> list[Attachment]:
        found: list[Attachment] = []
        more = True
        while more:
            last = found[-1].id if found else None
            page, more = self._file.read(queries.attachments, topic_id, kind, PAGE_ROWS, last)
            found += page
        return found

    def search(
        self,
        q: str,
        *,
        channel_id: str | None = None,
        topic_id: str | None = None,
        limit: int = 50,
        before_id: str | None = None,
    ) -> SearchPage:
        return self._file.read(search, words_of(q), channel_id, topic_id, limit, before_id)

    def events(
        self,
        after: int = 0,
        limit: int = 100,
        *,
        tail: int | None = None,
        channels: Iterable[str] = (),
        topics: Iterable[str] = (),
    ) -> EventPage:
        head = self._file.read(log.latest)
        count, begin = (limit, after) if tail is None else (tail, 0)
        wanted = list(channels), list(topics)
        found, has_more = self._file.read(log.events_with_more, begin, head, count, tail is not None, *wanted)
        return EventPage(head, found, has_more)
