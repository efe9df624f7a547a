"""URLs in message text, and the rules for attachment values that hold one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from ..errors import InvalidInput

MAX_URL = 2048
MAX_LABEL = 500

_URL = re.compile(r"""https?://[^\s<>"'`\x00-\x1f\x7f]+""", re.IGNORECASE)
_TRAILING = ".,;:!?)"
_UNSAFE = re.compile(
    r"[<>\x00-\x1f\x7f-\x9f]|javascript:|data:\s*(?:text/html|image/svg|[^,;\s]*(?:script|xml))", re.IGNORECASE
)


def find_urls(text: str, allow: Sequence[re.Pattern[str]] = (), block: Sequence[re.Pattern[str]] = ()) -> list[str]:
    """The http(s) URLs of a message that become attachments, each once, in order of appearance.

    A URL that matches a `block` pattern is out; with `allow` patterns it must match one of them.
    """
    urls: dict[str, None] = {}
    for match in _URL.finditer(text):
        url = match.group().rstrip(_TRAILING)
        if not _is_safe_url(url) or any(pattern.search(url) for pattern in block):
            continue
        if not allow or any(pattern.search(url) for pattern in allow):
            urls[url] = None
    return list(urls)


def check_link(value: dict[str, Any]) -> None:
    """Raise InvalidInput unless `value` may be the value of a `url` or `link` attachment."""
    url = value.get("url")
    if not isinstance(url, str) or not _is_safe_url(url):
        raise InvalidInput(f"value_json.url must be a http(s) URL of at most {MAX_URL} characters")
    for key in ("title", "description"):
        label = value.get(key)
        if label is not None and (not isinstance(label, str) or len(label) > MAX_LABEL or _UNSAFE.search(label)):
            raise InvalidInput(f"value_json.{key} must be plain text of at most {MAX_LABEL} characters")


def _is_safe_url(url: str) -> bool:
    if len(url) > MAX_URL or _UNSAFE.search(url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False
