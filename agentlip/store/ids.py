"""Ids that sort in commit order: prefix, creation time in base 36, more digits.

The contract (docs/protocol.md, section 1): 8 characters of milliseconds, then more of `[0-9a-z]`,
and every new id sorts after all ids in the file, also within a millisecond and when the clock
steps back.  So an id is made inside the write transaction, from the largest one present.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_RANDOM_DIGITS = bytes(ord(_DIGITS[byte % 36]) for byte in range(256))
_TIME_WIDTH = 8
_BODY_WIDTH = 20
_MAX_CHARS = 64
_OF_ID = re.compile(r"[a-zA-Z0-9_-]*")


@lru_cache(maxsize=16)
def base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    return digits or "0"


def new_id(prefix: str, now_ms: int, last: str | None) -> str:
    """A new id that sorts after `last`, the largest one of its table (None in an empty table).

    Where another program has left an id that none of 64 characters can follow, it is as if that one were not there.
    """
    tail = os.urandom(_BODY_WIDTH - _TIME_WIDTH).translate(_RANDOM_DIGITS).decode()
    candidate = prefix + base36(now_ms).rjust(_TIME_WIDTH, "0") + tail
    if last is None or candidate > last or not last.startswith(prefix):
        return candidate
    following = _successor(last[len(prefix) :], _MAX_CHARS - len(prefix))
    return candidate if following is None else prefix + following


def _successor(body: str, most: int) -> str | None:
    """The next body in byte order that ends in digits; None when none of at most so many characters follows."""
    usable = _OF_ID.match(body)[0][:most]  # type: ignore[index]
    if usable == body and len(body) < _BODY_WIDTH:
        return body.ljust(_BODY_WIDTH, "0")
    for position in range(len(usable) - 1, -1, -1):
        larger = [digit for digit in _DIGITS if digit > usable[position]]
        if larger:
            return (usable[:position] + larger[0]).ljust(max(len(usable), _BODY_WIDTH), "0")
    return body + "0" * min(_BODY_WIDTH, most - len(body)) if usable == body and len(body) < most else None
