"""Everything there is, page by page: iterators that read the next page when it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..model import Attachment, Channel, Event, Message, Topic
from .calls import Calls, ids

_PAGE = 500


class Pages(Calls):
    """The lists of a hub as iterators. What is added or changed meanwhile may be in them or not."""

    def iter_channels(self) -> Iterator[Channel]:
        """All channels by name."""
        yield from self.channels()

    def iter_topics(self, channel_id: str) -> Iterator[Topic]:
        """All topics of a channel, each once, the most recently updated first."""
        seen: set[str] = set()
        offset, again = 0, False
        while True:
            page = self.topics(channel_id, _PAGE, offset)
            fresh = [topic for topic in page.topics if topic.id not in seen]
            seen.update(topic.id for topic in fresh)
            yield from fresh
            if again and not fresh:
                return
            if page.has_more and page.topics:
                offset += len(page.topics)
            elif again or not offset:
                return
            else:  # what was updated meanwhile has moved from the pages to come to the first ones
                offset, again = 0, True

    def iter_messages(
        self,
        *,
        channel_id: str | None = None,
        topic_id: str | None = None,
        before_id: str | None = None,
        after_id: str | None = None,
    ) -> Iterator[Message]:
        """All messages of a channel or topic, newest first; with `after_id` those above it, oldest first."""
        forward = after_id is not None
        while True:
            page = self.messages(
                channel_id=channel_id, topic_id=topic_id, limit=_PAGE, before_id=before_id, after_id=after_id
            )
            messages = page.messages[::-1] if forward else page.messages
            yield from messages
            if not page.has_more or not messages:
                return
            if forward:
                after_id = messages[-1].id
            else:
                before_id = messages[-1].id

    def iter_attachments(self, topic_id: str, kind: str | None = None) -> Iterator[Attachment]:
        """All attachments of a topic, newest first."""
        yield from self.attachments(topic_id, kind)

    def iter_events(
        self, after: int = 0, *, channels: Iterable[str] = (), topics: Iterable[str] = ()
    ) -> Iterator[Event]:
        """The events after an id up to the end that the log has now, ascending; `stream` goes on with those to come."""
        in_channels, in_topics = ids("channels", channels), ids("topics", topics)
        head = None
        while True:
            page = self.events(after, _PAGE, channels=in_channels, topics=in_topics)
            head = page.replay_until if head is None else head
            for event in page.events:
                if event.event_id > head:
                    return
                yield event
            if not page.events or page.events[-1].event_id >= head:
                return
            after = page.events[-1].event_id
