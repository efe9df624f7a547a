"""Is the hub there, and which one is it."""

from __future__ import annotations

import os
from typing import Any

from ...commands import checks
from .call import Call, Endpoint


def health(call: Call) -> tuple[int, dict[str, Any]]:
    """200 also while the database is lost or damaged: the hub itself is there, and says what is wrong."""
    identity, fault = call.state.identity(), call.state.store.fault()
    answer = {
        "status": "ok" if fault is None else "degraded",
        **identity,
        "pid": os.getpid(),
        "uptime_seconds": call.state.uptime_seconds,
    }
    return 200, answer if fault is None else answer | {"reason": fault}


def ping(call: Call) -> tuple[int, dict[str, Any]]:
    answer: dict[str, Any] = {"pong": True, "instance_id": call.state.instance_id}
    if "echo" in call.body:
        checks.refuse_nul(call.body["echo"], "echo")
        answer["echo"] = call.body["echo"]
    return 200, answer


ENDPOINTS = (
    Endpoint("GET", "/health", health, "open"),
    Endpoint("POST", "/api/v1/_ping", ping, "write", body_optional=True),
)
