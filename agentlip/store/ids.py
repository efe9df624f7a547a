"""Ids that sort in commit order: prefix, creation time in base 36, more digits.

The contract (docs/protocol.md, section 1): 8 characters of milliseconds, then more of `[0-9a-z]`,
and every new id sorts after all ids in the file, also within a millisecond and when the clock
steps back.  So an id is made inside the write transaction, from the largest one present.
"""

from __future__ import annotations

import os
from functools import lru_cache

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_RANDOM_DIGITS = bytes(ord(_DIGITS[byte % 36]) for byte in range(256))
_TIME_WIDTH = 8
_BODY_WIDTH = 20
_MAX_BODY = 60  # of 64 characters, "msg_" takes four


@lru_cache(maxsize=16)
def base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    return digits or "0"


def new_id(prefix: str, now_ms: int, last: str | None) -> str:
    """A new id that sorts after `last`, the largest one of its table (None in an empty table)."""
    tail = os.urandom(_BODY_WIDTH - _TIME_WIDTH).translate(_RANDOM_DIGITS).decode()
    candidate = prefix + base36(now_ms).rjust(_TIME_WIDTH, "0") + tail
    if last is None or candidate > last or not last.startswith(prefix):
        return candidate
    return prefix + _successor(last[len(prefix) :])


def _successor(body: str) -> str:
    """The next body in byte order that ends in digits; `body` may hold any id characters."""
    if len(body) < _BODY_WIDTH:
        return body.ljust(_BODY_WIDTH, "0")
    for position in range(len(body) - 1, -1, -1):
        larger = [digit for digit in _DIGITS if digit > body[position]]
        if larger:
            return body[:position] + larger[0] + "0" * (len(body) - position - 1)
    return body + "0" * max(1, min(_BODY_WIDTH, _MAX_BODY - len(body)))
