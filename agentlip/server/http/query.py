"""Reading the parameters of a query string; each function raises InvalidInput with the parameter's name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...errors import InvalidInput
from ...store.page import PAGE_ROWS

MAX_PAGE = PAGE_ROWS

_MAX_NUMBER = (1 << 63) - 1


def number(
    args: Mapping[str, str], name: str, default: int, low: int, high: int = _MAX_NUMBER, cap: int | None = None
) -> int:
    """A whole number between `low` and `high`; above `cap` it counts as `cap`."""
    value = args.get(name)
    if value is None:
        return default
    if not re.fullmatch(r"[0-9]{1,19}", value) or not low <= int(value) <= high:
        raise InvalidInput(f"{name} must be a whole number from {low} to {high}")
    return int(value) if cap is None else min(int(value), cap)


def text(args: Mapping[str, str], name: str) -> str | None:
    """A parameter without NUL, or None; the empty string counts as absent."""
    value = args.get(name)
    if value is not None and ("\0" in value or "\ufffd" in value):
        raise InvalidInput(f"{name} must be valid text")
    return value or None
