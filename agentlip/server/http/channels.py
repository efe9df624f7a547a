"""Channels: list, create."""

from __future__ import annotations

from ...errors import NotFound
from ...model import ChannelPage, ChannelResult, ChannelsQuery, CreateChannel
from .call import Call, Endpoint


def list_channels(call: Call, asked: ChannelsQuery) -> tuple[int, ChannelPage]:
    """The channels, by name."""
    return 200, call.commands.channel_page(asked.limit, asked.after_id)


def create_channel(call: Call, asked: CreateChannel) -> tuple[int, ChannelResult]:
    """Create a channel; its name must be new."""
    return call.written(201, call.commands.add_channel(asked))


ENDPOINTS = (
    Endpoint(
        "GET", "/api/v1/channels", list_channels, "read", query=ChannelsQuery, result=ChannelPage, errors=(NotFound,)
    ),
    Endpoint(
        "POST",
        "/api/v1/channels",
        create_channel,
        "write",
        request=CreateChannel,
        result=ChannelResult,
        statuses=(201,),
    ),
)
