"""The event log over HTTP."""

from __future__ import annotations

import orjson

from ...commands import checks
from ...errors import InvalidInput
from ...model import EntityName, Event, EventRow, EventRows, EventsQuery, ScopeIds
from .call import Call, Endpoint


def list_events(call: Call, asked: EventsQuery) -> tuple[int, EventRows]:
    """The event log after an id, or its last events with `tail`."""
    if asked.tail is not None and asked.after is not None:
        raise InvalidInput("after and tail cannot be used together")
    channels, topics = checks.ids(asked.channel_id, "channel_id"), checks.ids(asked.topic_id, "topic_id")
    head, events, has_more = call.state.commands.event_page(
        asked.after or 0, asked.limit, tail=asked.tail, channels=channels or None, topics=topics or None
    )
    return 200, EventRows(head, [_row(event) for event in events], has_more)


def _row(event: Event) -> EventRow:
    event_id, ts, name, scope, entity, data = event
    return EventRow(event_id, ts, name, orjson.Fragment(data), ScopeIds(*scope), EntityName(*entity))


ENDPOINTS = (Endpoint("GET", "/api/v1/events", list_events, "read", query=EventsQuery, result=EventRows),)
