"""How the value of a setting is read: text of the environment, or a value of `app.config`.

Each function returns the value as the hub wants it, or raises ValueError with what it must be.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import regex

from .workspace.token import MIN_TOKEN_CHARS

Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


def text(value: Any) -> str:
    text = str(value).strip()
    if not text or not text.isprintable():
        raise ValueError("must be printable text")
    return text


def optional_word(value: Any) -> str | None:
    """None stays None (not configured); the empty string is kept: it means "explicitly none"."""
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]*", value):
        raise ValueError("must be visible ASCII characters without spaces")
    return value


def optional_token(value: Any) -> str | None:
    token = optional_word(value)
    if token and len(token) < MIN_TOKEN_CHARS:
        raise ValueError(f"must be at least {MIN_TOKEN_CHARS} characters, or nothing")
    return token


def optional_url(value: Any) -> str | None:
    if value is not None and not re.fullmatch(r"(?:/(?!/)|https?://)[\x21-\x7e]*", str(value)):
        raise ValueError("must be a path such as /login, or an http(s) URL")
    return None if value is None else str(value)


def whole(low: int, high: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        text = str(value).strip()
        if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def optional_whole(low: int, high: int) -> Callable[[Any], int | None]:
    parse = whole(low, high)
    return lambda value: None if value is None else parse(value)


def seconds(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = 0.0
    if isinstance(value, bool) or not 0.01 <= number <= 86400:
        raise ValueError("must be seconds, from 0.01 to 86400")
    return number


def optional_seconds(value: Any) -> float | None:
    return None if value is None else seconds(value)


def switch(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in ("on", "true", "yes", "1"):
        return True
    if text in ("off", "false", "no", "0"):
        return False
    raise ValueError("must be on or off")


def choice(*words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        for word in words:
            if str(value).strip().lower() == word.lower():
                return word
        raise ValueError(f"must be one of {', '.join(words)}")

    return parse


def words(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(word for word in re.split(r"[\s,]+", value) if word)
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise ValueError("must be words separated by spaces or commas")


def origins(value: Any) -> tuple[str, ...]:
    origins = tuple(word.lower().rstrip("/") for word in words(value))
    for origin in origins:
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
            raise ValueError("must be origins such as https://hub.example:8443")
    return origins


def patterns(value: Any) -> tuple[re.Pattern[str], ...]:
    """Split at white space only: a comma may be part of a pattern."""
    found = value.split() if isinstance(value, str) else words(value)
    try:
        for word in found:
            regex.compile(word)  # which runs them: with a time limit
        return tuple(re.compile(word) for word in found)
    except (re.error, regex.error, OverflowError, RecursionError):
        raise ValueError("must be regular expressions separated by white space") from None


def unix_socket(value: Any) -> str | None:
    if value is not None and not re.fullmatch(r"unix:[^\0\n]{1,107}", str(value).strip()):
        raise ValueError("must be the path of a UNIX socket, such as unix:/run/agentlip/hub.sock")
    return None if value is None else str(value).strip()


def optional_hosts(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(word.lower().rstrip(".").strip("[]") for word in words(value))
    for name in names:
        if not re.fullmatch(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*", name):
            raise ValueError("must be host names without scheme and port, such as hub.example or *.hub.example")
    return names


def optional_proxies(value: Any) -> int | Networks | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10):
        return value
    found = words(value)
    if len(found) == 1 and re.fullmatch(r"[1-9]|10", found[0]):
        return int(found[0])
    try:
        return tuple(ipaddress.ip_network(word, strict=False) for word in found) or None
    except ValueError:
        raise ValueError("must be a count from 1 to 10, or addresses and networks such as 10.0.0.0/8") from None


def path(value: Any) -> Path:
    try:
        return Path(text(value)).expanduser().absolute()
    except RuntimeError:
        raise ValueError("must be a path; its home folder is unknown") from None
