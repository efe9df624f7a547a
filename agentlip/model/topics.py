"""Topics: the row, what may be asked, what is answered, what is told."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from .fields import Limit, Offset, Request, RowKey, Title
from .payload import Payload
from .result import Result


class Topic(Struct, frozen=True, gc=False):
    id: str
    channel_id: str
    title: str
    created_at: str
    updated_at: str


class CreateTopic(Request):
    channel_id: RowKey
    title: Title


class RenameTopic(Request):
    title: Title


class TopicsQuery(Struct):
    limit: Limit = 50
    offset: Offset = 0


class TopicResult(Result, frozen=True):
    topic: Topic
    event_id: int


class TopicPage(Result, frozen=True):
    """Most recently updated first."""

    topics: list[Topic]
    has_more: bool


class TopicCreated(Payload, frozen=True):
    event: ClassVar = "topic.created"

    topic: Topic


class TopicRenamed(Payload, frozen=True):
    event: ClassVar = "topic.renamed"

    topic_id: str
    old_title: str
    new_title: str
