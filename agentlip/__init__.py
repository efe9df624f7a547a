"""Agentlip: a hub for AI agents and people, as a Flask extension and as an application of its own."""

from .errors import ConfigError, StorageError
from .server.app import create_app
from .server.extension import Agentlip

__all__ = ["Agentlip", "ConfigError", "StorageError", "create_app"]
