"""The event log over HTTP."""

from __future__ import annotations

import orjson

from ...commands import checks
from ...errors import InvalidInput
from ...model import EntityName, Event, EventRow, EventRows, EventsQuery, ScopeIds
from .call import Call, Endpoint


def list_events(call: Call, asked: EventsQuery) -> tuple[int, EventRows]:
    """The event log after an id, or its last events with `tail`."""
    tail = asked.tail is not None
    if tail and asked.after is not None:
        raise InvalidInput("after and tail cannot be used together")
    channels, topics = (
        sorted(checks.ids(given, name) or ())
        for given, name in ((asked.channel_id, "channel_id"), (asked.topic_id, "topic_id"))
    )
    head = call.state.store.latest()
    events, has_more = call.state.store.events_with_more(
        asked.after or 0, head, asked.tail or asked.limit, tail, channels, topics
    )
    return 200, EventRows(head, [_row(event) for event in events], has_more)


def _row(event: Event) -> EventRow:
    event_id, ts, name, scope, entity, data = event
    return EventRow(event_id, ts, name, orjson.Fragment(data), ScopeIds(*scope), EntityName(*entity))


ENDPOINTS = (Endpoint("GET", "/api/v1/events", list_events, "read", query=EventsQuery, result=EventRows),)
