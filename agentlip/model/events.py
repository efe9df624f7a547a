"""Events of the log: their values in memory, their JSON over HTTP, and which payload each name has.

In memory they are tuples, as the fan-out takes them apart.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import Struct, ValidationError, convert

from . import agents, attachments, channels, messages, topics  # noqa: F401  (their payloads)
from .fields import Id, Limit, Offset, Tail, Wait
from .payload import Payload
from .result import Result

PAYLOADS: dict[str, type[Payload]] = {kind.event: kind for kind in Payload.__subclasses__()}
# Which scope ids an event of a known name must carry.
KNOWN_EVENTS = {name: kind.scope_ids for name, kind in PAYLOADS.items()}
# Those that concern no channel: they reach whoever wants everything.
UNSCOPED = frozenset(name for name, ids in KNOWN_EVENTS.items() if not ids)


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
        """The payload, parsed at each access."""
        return json.loads(self.data_json)

    @property
    def payload(self) -> Payload | None:
        """The payload as the type that its name has; None for the names of others, and for what does not fit."""
        kind = PAYLOADS.get(self.name)
        try:
            return None if kind is None else convert(self.data, kind)
        except ValidationError:  # of another program
            return None


class ScopeIds(Struct, frozen=True, gc=False):
    channel_id: str | None = None
    topic_id: str | None = None
    topic_id2: str | None = None


class EntityName(Struct, frozen=True, gc=False):
    type: str
    id: str


class EventRow(Struct, frozen=True):
    """An event as JSON."""

    event_id: int
    ts: str
    name: str
    data_json: Any
    scope: ScopeIds
    entity: EntityName


class EventRows(Struct, frozen=True):
    """A page of events as JSON."""

    replay_until: int
    events: list[EventRow]
    has_more: bool = False


class EventsQuery(Struct):
    """`tail` excludes `after` and `wait`, which is in seconds; of several ids each event touches one at least."""

    after: Offset | None = None
    limit: Limit = 100
    tail: Tail | None = None
    channel_id: list[Id] = []
    topic_id: list[Id] = []
    wait: Wait | None = None


class StreamQuery(Struct):
    """`Last-Event-ID`, which readers send when they connect again, wins over `after`."""

    after: Offset | None = None
    channel_id: list[Id] = []
    topic_id: list[Id] = []


class EventPage(Result, frozen=True):
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
