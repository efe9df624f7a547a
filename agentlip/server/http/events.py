"""The event log over HTTP."""

from __future__ import annotations

import orjson
from flask import Response
from werkzeug.datastructures import MultiDict

from ... import wire
from ...commands import checks
from ...errors import InvalidAuth, InvalidInput
from ...hub.session import Ids
from ...model import EntityName, Event, EventPage, EventRow, EventRows, EventsQuery, ScopeIds, StreamQuery
from ..access.guests import guest_of
from ..sse import route as sse
from . import capacity, query
from .call import Call, Endpoint
from .request_socket import fileno_of, has_hung_up, socket_of


def list_events(call: Call, asked: EventsQuery) -> tuple[int, EventRows]:
    """The event log after an id, or its last events with `tail`.

    With `wait` an answer without events comes only after so many seconds, and earlier as soon as there is one.
    """
    if asked.tail is not None and (asked.after is not None or asked.wait is not None):
        raise InvalidInput(f"{'wait' if asked.after is None else 'after'} and tail cannot be used together")
    channels, topics = checks.ids(asked.channel_id, "channel_id"), checks.ids(asked.topic_id, "topic_id")
    after, ids = asked.after or 0, (channels or None, topics or None)
    if asked.wait:
        found = _wait(call, asked.wait, after, asked.limit, *ids)
    else:
        found = call.commands.event_page(after, asked.limit, tail=asked.tail, channels=ids[0], topics=ids[1])
    head, events, has_more = found
    return 200, EventRows(head, [_row(event) for event in events], has_more)


def _wait(call: Call, seconds: float, after: int, limit: int, channels: Ids, topics: Ids) -> EventPage:
    """A page as soon as it holds something. Raises InvalidAuth once what let the call in is good no longer."""
    sock = socket_of(call.environ)
    if sock is not None:  # a test client has none, and says nothing of the server
        capacity.check(call.state.hub, call.environ, "calls that wait")
    descriptor, guest = fileno_of(sock), guest_of(call.state, call.caller)

    def has_left() -> bool:
        return guest is not None and guest.farewell() is not None

    def is_gone() -> bool:
        return has_hung_up(descriptor) or has_left()

    page = call.commands.wait_for_events(seconds, after, limit, channels=channels, topics=topics, is_gone=is_gone)
    if has_left():
        raise InvalidAuth()
    return page


def stream_events(call: Call, asked: StreamQuery) -> Response:
    """The event log after an id and then as it grows, as server-sent events.

    Each has the event's id, its name, and as data the envelope that a WebSocket gets.
    """
    given = call.request.headers.get("Last-Event-ID")
    last = query.number(MultiDict({"Last-Event-ID": given} if given else {}), "Last-Event-ID", 0)
    if call.args.get("inbox", "0") not in ("", "0"):
        raise InvalidInput("inbox is not offered")
    channels, topics = checks.ids(asked.channel_id, "channel_id"), checks.ids(asked.topic_id, "topic_id")
    after = last if last is not None else asked.after or 0
    return sse.accept(call, wire.Hello(after, channels or None, topics or None, None))


def _row(event: Event) -> EventRow:
    event_id, ts, name, scope, entity, data = event
    return EventRow(event_id, ts, name, orjson.Fragment(data), ScopeIds(*scope), EntityName(*entity))


ENDPOINTS = (
    Endpoint("GET", "/api/v1/events", list_events, "read", query=EventsQuery, result=EventRows),
    Endpoint("GET", "/api/v1/events/stream", stream_events, "read", query=StreamQuery, streams=True),
)
