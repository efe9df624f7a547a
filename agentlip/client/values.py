"""The values of `agentlip.model` out of a hub's JSON. Fields that are not known here are passed over."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from msgspec import Struct, ValidationError, convert
from msgspec.structs import astuple

from ..model import Entity, Event, EventRow, Scope
from .errors import HubUnreachable, OutcomeUnknown

T = TypeVar("T", bound=Struct)


def event(row: EventRow) -> Event:
    """An event as programs have it."""
    scope, entity = Scope(*astuple(row.scope)), Entity(*astuple(row.entity))
    return Event(row.event_id, row.ts, row.name, scope, entity, _compact(row.data_json))


def _compact(data: Any) -> str:
    """As hubs write it; other hubs may know halves of characters, which only escapes can hold."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(data, separators=(",", ":"))
    return text


def read(answer: dict[str, Any], kind: type[T]) -> T:
    """An answer as its type; HubUnreachable when it lacks something."""
    try:
        return convert(answer, kind)
    except ValidationError as error:
        raise HubUnreachable("The answer is not one of a hub") from error


def changed(answer: dict[str, Any], kind: type[T]) -> T:
    """The same for the answer to a change; OutcomeUnknown when it lacks something."""
    try:
        return read(answer, kind)
    except HubUnreachable as error:
        raise OutcomeUnknown() from error
