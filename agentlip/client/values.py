"""The values of `agentlip.model` out of a hub's JSON. Fields that are not known here are passed over."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from ..model import Attachment, Channel, Entity, Event, Message, Scope, Topic
from .errors import HubUnreachable, OutcomeUnknown

Row = TypeVar("Row", Channel, Topic, Message, Attachment)
T = TypeVar("T")


def row(kind: type[Row], item: dict[str, Any]) -> Row:
    return kind(*(item[name] for name in kind.__struct_fields__))


def rows(kind: type[Row], items: list[dict[str, Any]]) -> list[Row]:
    return [row(kind, item) for item in items]


def event(item: dict[str, Any], data: str) -> Event:
    """An event, of the WebSocket or of an HTTP page; `data` is the name of its payload there."""
    return Event(
        item["event_id"],
        item["ts"],
        item["name"],
        Scope(*(item["scope"].get(name) for name in Scope._fields)),
        Entity(item["entity"]["type"], item["entity"]["id"]),
        _compact(item[data]),
    )


def _compact(data: Any) -> str:
    """As hubs write it; other hubs may know halves of characters, which only escapes can hold."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(data, separators=(",", ":"))
    return text


def read(answer: dict[str, Any], build: Callable[[dict[str, Any]], T]) -> T:
    """What `build` makes of an answer; HubUnreachable when the answer lacks something."""
    try:
        return build(answer)
    except (KeyError, TypeError, AttributeError) as error:
        raise HubUnreachable("The answer is not one of a hub") from error


def changed(answer: dict[str, Any], build: Callable[[dict[str, Any]], T]) -> T:
    """The same for the answer to a change; OutcomeUnknown when it lacks something."""
    try:
        return read(answer, build)
    except HubUnreachable as error:
        raise OutcomeUnknown() from error
