"""Channels: the row, what may be asked, what is answered, what is told."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from .fields import PAGE_ROWS, Description, Id, Limit, Name, Request
from .payload import CHANNEL, Payload
from .result import Result


class Channel(Struct, frozen=True, gc=False):
    id: str
    name: str
    description: str | None
    created_at: str


class CreateChannel(Request):
    name: Name
    description: Description | None = None


class ChannelsQuery(Struct):
    limit: Limit = PAGE_ROWS
    after_id: Id | None = None


class ChannelResult(Result, frozen=True):
    """What creating a channel answers; the other results are alike."""

    channel: Channel
    event_id: int


class ChannelPage(Result, frozen=True):
    """By name."""

    channels: list[Channel]
    has_more: bool


class ChannelCreated(Payload, frozen=True):
    event: ClassVar = "channel.created"
    scope_ids: ClassVar = (CHANNEL,)

    channel: Channel
