"""Channels: list, create."""

from __future__ import annotations

from typing import Any

from . import query
from .call import Call, Endpoint


def list_channels(call: Call) -> tuple[int, dict[str, Any]]:
    limit = query.number(call.args, "limit", query.MAX_PAGE, 1, cap=query.MAX_PAGE)
    return 200, call.state.commands.channel_page(limit, query.text(call.args, "after_id"))._asdict()


def create_channel(call: Call) -> tuple[int, dict[str, Any]]:
    result = call.state.commands.create_channel(call.field("name"), call.field("description"))
    return call.written(201, result)


ENDPOINTS = (
    Endpoint("GET", "/api/v1/channels", list_channels, "read"),
    Endpoint("POST", "/api/v1/channels", create_channel, "write"),
)
