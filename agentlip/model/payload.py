"""What an event of the hub tells: the base of all payloads."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

CHANNEL, TOPIC, TOPIC2 = "channel_id", "topic_id", "topic_id2"


class Payload(Struct, frozen=True):
    """The JSON object of an event; its class declares the event: a name, and which scope ids it must carry."""

    event: ClassVar[str]
    scope_ids: ClassVar[tuple[str, ...]] = (CHANNEL, TOPIC)
