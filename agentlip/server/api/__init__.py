"""The HTTP API: one file per noun, each with a table of its endpoints."""

from __future__ import annotations

from flask import Blueprint

from . import attachments, channels, events, health, messages, search, topics
from .dispatch import Answer, register_endpoints


def register(bp: Blueprint) -> dict[str, Answer]:
    """Add all endpoints to the blueprint; returns those whose URL has no parameters."""
    return register_endpoints(
        bp, [noun.ENDPOINTS for noun in (health, channels, topics, messages, search, attachments, events)]
    )
