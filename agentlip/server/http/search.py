"""Search over messages."""

from __future__ import annotations

from msgspec.structs import asdict

from ...errors import NotFound
from ...model import SearchPage, SearchQuery
from .call import Call, Endpoint


def search(call: Call, asked: SearchQuery) -> tuple[int, SearchPage]:
    """Messages that hold all words of `q`, newest first."""
    return 200, call.commands.search(**asdict(asked))


ENDPOINTS = (
    Endpoint("GET", "/api/v1/search", search, "read", query=SearchQuery, result=SearchPage, errors=(NotFound,)),
)
