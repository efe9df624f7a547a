"""Reading the parameters of a query string; what is wrong raises InvalidInput with the parameter's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct
from werkzeug.datastructures import MultiDict

from ...errors import InvalidInput
from ...model.fields import MAX_NUMBER

Args = MultiDict[str, str]
Q = TypeVar("Q", bound=Struct)


def read(kind: type[Q], args: Args) -> Q:
    """The query as the type that an endpoint declares. Ids are checked by whoever looks for them."""
    given = {name: take(args, name) for name, take in _readers(kind)}
    needed = kind.__struct_fields__[: len(kind.__struct_fields__) - len(kind.__struct_defaults__)]
    return kind(**{name: value for name, value in given.items() if value is not None or name in needed})


def number(args: Args, name: str, low: int, high: int = MAX_NUMBER, cap: int = MAX_NUMBER) -> int | None:
    """A whole number between `low` and `high`, or None; above `cap` it counts as `cap`."""
    value = args.get(name)
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", value) or not low <= int(value) <= high:
        raise InvalidInput(f"{name} must be a whole number from {low} to {high}")
    return min(int(value), cap)


def decimal(args: Args, name: str, low: float, high: float) -> float | None:
    """A number between `low` and `high`, whole or with a fraction, or None."""
    value = args.get(name)
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,19})?", value) or not low <= float(value) <= high:
        raise InvalidInput(f"{name} must be a number from {low:g} to {high:g}")
    return float(value)


def text(args: Args, name: str) -> str | None:
    """A parameter without NUL, or None; the empty string counts as absent."""
    value = args.get(name)
    if value is not None and ("\0" in value or "\ufffd" in value):
        raise InvalidInput(f"{name} must be valid text")
    return value or None


def _several(args: Args, name: str) -> list[str]:
    return args.getlist(name)


@lru_cache(maxsize=64)
def _readers(kind: type[Struct]) -> list[tuple[str, Callable[[Args, str], Any]]]:
    hints = get_type_hints(kind, include_extras=True)
    return [(name, _reader(hints[name])) for name in kind.__struct_fields__]


def _reader(hint: Any) -> Callable[[Args, str], Any]:
    if get_origin(hint) is list:
        return _several
    annotated = next((each for each in (hint, *get_args(hint)) if get_origin(each) is Annotated), None)
    if annotated is None or annotated.__origin__ is str:
        return text
    meta: Meta = annotated.__metadata__[0]
    if annotated.__origin__ is float:
        return partial(decimal, low=float(meta.ge or 0), high=float(meta.le or MAX_NUMBER))
    cap = (meta.extra or {}).get("cap", MAX_NUMBER)
    return partial(number, low=int(meta.ge or 0), high=MAX_NUMBER if meta.le is None else int(meta.le), cap=cap)
