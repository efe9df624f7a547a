"""Topics: create, rename, list."""

from __future__ import annotations

from ..model import TopicPage, TopicResult
from ..store import mutations, queries
from . import checks
from .noun import Noun


class Topics(Noun):
    """Commands on topics."""

    def create_topic(self, channel_id: str, title: str) -> TopicResult:
        """Create a topic; its title is unique in the channel, 1 to 200 characters."""
        channel_id = checks.text(channel_id, "channel_id", checks.MAX_ID_CHARS)
        title = checks.label(title, "title", checks.MAX_TITLE_CHARS)
        return TopicResult(*self._home.store.write(mutations.create_topic, channel_id, title, heavy=True))

    def rename_topic(self, topic_id: str, title: str) -> TopicResult:
        title = checks.label(title, "title", checks.MAX_TITLE_CHARS)
        topic_id = checks.key(topic_id, "topic_id")
        return TopicResult(*self._home.store.write(mutations.rename_topic, topic_id, title, heavy=True))

    def topics(self, channel_id: str, limit: int = 50, offset: int = 0) -> TopicPage:
        """A page of a channel's topics, most recently updated first."""
        channel_id = checks.key(channel_id, "channel_id")
        limit, offset = checks.limit(limit), checks.number(offset, "offset", 0)
        return TopicPage(*self._home.store.read_page(queries.topics, channel_id, limit, offset))
