"""The HTTP API: one file per noun, each with a table of its endpoints."""

from __future__ import annotations

from flask import Blueprint

from . import attachments, channels, events, health, messages, topics
from .dispatch import register_endpoints


def register(bp: Blueprint) -> None:
    """Add all endpoints to the blueprint."""
    register_endpoints(bp, [noun.ENDPOINTS for noun in (health, channels, topics, messages, attachments, events)])
