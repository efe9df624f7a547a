"""Checks of what is no field of a request: pages, scopes, ids to select by, values that must be JSON.

Each function returns the value as the store wants it, or raises InvalidInput with the field's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from ..errors import InvalidInput
from ..model import Entity, Scope, fields
from ..wire import MAX_IDS

MAX_LIMIT = 1_000_000
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def limit(value: Any) -> int:
    """How many rows a page shall have at most; pages end by their bytes, too."""
    return fields.number(value, "limit", 1, MAX_LIMIT)


def seconds(value: Any, name: str, most: float) -> float:
    """A time to wait, whole or not."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise InvalidInput(f"{name} must be a number of seconds from 0 to {most:g}")
    return value


def scope(value: Scope | Mapping[str, str | None]) -> Scope:
    """The routing ids of an event, from a Scope or a mapping with some of its keys."""
    if not isinstance(value, Mapping | Scope):
        raise InvalidInput(f"scope must be a mapping of {', '.join(Scope._fields)}")
    ids = value._asdict() if isinstance(value, Scope) else dict(value)
    unknown = set(ids) - set(Scope._fields)
    if unknown or not all(item is None or fields.is_id(item) for item in ids.values()):
        raise InvalidInput(f"scope must hold ids as {', '.join(Scope._fields)}")
    return Scope(**ids)


def entity(value: Any) -> Entity:
    """What an event is about: a type and an id."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise InvalidInput("entity must be a type and an id")
    return Entity(*(fields.text(word, "entity", fields.MAX_NAME_CHARS) for word in value))


def optional_id(value: Any, name: str) -> str | None:
    """An id, or None."""
    return None if value is None else fields.an_id(value, name)


def ids(values: Iterable[str] | None, name: str) -> frozenset[str] | None:
    """Ids to select by, or None. A single string is a mistake: it would be taken for its letters."""
    if values is None:
        return None
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInput(f"{name} must be a list of ids")
    chosen = frozenset([fields.an_id(item, name) for item in values])
    if len(chosen) > MAX_IDS:
        raise InvalidInput(f"{name} must be at most {MAX_IDS} ids")
    return chosen


def refuse_nul(value: Any, name: str) -> None:
    """Look for NUL in all strings of a JSON value, which must be one."""
    try:
        written = orjson.dumps(value)
    except TypeError:  # of another type, halves of characters, nested too deeply
        raise InvalidInput(f"{name} cannot be written as JSON") from None
    if b"u0000" in written and _NUL.search(written):
        raise InvalidInput(f"{name} must hold no NUL")
