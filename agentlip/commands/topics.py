"""Topics: create, rename, list."""

from __future__ import annotations

from ..model import CreateTopic, RenameTopic, TopicPage, TopicResult, fields
from ..store import mutations, queries
from . import checks
from .noun import Noun


class Topics(Noun):
    """Commands on topics."""

    def create_topic(self, channel_id: str, title: str) -> TopicResult:
        """Create a topic; its title is unique in the channel, 1 to 200 characters."""
        return self.add_topic(CreateTopic(channel_id, title))

    def add_topic(self, asked: CreateTopic) -> TopicResult:
        """As create_topic, of a request."""
        self._see_channel(asked.channel_id)
        return self._change(TopicResult, mutations.create_topic, asked.channel_id, asked.title, heavy=True)

    def rename_topic(self, topic_id: str, title: str) -> TopicResult:
        return self.retitle(topic_id, RenameTopic(title))

    def retitle(self, topic_id: str, asked: RenameTopic) -> TopicResult:
        """As rename_topic, of a request."""
        topic_id = fields.key(topic_id, "topic_id")
        self._see_topic(topic_id)
        return self._change(TopicResult, mutations.rename_topic, topic_id, asked.title, heavy=True)

    def topics(self, channel_id: str, limit: int = 50, offset: int = 0) -> TopicPage:
        """A page of a channel's topics, most recently updated first."""
        channel_id = fields.key(channel_id, "channel_id")
        self._see_channel(channel_id)
        limit, offset = checks.limit(limit), fields.number(offset, "offset", 0)
        return TopicPage(*self._home.store.read_page(queries.topics, channel_id, limit, offset))
