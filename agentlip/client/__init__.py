"""The Python client of a hub: every HTTP call, and the event log as an iterator.

It needs neither Flask nor SQLite nor a local file, and works in threads, under gevent and asyncio. See docs/client.md.
"""

from typing import TYPE_CHECKING, Any

from .client import HubClient
from .errors import HubUnreachable, LogChanged, NoAnswer, OutcomeUnknown
from .stream import Stream

if TYPE_CHECKING:
    from .async_client import AsyncHubClient
    from .async_stream import AsyncStream

__all__ = [
    "AsyncHubClient",
    "AsyncStream",
    "HubClient",
    "HubUnreachable",
    "LogChanged",
    "NoAnswer",
    "OutcomeUnknown",
    "Stream",
]


def __getattr__(name: str) -> Any:
    """What needs asyncio, which takes a while to import, when it is asked for."""
    if name == "AsyncHubClient":
        from .async_client import AsyncHubClient

        return AsyncHubClient
    if name == "AsyncStream":
        from .async_stream import AsyncStream

        return AsyncStream
    raise AttributeError(name)
