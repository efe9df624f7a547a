"""Is the hub there, and which one is it."""

from __future__ import annotations

import os
from typing import Any

from msgspec import UNSET, to_builtins

from ...commands import checks
from ...model import Health, Ping, Pong
from .call import Call, Endpoint


def health(call: Call) -> tuple[int, Any]:
    """Whether the hub is there, and which one it is.

    200 also while the database is lost or damaged: the hub itself is there, and says what is wrong."""
    fault = call.state.store.fault()
    answer = Health(
        "ok" if fault is None else "degraded",
        **call.state.identity(),
        pid=os.getpid(),
        uptime_seconds=call.state.uptime_seconds,
        reason=UNSET if fault is None else fault,
    )
    return 200, to_builtins(answer)


def ping(call: Call, asked: Ping) -> tuple[int, Any]:
    """Whether the token opens the hub; what is sent as `echo` comes back."""
    if asked.echo is not UNSET:
        checks.refuse_nul(asked.echo, "echo")
    return 200, to_builtins(Pong(True, call.state.instance_id, asked.echo))


ENDPOINTS = (
    Endpoint("GET", "/health", health, "open", result=Health),
    Endpoint("POST", "/api/v1/_ping", ping, "write", body_optional=True, request=Ping, result=Pong),
)
