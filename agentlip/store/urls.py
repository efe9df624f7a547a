"""URLs in message text, and the rules for attachment values that hold one.

A URL in text ends where people end it: at white space, quotes, brackets that were opened before it, Markdown marks
around it and the punctuation of a sentence.  The work is bounded, and linear in the length of the text.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import ip_address
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import regex

from ..errors import InvalidInput

MAX_LINKS = 50
MAX_URL = 2048
MAX_LABEL = 500
_MAX_LOOKED_AT = 500
_PATTERN_SECONDS = 0.02  # of one message, all patterns and URLs together

_START = re.compile("https?://", re.IGNORECASE)
# White space and controls, quotes of all kinds, dashes and dots of sentences, what is not seen; CJK punctuation.
_ENDS = (
    r"\s\x00-\x20\x7f-\x9f<>\"`\\\u00ab\u00bb\u200b\u200e\u200f\u2014\u2015\u2018-\u201f\u2026\u2028-\u202e"
    r"\u2039\u203a\u2060-\u206f\ufeff\u3000-\u3004\u3008-\u3020\u3030\u303d-\u303f\ufe10-\ufe1f\ufe30-\ufe6f"
    r"\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_REST = re.compile(f"[^{_ENDS}]*")
_PIECE = re.compile(rf"[^{_ENDS}()\[\]{{}}]+|[()\[\]{{}}]")
_CLOSERS = {"(": ")", "[": "]", "{": "}"}
# What ends a URL when the key stands right before it.
_MARKS = {"'": "'", "*": "*", "~": "~~", "|": "|", "<": "|"}
_TRAILING = ".,;:!?*_~'([{|\u2013\u060c\u061b\u061f\u06d4\u0964\u200c\u200d"
_HOST = re.compile(r"(?:[a-z0-9_-]|[^\x00-\x7f\s])+(?:\.(?:[a-z0-9_-]|[^\x00-\x7f\s])+)*\.?")
_UNSAFE = re.compile(r"[<>\x00-\x1f\x7f-\x9f]")
_DATA = re.compile(r"data:\s*([^,;\s]*)")  # each run of letters once, however many `data:` are in it
_SCRIPT = re.compile("^text/html|^image/svg|script|xml")

logger = logging.getLogger("agentlip.store")


def find_urls(text: str, allow: Sequence[re.Pattern[str]] = (), block: Sequence[re.Pattern[str]] = ()) -> list[str]:
    """The first MAX_LINKS http(s) URLs of a message that become attachments, each once, in order of appearance.

    A URL that matches a `block` pattern is out; with `allow` patterns it must match one of them. A pattern that
    takes too long matches nothing: its URL and those after it are out.
    """
    urls: list[str] = []
    seen: set[str] = set()
    deadline = time.thread_time() + _PATTERN_SECONDS
    for url in islice(_urls(text), _MAX_LOOKED_AT):
        if url in seen:
            continue
        seen.add(url)
        try:
            if _is_safe_url(url) and not _any(block, url, deadline) and (not allow or _any(allow, url, deadline)):
                urls.append(url)
        except TimeoutError:
            break
        if len(urls) == MAX_LINKS:
            break
    return urls


def check_link(value: dict[str, Any]) -> None:
    """Raise InvalidInput unless `value` may be the value of a `url` or `link` attachment."""
    url = value.get("url")
    if not isinstance(url, str) or not _is_safe_url(url):
        raise InvalidInput(f"value_json.url must be an http(s) URL of at most {MAX_URL} characters")
    for key in ("title", "description"):
        label = value.get(key)
        if label is not None and (not isinstance(label, str) or len(label) > MAX_LABEL or _is_unsafe(label)):
            raise InvalidInput(f"value_json.{key} must be plain text of at most {MAX_LABEL} characters")


def _urls(text: str) -> Iterator[str]:
    """What looks like a URL, in order; nothing is looked at twice."""
    position = 0
    while (start := _START.search(text, position)) is not None:
        position = _end(text, start.start(), start.end())
        if position - start.start() > MAX_URL + len(_TRAILING):
            rest = _REST.match(text, position)
            assert rest is not None
            position = rest.end()
        else:
            yield text[start.start() : position].rstrip(_TRAILING)


def _end(text: str, start: int, position: int) -> int:
    """Where the URL from `start` ends, or a place beyond the length of any; `position` is behind its scheme."""
    limit = start + 2 * MAX_URL
    mark = _MARKS.get(text[start - 1 : start])
    if mark is not None:
        found = text.find(mark, position, limit)
        limit = limit if found < 0 else found
    unclosed = dict.fromkeys(_CLOSERS.values(), 0)
    while (piece := _PIECE.match(text, position, limit)) is not None:
        sign = piece.group()
        if sign in _CLOSERS:
            unclosed[_CLOSERS[sign]] += 1
        elif sign in unclosed:
            if not unclosed[sign]:
                break
            unclosed[sign] -= 1
        position = piece.end()
    return position


def _any(patterns: Iterable[re.Pattern[str]], url: str, deadline: float) -> bool:
    """Whether one of the patterns is found in the URL. Raises TimeoutError at the deadline."""
    for pattern in patterns:
        left = deadline - time.thread_time()
        try:
            if left <= 0:
                raise TimeoutError
            if regex.search(pattern.pattern, url, timeout=left) is not None:
                return True
        except TimeoutError:
            _tell(pattern.pattern)
            raise
    return False


@lru_cache(maxsize=64)
def _tell(pattern: str) -> None:
    logger.warning("The URL pattern %r takes too long; URLs on which it does never become attachments", pattern)


def _is_unsafe(text: str) -> bool:
    lowered = text.lower()
    if _UNSAFE.search(text) is not None or "javascript:" in lowered:
        return True
    return any(_SCRIPT.search(found[1]) is not None for found in _DATA.finditer(lowered))


def _is_safe_url(url: str) -> bool:
    if len(url) > MAX_URL or _is_unsafe(url):
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # raises when it is none
        if ":" in host:
            ip_address(host)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and (":" in host or _is_host(host)) and not re.search(r"\s", parts.netloc)


def _is_host(host: str) -> bool:
    return len(host) <= 253 and _HOST.fullmatch(host) is not None and any(letter.isalnum() for letter in host)
