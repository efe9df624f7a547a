"""The kinds of fields that requests have: each is declared once, with its check and what a description says of it.

A check is called with a value and the field's name, be it of JSON from the network or of host code. It returns the
value as the store wants it, or raises InvalidInput with the name, and with a sentence of ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct

from ..errors import InvalidInput, PayloadTooLarge
from ..looks import has_control, is_visible

Check = Callable[[Any, str], Any]
PAGE_ROWS = 1000  # of a page, at most
MAX_CONTENT_BYTES = 65_536
MAX_NAME_CHARS = 100
MAX_QUERY_CHARS = 2048
MAX_NUMBER = (1 << 63) - 1
MAX_WAIT_SECONDS = 50
MAX_LIFETIME = 10 * 366 * 86_400  # seconds of a token
_ID_PATTERN = "[a-zA-Z0-9_-]{1,64}"
_ID = re.compile(_ID_PATTERN)


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


def plain(value: Any, name: str, max_chars: int, min_chars: int = 0) -> str:
    """A string without NUL."""
    if not isinstance(value, str) or "\0" in value or len(value) < min_chars:
        raise InvalidInput(f"{name} must be a {'non-empty ' if min_chars else ''}string")
    if len(value) > max_chars:
        raise InvalidInput(f"{name} must be at most {max_chars} characters")
    _utf8(value, name)
    return value


def content(value: Any, name: str) -> str:
    """Any Unicode text of at most MAX_CONTENT_BYTES bytes of UTF-8."""
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be a string")
    if len(_utf8(value, name)) > MAX_CONTENT_BYTES:
        raise PayloadTooLarge(f"{name} is over {MAX_CONTENT_BYTES} bytes")
    return value


def new_content(value: Any, name: str) -> str:
    """Content of which something is visible."""
    given = content(value, name)
    if not is_visible(given):
        raise InvalidInput(f"{name} must hold something visible")
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


def number(value: Any, name: str, low: int, high: int = MAX_NUMBER) -> int:
    """A whole number between `low` and `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInput(f"{name} must be a whole number from {low}" + (f" to {high}" if high < MAX_NUMBER else ""))
    return value


def version(value: Any, name: str) -> int:
    """A whole number from 1, also one that JSON writes as a fraction."""
    return number(int(value) if isinstance(value, float) and value.is_integer() else value, name, 1)


def an_id(value: Any, name: str) -> str:
    """An id as the protocol has them."""
    if not is_id(value):
        raise InvalidInput(f"{name} must be an id: 1 to 64 characters of a-z, A-Z, 0-9, _ and -")
    return str(value)


def is_id(value: Any) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def one_of(value: Any, name: str, words: Sequence[str]) -> str:
    if value not in words:
        raise InvalidInput(f"{name} must be one of {', '.join(words)}")
    return str(value)


def json_object(value: Any, name: str) -> dict[str, Any]:
    """An object; whether it can be written as JSON is found out when it is."""
    if not isinstance(value, dict):
        raise InvalidInput(f"{name} must be an object")
    return value


def _text(check: Callable[..., str], most: int, least: int = 1, **more: int) -> Meta:
    return Meta(min_length=least, max_length=most, extra={"check": partial(check, max_chars=most, **more)})


def pattern(value: Any, name: str, expression: re.Pattern[str], words: str) -> str:
    """A string that the expression matches whole; `words` say what that is."""
    if not isinstance(value, str) or expression.fullmatch(value) is None:
        raise InvalidInput(f"{name} must be {words}")
    return value


def flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} must be true or false")
    return value


def some(value: Any, name: str, of: Check, most: int) -> list[Any]:
    """A list of 1 to `most` values, each checked by `of` and taken once."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= most:
        raise InvalidInput(f"{name} must be a list of 1 to {most}")
    return list(dict.fromkeys(of(each, name) for each in value))


MoveMode = Literal["one", "later", "all"]

Name = Annotated[str, _text(label, MAX_NAME_CHARS)]
Title = Annotated[str, _text(label, 200)]
Person = Annotated[str, _text(label, 200)]
Kind = Annotated[str, _text(label, 200)]
Description = Annotated[str, _text(plain, 4096, 0)]
Key = Annotated[str, _text(plain, 1024, 0)]
DedupeKey = Annotated[str, _text(plain, 16_384, 1, min_chars=1)]
RowKey = Annotated[str, _text(text, 64)]  # an id that the body names: one that no row has is not found
OptionalRowKey = Annotated[str, _text(plain, 64, 0)]
Words = Annotated[str, _text(text, MAX_QUERY_CHARS)]
Content = Annotated[str, Meta(max_length=MAX_CONTENT_BYTES, extra={"check": content})]
NewContent = Annotated[str, Meta(min_length=1, max_length=MAX_CONTENT_BYTES, extra={"check": new_content})]
Version = Annotated[int, Meta(ge=1, le=MAX_NUMBER, extra={"check": version})]
Mode = Annotated[MoveMode, Meta(extra={"check": partial(one_of, words=get_args(MoveMode))})]
JsonObject = Annotated[dict[str, Any], Meta(extra={"check": json_object})]
_AGENT_NAME = "[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"
_NAME_WORDS = "1 to 64 characters of a-z, 0-9, '.', '_' and '-', and begin and end with a letter or a digit"
AgentName = Annotated[
    str,
    Meta(
        pattern=f"^{_AGENT_NAME}$",
        extra={"check": partial(pattern, expression=re.compile(_AGENT_NAME), words=_NAME_WORDS)},
    ),
]
AgentKinds = Literal["agent", "person", "service"]
AgentKind = Annotated[AgentKinds, Meta(extra={"check": partial(one_of, words=get_args(AgentKinds))})]
ScopeWord = Literal["read", "write", "admin"]
Scopes = Annotated[
    list[ScopeWord],
    Meta(
        min_length=1,
        extra={"check": partial(some, of=partial(one_of, words=get_args(ScopeWord)), most=len(get_args(ScopeWord)))},
    ),
]
Ids = Annotated[list[str], Meta(min_length=1, max_length=1000, extra={"check": partial(some, of=an_id, most=1000)})]
TokenLabel = Annotated[str, _text(label, 100)]
Lifetime = Annotated[int, Meta(ge=1, le=MAX_LIFETIME, extra={"check": partial(number, low=1, high=MAX_LIFETIME)})]
GraceSeconds = Annotated[int, Meta(ge=0, le=86_400, extra={"check": partial(number, low=0, high=86_400)})]
Flag = Annotated[bool, Meta(extra={"check": flag})]
# Of query strings.
Id = Annotated[str, Meta(pattern=f"^{_ID_PATTERN}$", extra={"check": an_id})]
Limit = Annotated[int, Meta(ge=1, extra={"cap": PAGE_ROWS})]  # more is taken for the cap
Tail = Annotated[int, Meta(ge=1, le=PAGE_ROWS)]
Offset = Annotated[int, Meta(ge=0)]
Wait = Annotated[float, Meta(ge=0, le=MAX_WAIT_SECONDS)]


class Request(Struct):
    """What a call asks for: whoever makes one, of JSON or of host code's values, has it checked field by field."""

    def __post_init__(self) -> None:
        for name, check in checks_of(type(self)):
            value = getattr(self, name)
            checked = check(value, name)
            if checked is not value:
                setattr(self, name, checked)

    @classmethod
    def of(cls, body: dict[str, Any]) -> Self:
        """Out of a JSON object. What it lacks is None, and what is not known here is passed over."""
        return cls(*map(body.get, cls.__struct_fields__))


def request_of(kind: Any, body: dict[str, Any]) -> Request:
    """The request of a JSON object: of a kind, or of that of several whose tag the object has."""
    if not isinstance(kind, type):
        kinds, field = _tagged(kind)
        kind = kinds[one_of(body.get(field), field, list(kinds))]
    made: Request = kind.of(body)
    return made


@lru_cache(maxsize=16)
def _tagged(kind: Any) -> tuple[dict[str, type[Request]], str]:
    """The kinds of a union by their tag, and the field that holds it."""
    configs = [(each, each.__struct_config__) for each in get_args(kind)]
    return {str(config.tag): each for each, config in configs}, next((str(it.tag_field) for _, it in configs), "")


@lru_cache(maxsize=64)
def checks_of(kind: type[Struct]) -> list[tuple[str, Check]]:
    """The checks of a request's fields, in their order."""
    hints = get_type_hints(kind, include_extras=True)
    found = [(name, _check_of(hints[name])) for name in kind.__struct_fields__]
    return [(name, check) for name, check in found if check is not None]


def _check_of(hint: Any) -> Check | None:
    if get_origin(hint) is Annotated:
        return next((meta.extra["check"] for meta in hint.__metadata__ if "check" in (meta.extra or {})), None)
    inner = next((check for part in get_args(hint) if (check := _check_of(part)) is not None), None)
    return None if inner is None else partial(_if_given, check=inner)


def _if_given(value: Any, name: str, check: Check) -> Any:
    return None if value is None else check(value, name)
