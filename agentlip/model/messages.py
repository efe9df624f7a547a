"""Messages: the row, what may be asked, what is answered, what is told."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct

from .fields import Content, Id, Limit, Mode, MoveMode, NewContent, Person, Request, RowKey, Version, Words
from .payload import CHANNEL, TOPIC, TOPIC2, Payload
from .result import Result


class Message(Struct, frozen=True, gc=False):
    """`version` counts mutations from 1; a deleted message keeps its row as a tombstone."""

    id: str
    topic_id: str
    channel_id: str
    sender: str
    content_raw: str
    version: int
    created_at: str
    edited_at: str | None
    deleted_at: str | None
    deleted_by: str | None
    agent_id: str | None = None  # of the agent that the sender was verified to be


class PostMessage(Request):
    """With an agent's token the `sender` may be absent: it is the agent."""

    topic_id: RowKey
    sender: Person
    content_raw: NewContent


class EditMessage(Request, tag_field="op", tag="edit"):
    """Whether the content is visible is asked later: who is behind shall hear of that first."""

    content_raw: Content
    expected_version: Version | None = None


class DeleteMessage(Request, tag_field="op", tag="delete"):
    actor: Person
    expected_version: Version | None = None


class MoveMessages(Request, tag_field="op", tag="move_topic"):
    """The message (`one`), it and all later ones of its topic (`later`), or `all` of its topic."""

    to_topic_id: RowKey
    mode: Mode
    expected_version: Version | None = None


ChangeMessage = EditMessage | DeleteMessage | MoveMessages


class MessagesQuery(Struct):
    """One of channel and topic is required."""

    channel_id: Id | None = None
    topic_id: Id | None = None
    limit: Limit = 50
    before_id: Id | None = None
    after_id: Id | None = None


class SearchQuery(Struct):
    q: Words
    channel_id: Id | None = None
    topic_id: Id | None = None
    limit: Limit = 50
    before_id: Id | None = None


class MessageAnswer(Result, frozen=True):
    message: Message


class MessageResult(Result, frozen=True):
    """`event_id` is None when nothing changed: the message had been deleted before."""

    message: Message
    event_id: int | None


class MoveResult(Result, frozen=True):
    """One event per moved message, in the order of the message ids."""

    affected_count: int
    event_ids: list[int]


class MessagePage(Result, frozen=True):
    """Newest first; `has_more` is about the direction of paging."""

    messages: list[Message]
    has_more: bool


class SearchPage(Result, frozen=True):
    """Newest first; `fts_used` tells whether the full-text index found them."""

    messages: list[Message]
    has_more: bool
    fts_used: bool


class MessageCreated(Payload, frozen=True):
    event: ClassVar = "message.created"

    message: Message


class MessageEdited(Payload, frozen=True):
    event: ClassVar = "message.edited"

    message_id: str
    old_content: str
    new_content: str
    version: int


class MessageDeleted(Payload, frozen=True):
    event: ClassVar = "message.deleted"

    message_id: str
    deleted_by: str
    version: int


class MessageMoved(Payload, frozen=True):
    event: ClassVar = "message.moved_topic"
    scope_ids: ClassVar = (CHANNEL, TOPIC, TOPIC2)

    message_id: str
    old_topic_id: str
    new_topic_id: str
    channel_id: str
    mode: MoveMode
    version: int


class MessageEnriched(Payload, frozen=True):
    event: ClassVar = "message.enriched"

    message_id: str
    plugin_name: str
    enrichments: list[Any]
    enrichment_ids: list[str]
