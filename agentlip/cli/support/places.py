"""What people call the channels and topics whose ids are in messages and events."""

from __future__ import annotations

from ...errors import NotFound
from ...model import Event
from .context import Reader
from .pages import MAX_PAGE


class Places:
    """Remembers every name it has asked for; `learn` keeps it up to date. For one thread."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._channels: dict[str, str] = {}
        self._topics: dict[str, str] = {}

    def channel(self, channel_id: str) -> str:
        """Its name; its id when there is no such channel."""
        if channel_id not in self._channels:
            self._channels |= {each.id: each.name for each in self._reader.channels()}
        return self._channels.setdefault(channel_id, channel_id)

    def topic(self, channel_id: str, topic_id: str) -> str:
        """Its title; its id when there is no such topic."""
        offset = 0
        while topic_id not in self._topics:
            try:
                page = self._reader.topics(channel_id, MAX_PAGE, offset)
            except NotFound:
                break
            self._topics |= {each.id: each.title for each in page.topics}
            offset += len(page.topics)
            if not page.has_more or not page.topics:
                break
        return self._topics.setdefault(topic_id, topic_id)

    def name(self, channel_id: str | None, topic_id: str | None) -> str:
        """`channel/title`, or as much of it as is known."""
        if channel_id is None:
            return topic_id or ""
        name = self.channel(channel_id)
        return name if topic_id is None else f"{name}/{self.topic(channel_id, topic_id)}"

    def learn(self, event: Event) -> None:
        """Forget the name that an event changes."""
        self._channels.pop(event.entity.id, None)
        self._topics.pop(event.entity.id, None)
