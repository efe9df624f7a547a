"""Checks of what callers give, be it JSON from the network or values of host code.

Each function returns the value as the store wants it, or raises InvalidInput with the field's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from ..errors import InvalidInput, PayloadTooLarge
from ..looks import has_control, is_visible
from ..model import Entity, Scope
from ..wire import MAX_IDS

MAX_CONTENT_BYTES = 65_536
MAX_NAME_CHARS = 100
MAX_TITLE_CHARS = 200
MAX_SENDER_CHARS = 200
MAX_DESCRIPTION_CHARS = 4096
MAX_KIND_CHARS = 200
MAX_KEY_CHARS = 1024
MAX_DEDUPE_CHARS = 16_384
MAX_QUERY_CHARS = 2048
MAX_ID_CHARS = 64
_MAX_NUMBER = (1 << 63) - 1
_MAX_LIMIT = 1_000_000
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def text(value: Any, name: str, max_chars: int) -> str:
    """A string that is not blank, without NUL."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise InvalidInput(f"{name} must be a non-blank string")
    if len(value) > max_chars:
        raise InvalidInput(f"{name} must be at most {max_chars} characters")
    _utf8(value, name)
    return value


def label(value: Any, name: str, max_chars: int) -> str:
    """A text that people read as a name: something of it is visible, all of it in one line."""
    given = text(value, name, max_chars)
    if not is_visible(given):
        raise InvalidInput(f"{name} must hold something visible")
    if has_control(given):
        raise InvalidInput(f"{name} must hold no control characters, line ends or changes of direction")
    return given


def optional_text(value: Any, name: str, max_chars: int, min_chars: int = 0) -> str | None:
    """A string without NUL, or None."""
    if value is None:
        return None
    if not isinstance(value, str) or "\0" in value or len(value) < min_chars:
        raise InvalidInput(f"{name} must be a {'non-empty ' if min_chars else ''}string")
    if len(value) > max_chars:
        raise InvalidInput(f"{name} must be at most {max_chars} characters")
    _utf8(value, name)
    return value


def content(value: Any) -> str:
    """Message content: any Unicode text of at most MAX_CONTENT_BYTES bytes of UTF-8."""
    if not isinstance(value, str):
        raise InvalidInput("content_raw must be a string")
    if len(_utf8(value, "content_raw")) > MAX_CONTENT_BYTES:
        raise PayloadTooLarge(f"content_raw is over {MAX_CONTENT_BYTES} bytes")
    return value


def new_content(value: Any) -> str:
    """Content of which something is visible."""
    given = content(value)
    if not is_visible(given):
        raise InvalidInput("content_raw must hold something visible")
    return given


def key(value: Any, name: str) -> str:
    """What rows are looked up by: any text, also such that no row can have."""
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be a string")
    _utf8(value, name)
    return value


def _utf8(value: str, name: str) -> bytes:
    # JSON from the network holds no lone surrogate; a string of host code may.
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{name} must be valid Unicode text") from None


def version(value: Any) -> int | None:
    """An expected version, a whole number from 1, or None."""
    if value is None:
        return None
    return number(int(value) if isinstance(value, float) and value.is_integer() else value, "expected_version", 1)


def number(value: Any, name: str, low: int, high: int = _MAX_NUMBER) -> int:
    """A whole number between `low` and `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInput(f"{name} must be a whole number from {low}" + (f" to {high}" if high < _MAX_NUMBER else ""))
    return value


def limit(value: Any) -> int:
    """How many rows a page shall have at most; pages end by their bytes, too."""
    return number(value, "limit", 1, _MAX_LIMIT)


def scope(value: Scope | Mapping[str, str | None]) -> Scope:
    """The routing ids of an event, from a Scope or a mapping with some of its keys."""
    if not isinstance(value, Mapping | Scope):
        raise InvalidInput(f"scope must be a mapping of {', '.join(Scope._fields)}")
    ids = value._asdict() if isinstance(value, Scope) else dict(value)
    unknown = set(ids) - set(Scope._fields)
    if unknown or not all(item is None or (isinstance(item, str) and _ID.fullmatch(item)) for item in ids.values()):
        raise InvalidInput(f"scope must hold ids as {', '.join(Scope._fields)}")
    return Scope(**ids)


def entity(value: Any) -> Entity:
    """What an event is about: a type and an id."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise InvalidInput("entity must be a type and an id")
    return Entity(*(text(word, "entity", MAX_NAME_CHARS) for word in value))


def an_id(value: Any, name: str) -> str:
    """An id as the protocol has them."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InvalidInput(f"{name} must be an id: 1 to 64 characters of a-z, A-Z, 0-9, _ and -")
    return value


def optional_id(value: Any, name: str) -> str | None:
    """An id, or None."""
    return None if value is None else an_id(value, name)


def ids(values: Iterable[str] | None, name: str) -> frozenset[str] | None:
    """Ids to select by, or None. A single string is a mistake: it would be taken for its letters."""
    if values is None:
        return None
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInput(f"{name} must be a list of ids")
    chosen = frozenset([an_id(item, name) for item in values])
    if len(chosen) > MAX_IDS:
        raise InvalidInput(f"{name} must be at most {MAX_IDS} ids")
    return chosen


def json_object(value: Any, name: str) -> dict[str, Any]:
    """An object that can be written as JSON, without NUL in any string of it."""
    if not isinstance(value, dict):
        raise InvalidInput(f"{name} must be an object")
    refuse_nul(value, name)
    return value


def refuse_nul(value: Any, name: str) -> None:
    """Look for NUL in all strings of a JSON value, which must be one."""
    try:
        written = orjson.dumps(value)
    except TypeError:  # of another type, halves of characters, nested too deeply
        raise InvalidInput(f"{name} cannot be written as JSON") from None
    if b"u0000" in written and _NUL.search(written):
        raise InvalidInput(f"{name} must hold no NUL")
