"""What calls answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple


class Result(Struct, frozen=True, eq=False):
    """An answer: over HTTP a JSON object of its fields, in their order; in a program it is also used like a tuple."""

    def __iter__(self) -> Iterator[Any]:
        return iter(astuple(self))

    def __getitem__(self, index: Any) -> Any:
        return astuple(self)[index]

    def __len__(self) -> int:
        return len(self.__struct_fields__)

    def __eq__(self, other: object) -> bool:
        return astuple(self) == tuple(other) if isinstance(other, tuple | type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash(astuple(self))
