"""The values of the hub: rows of the database and events of the log, all frozen.

Field order is key order in JSON payloads (docs/protocol.md, section 3); orjson serialises the
dataclasses as they stand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

CHANNEL, TOPIC, TOPIC2 = "channel_id", "topic_id", "topic_id2"

# Which scope ids an event of a known name must carry.
KNOWN_EVENTS: dict[str, tuple[str, ...]] = {
    "channel.created": (CHANNEL,),
    "topic.created": (CHANNEL, TOPIC),
    "topic.renamed": (CHANNEL, TOPIC),
    "topic.attachment_added": (CHANNEL, TOPIC),
    "message.created": (CHANNEL, TOPIC),
    "message.edited": (CHANNEL, TOPIC),
    "message.deleted": (CHANNEL, TOPIC),
    "message.moved_topic": (CHANNEL, TOPIC, TOPIC2),
    "message.enriched": (CHANNEL, TOPIC),
}


class Scope(NamedTuple):
    """The routing ids of an event; a subscription matches on any of them."""

    channel_id: str | None = None
    topic_id: str | None = None
    topic_id2: str | None = None


class Entity(NamedTuple):
    """What an event is about."""

    type: str
    id: str


class Event(NamedTuple):
    """One row of the event log; `data_json` is the payload as stored."""

    event_id: int
    ts: str
    name: str
    scope: Scope
    entity: Entity
    data_json: str

    @property
    def data(self) -> Any:
        """The payload, parsed anew at each access."""
        return json.loads(self.data_json)


@dataclass(frozen=True, slots=True)
class Channel:
    id: str
    name: str
    description: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class Topic:
    id: str
    channel_id: str
    title: str
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class Message:
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


@dataclass(frozen=True, slots=True)
class Attachment:
    """`value_json` is the parsed JSON object."""

    id: str
    topic_id: str
    kind: str
    key: str | None
    value_json: Any
    dedupe_key: str
    source_message_id: str | None
    created_at: str


class ChannelResult(NamedTuple):
    """What creating a channel answers; the results below are alike. Over HTTP they are JSON objects of these keys."""

    channel: Channel
    event_id: int


class TopicResult(NamedTuple):
    topic: Topic
    event_id: int


class MessageResult(NamedTuple):
    """`event_id` is None when nothing changed: the message had been deleted before."""

    message: Message
    event_id: int | None


class MoveResult(NamedTuple):
    """One event per moved message, in the order of the message ids."""

    affected_count: int
    event_ids: list[int]


class AttachmentResult(NamedTuple):
    """`event_id` is None when an equal attachment was there before; then `attachment` is that one."""

    attachment: Attachment
    event_id: int | None


class ChannelPage(NamedTuple):
    """By name."""

    channels: list[Channel]
    has_more: bool


class AttachmentPage(NamedTuple):
    """Newest first."""

    attachments: list[Attachment]
    has_more: bool


class TopicPage(NamedTuple):
    topics: list[Topic]
    has_more: bool


class MessagePage(NamedTuple):
    """Newest first; `has_more` is about the direction of paging."""

    messages: list[Message]
    has_more: bool


class SearchPage(NamedTuple):
    """Newest first; `fts_used` tells whether the full-text index found them."""

    messages: list[Message]
    has_more: bool
    fts_used: bool


class EventPage(NamedTuple):
    """Ascending; `replay_until` is the head of the log at the time.

    `has_more`: further events follow, or with `tail` go before.
    """

    replay_until: int
    events: list[Event]
    has_more: bool = False


def timestamp(milliseconds: int) -> str:
    """UTC, ISO 8601 with milliseconds and `Z`, of a Unix time in milliseconds."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_to_the_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=16)
def _to_the_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
