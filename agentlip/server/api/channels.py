"""Channels: list, create."""

from __future__ import annotations

from typing import Any

from .dispatch import Call, Endpoint


def list_channels(call: Call) -> tuple[int, dict[str, Any]]:
    return 200, {"channels": call.state.channels()}


def create_channel(call: Call) -> tuple[int, dict[str, Any]]:
    result = call.state.create_channel(call.field("name"), call.field("description"))
    return call.written(201, result)


ENDPOINTS = (
    Endpoint("GET", "/api/v1/channels", list_channels, "read"),
    Endpoint("POST", "/api/v1/channels", create_channel, "write"),
)
