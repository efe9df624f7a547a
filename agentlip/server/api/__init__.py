"""The HTTP API: one file per noun, each with a table of its endpoints."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint

from . import attachments, channels, events, health, messages, search, topics
from .call import Endpoint
from .dispatch import Answer, answer_unknown, register_endpoints

__all__ = ["answer_unknown", "register"]


def register(bp: Blueprint, more: Iterable[Iterable[Endpoint]] = ()) -> dict[str, Answer]:
    """Add all endpoints, and `more`, to the blueprint; returns those whose URL has no parameters."""
    own = [noun.ENDPOINTS for noun in (health, channels, topics, messages, search, attachments, events)]
    return register_endpoints(bp, [*own, *more])
