"""Lists of any length, put together from the pages that hubs answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from ...model import Event, Message, MessagePage, SearchPage, Topic, TopicPage
from .context import Reader

MAX_PAGE = 1000


def topics(reader: Reader, channel_id: str, limit: int, offset: int) -> TopicPage:
    """Up to `limit` topics of a channel, most recently updated first."""
    found: list[Topic] = []
    more = True
    while more and len(found) < limit:
        page = reader.topics(channel_id, min(limit - len(found), MAX_PAGE), offset + len(found))
        found += page.topics
        more = page.has_more and bool(page.topics)
    return TopicPage(found, more)


def messages(
    reader: Reader,
    limit: int,
    *,
    channel_id: str | None = None,
    topic_id: str | None = None,
    before_id: str | None = None,
    after_id: str | None = None,
) -> MessagePage:
    """Up to `limit` messages, newest first; with `after_id` those right above it."""
    found: list[Message] = []
    more = True
    while more and len(found) < limit:
        page = reader.messages(
            channel_id=channel_id,
            topic_id=topic_id,
            limit=min(limit - len(found), MAX_PAGE),
            before_id=before_id,
            after_id=after_id,
        )
        more = page.has_more and bool(page.messages)
        if page.messages and after_id is not None:
            found, after_id = page.messages + found, page.messages[0].id
        elif page.messages:
            found, before_id = found + page.messages, page.messages[-1].id
    return MessagePage(found, more)


def search(reader: Reader, q: str, limit: int, channel_id: str | None, topic_id: str | None) -> SearchPage:
    """Up to `limit` messages that hold all words of `q`, newest first."""
    found: list[Message] = []
    more, fts_used = True, False
    while more and len(found) < limit:
        page = reader.search(
            q,
            channel_id=channel_id,
            topic_id=topic_id,
            limit=min(limit - len(found), MAX_PAGE),
            before_id=found[-1].id if found else None,
        )
        found += page.messages
        more, fts_used = page.has_more and bool(page.messages), page.fts_used
    return SearchPage(found, more, fts_used)


def events(reader: Reader, after: int, channels: Sequence[str] = (), topics: Sequence[str] = ()) -> Iterator[Event]:
    """The events after an id, up to the head of the log at the beginning."""
    head = None
    while True:
        page = reader.events(after, MAX_PAGE, channels=channels, topics=topics)
        head = page.replay_until if head is None else head
        yield from (event for event in page.events if event.event_id <= head)
        if not page.events or page.events[-1].event_id >= head:
            return
        after = page.events[-1].event_id


def last_events(
    reader: Reader, count: int, channels: Sequence[str] = (), topics: Sequence[str] = ()
) -> tuple[list[Event], int]:
    """The last events, at most `count`, and the head of the log before they were read."""
    page = reader.events(tail=min(count, MAX_PAGE), channels=channels, topics=topics)
    head = page.replay_until
    if len(page.events) >= count or (page.events and page.events[0].event_id == 1):
        return page.events, head
    begin = 0 if channels or topics else max(0, head - count)  # ids have no gaps
    found = (event for event in events(reader, begin, channels, topics) if event.event_id <= head)
    return list(deque(found, maxlen=count)), head
