"""The values of `agentlip.model` out of a hub's JSON. Fields that are not known here are passed over."""

from __future__ import annotations

import json
from typing import Any, TypeVar, get_args, get_origin

from msgspec import Struct, ValidationError, convert
from msgspec.structs import astuple, fields

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


def fitted(value: Any, kind: Any) -> Any:
    """A JSON value as its type; fields of another type than promised, which other programs may store, stay as they are.

    Raises ValidationError when a field is missing.
    """
    try:
        return convert(value, kind)
    except ValidationError as error:
        try:
            return _built(value, kind)
        except (KeyError, TypeError):
            raise error from None


def _built(value: Any, kind: Any) -> Any:
    if get_origin(kind) is list:
        return [_built(item, *get_args(kind)) for item in value]
    if not (isinstance(kind, type) and issubclass(kind, Struct)):
        return value
    given = {field.name: _built(value[field.encode_name], field.type)
             for field in fields(kind) if field.required or field.encode_name in value}  # fmt: skip
    return kind(**given)


def read(answer: dict[str, Any], kind: type[T]) -> T:
    """An answer as its type; HubUnreachable when it lacks something."""
    try:
        made: T = fitted(answer, kind)
        return made
    except ValidationError as error:
        raise HubUnreachable("The answer is not one of a hub") from error


def changed(answer: dict[str, Any], kind: type[T]) -> T:
    """The same for the answer to a change; OutcomeUnknown when it lacks something."""
    try:
        return read(answer, kind)
    except HubUnreachable as error:
        raise OutcomeUnknown() from error
