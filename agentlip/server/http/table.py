"""All endpoints of the HTTP API: each noun's file has a table of its own."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint

from . import attachments, channels, events, health, messages, search, topics
from .call import Endpoint
from .dispatch import Answer, register_endpoints


def register(bp: Blueprint, more: Iterable[Iterable[Endpoint]] = ()) -> dict[str, Answer]:
    """Add all endpoints, and `more`, to the blueprint; returns those whose URL has no parameters."""
    own = [noun.ENDPOINTS for noun in (health, channels, topics, messages, search, attachments, events)]
    return register_endpoints(bp, [*own, *more])
