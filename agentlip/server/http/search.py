"""Search over messages."""

from __future__ import annotations

from typing import Any

from . import query
from .call import Call, Endpoint


def search(call: Call) -> tuple[int, dict[str, Any]]:
    page = call.state.commands.search(
        query.text(call.args, "q") or "",
        channel_id=query.text(call.args, "channel_id"),
        topic_id=query.text(call.args, "topic_id"),
        limit=query.number(call.args, "limit", 50, 1, cap=query.MAX_PAGE),
        before_id=query.text(call.args, "before_id"),
    )
    return 200, page._asdict()


ENDPOINTS = (Endpoint("GET", "/api/v1/search", search, "read"),)
