"""The event log over HTTP."""

from __future__ import annotations

from typing import Any

import orjson

from ...commands import checks
from ...errors import InvalidInput
from ...model import Event
from . import query
from .call import Call, Endpoint


def list_events(call: Call) -> tuple[int, dict[str, Any]]:
    tail = call.args.get("tail") is not None
    if tail and call.args.get("after") is not None:
        raise InvalidInput("after and tail cannot be used together")
    after = query.number(call.args, "after", 0, 0)
    limit = query.number(call.args, "limit", 100, 1, cap=query.MAX_PAGE)
    if tail:
        limit = query.number(call.args, "tail", 0, 1, query.MAX_PAGE)
    head = call.state.store.latest()
    events, has_more = call.state.store.events_with_more(
        after, head, limit, tail, _ids(call, "channel_id"), _ids(call, "topic_id")
    )
    return 200, {"replay_until": head, "events": [_row(event) for event in events], "has_more": has_more}


def _ids(call: Call, name: str) -> list[str]:
    return sorted(checks.ids(call.args.getlist(name), name) or ())


def _row(event: Event) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "ts": event.ts,
        "name": event.name,
        "data_json": orjson.Fragment(event.data_json),
        "scope": event.scope._asdict(),
        "entity": event.entity._asdict(),
    }


ENDPOINTS = (Endpoint("GET", "/api/v1/events", list_events, "read"),)
