"""Channels: list, create."""

from __future__ import annotations

from typing import Any

from ...store import mutations, queries
from . import fields
from .dispatch import Call, Endpoint


def list_channels(call: Call) -> tuple[int, dict[str, Any]]:
    return 200, {"channels": call.state.store.read(queries.channels)}


def create_channel(call: Call) -> tuple[int, dict[str, Any]]:
    name = fields.text(call.body, "name", 100)
    description = fields.optional_text(call.body, "description")
    channel, event_id = call.state.store.write(mutations.create_channel, name, description)
    call.event_ids.append(event_id)
    return 201, {"channel": channel, "event_id": event_id}


ENDPOINTS = (
    Endpoint("GET", "/api/v1/channels", list_channels, "read"),
    Endpoint("POST", "/api/v1/channels", create_channel, "write"),
)
