"""The hub itself: who it is, whether it is there, and what it answers to a mistake."""

from __future__ import annotations

from typing import Any, Literal, Self

from msgspec import UNSET, Struct, UnsetType

from .fields import Request


class Health(Struct, frozen=True):
    """`reason` is told when the status is `degraded`: the database is lost or damaged."""

    status: Literal["ok", "degraded"]
    instance_id: str
    db_id: str
    schema_version: int
    protocol_version: str
    pid: int
    uptime_seconds: int
    reason: str | UnsetType = UNSET


class Ping(Request):
    """`echo` is any JSON, and comes back."""

    echo: Any = UNSET

    @classmethod
    def of(cls, body: dict[str, Any]) -> Self:
        return cls(**{name: body[name] for name in body.keys() & {"echo"}})


class Pong(Struct, frozen=True):
    pong: bool
    instance_id: str
    echo: Any = UNSET


class ErrorAnswer(Struct, frozen=True):
    """`details` depend on the code."""

    error: str
    code: str
    details: dict[str, Any] | UnsetType = UNSET
