"""All endpoints of the HTTP API: each noun's file has a table of its own."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint

from . import agents, attachments, channels, events, health, messages, openapi, search, topics
from .call import Endpoint
from .dispatch import Answer, register_endpoints

_NOUNS = (health, channels, topics, messages, search, attachments, events, agents)
_OF_NOUNS = tuple(endpoint for noun in _NOUNS for endpoint in noun.ENDPOINTS)
ENDPOINTS = (*_OF_NOUNS, *openapi.described(_OF_NOUNS))


def register(bp: Blueprint, more: Iterable[Iterable[Endpoint]] = ()) -> dict[str, Answer]:
    """Add all endpoints, and `more`, to the blueprint; returns those whose URL has no parameters."""
    return register_endpoints(bp, [ENDPOINTS, *more])
