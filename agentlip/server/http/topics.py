"""Topics: list those of a channel, create, rename."""

from __future__ import annotations

from ...errors import NotFound
from ...model import CreateTopic, RenameTopic, TopicPage, TopicResult, TopicsQuery
from .call import Call, Endpoint


def list_topics(call: Call, asked: TopicsQuery, channel_id: str) -> tuple[int, TopicPage]:
    """The topics of a channel, latest change first."""
    return 200, call.commands.topics(channel_id, asked.limit, asked.offset)


def create_topic(call: Call, asked: CreateTopic) -> tuple[int, TopicResult]:
    """Create a topic in a channel; its title must be new there."""
    return call.written(201, call.commands.add_topic(asked))


def rename_topic(call: Call, asked: RenameTopic, topic_id: str) -> tuple[int, TopicResult]:
    """Rename a topic."""
    return call.written(200, call.commands.retitle(topic_id, asked))


ENDPOINTS = (
    Endpoint("GET", "/api/v1/channels/<channel_id>/topics", list_topics, "read", query=TopicsQuery, result=TopicPage),
    Endpoint(
        "POST",
        "/api/v1/topics",
        create_topic,
        "write",
        request=CreateTopic,
        result=TopicResult,
        statuses=(201,),
        errors=(NotFound,),
    ),
    Endpoint("PATCH", "/api/v1/topics/<topic_id>", rename_topic, "write", request=RenameTopic, result=TopicResult),
)
