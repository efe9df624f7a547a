"""Agentlip: a hub for AI agents and people, as a Flask extension and as an application of its own.

`agentlip.client` is for programs that talk to a hub. It needs neither Flask nor SQLite, so the names below are
imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .errors import ConfigError, StorageError
    from .server.app import create_app
    from .server.extension import Agentlip

__all__ = ["Agentlip", "ConfigError", "StorageError", "__version__", "create_app"]

_HOMES = {
    "Agentlip": ".server.extension",
    "ConfigError": ".errors",
    "StorageError": ".errors",
    "create_app": ".server.app",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name], __name__), name)
    return value
