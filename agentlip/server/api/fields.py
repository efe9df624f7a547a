"""Reading fields of bodies and query strings; each function raises InvalidInput with the field's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...errors import InvalidInput, PayloadTooLarge

MAX_CONTENT_BYTES = 65_536
MAX_PAGE = 1000
_MAX_NUMBER = (1 << 63) - 1


def text(body: Mapping[str, Any], name: str, max_chars: int | None = None) -> str:
    """A string that is not blank, without NUL."""
    value = body.get(name)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise InvalidInput(f"{name} must be a non-blank string")
    if max_chars is not None and len(value) > max_chars:
        raise InvalidInput(f"{name} must be at most {max_chars} characters")
    return value


def optional_text(body: Mapping[str, Any], name: str) -> str | None:
    """A string without NUL, or None when it is absent or null."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or "\0" in value:
        raise InvalidInput(f"{name} must be a string")
    return value


def content(body: Mapping[str, Any]) -> str:
    """Message content: any Unicode text of at most MAX_CONTENT_BYTES bytes of UTF-8."""
    value = body.get("content_raw")
    if not isinstance(value, str):
        raise InvalidInput("content_raw must be a string")
    if len(value.encode()) > MAX_CONTENT_BYTES:
        raise PayloadTooLarge(f"content_raw is over {MAX_CONTENT_BYTES} bytes")
    return value


def expected_version(body: Mapping[str, Any]) -> int | None:
    """A whole number from 1, or None when it is absent or null."""
    value = body.get("expected_version")
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_NUMBER:
        raise InvalidInput("expected_version must be a whole number from 1")
    return value


def number(
    args: Mapping[str, str], name: str, default: int, low: int, high: int = _MAX_NUMBER, cap: int | None = None
) -> int:
    """A whole number of the query string's `args` between `low` and `high`; above `cap` it counts as `cap`."""
    value = args.get(name)
    if value is None:
        return default
    if not re.fullmatch(r"[0-9]{1,19}", value) or not low <= int(value) <= high:
        raise InvalidInput(f"{name} must be a whole number from {low} to {high}")
    return int(value) if cap is None else min(int(value), cap)


def refuse_nul(value: Any, name: str) -> None:
    """Look for NUL in all strings of a JSON value."""
    if isinstance(value, str) and "\0" in value:
        raise InvalidInput(f"{name} must hold no NUL")
    if isinstance(value, dict):
        for key, item in value.items():
            refuse_nul(key, name)
            refuse_nul(item, name)
    elif isinstance(value, list):
        for item in value:
            refuse_nul(item, name)


def query_text(args: Mapping[str, str], name: str) -> str | None:
    """A parameter of the query string without NUL, or None; the empty string counts as absent."""
    value = args.get(name)
    if value is not None and ("\0" in value or "�" in value):
        raise InvalidInput(f"{name} must be valid text")
    return value or None
