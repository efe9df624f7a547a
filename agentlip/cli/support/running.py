"""What runs in a workspace: server.json, what /health says to it, and the process that holds the writer lock."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...client import HubClient
from ...client.address import url_in
from ...client.tls import https_url
from ...config import Settings
from ...errors import AgentlipError, ConfigError
from ...workspace import writer_lock
from ...workspace.finding import DATABASE, FOLDER
from ...workspace.server_file import read_server_file
from .context import Context


def database_to_be(context: Context, environ: dict[str, str]) -> Path:
    """The database of a command that makes a workspace where there is none. Raises ConfigError."""
    if context.workspace is None:
        return Settings.load(environ).db
    root = Path(context.workspace).expanduser().absolute()
    if not root.is_dir():
        raise ConfigError(f"there is no folder {root}")
    return root / FOLDER / DATABASE


@dataclass(frozen=True, slots=True)
class Running:
    """The hub of a workspace at one moment. `health` is what the hub of server.json says, if it is there."""

    folder: Path
    server: dict[str, Any] | None
    health: dict[str, Any] | None
    holder: int | None

    @classmethod
    def look(cls, folder: Path, timeout: float = 2.0) -> Running:
        """Look now; waits up to `timeout` seconds for an answer."""
        server = read_server_file(folder)
        health = health_of(server, timeout) if server else None
        return cls(folder, server, health, writer_lock.holder(folder))

    @property
    def url(self) -> str | None:
        """Where the hub answers; None when it does not."""
        return url_in(self.server) if self.server and self.health else None

    @property
    def https_url(self) -> str | None:
        """Where a hub listens that serves TLS, which server.json does not tell. Asks it: that may take seconds."""
        is_silent = self.url is None and self.holder is not None
        return https_url(url_in(self.server)) if self.server and is_silent else None

    @property
    def is_left_over(self) -> bool:
        """Whether server.json tells of a hub that is gone."""
        return self.server is not None and self.health is None and self.holder is None


def health_of(server: dict[str, Any], timeout: float) -> dict[str, Any] | None:
    """What /health says at the address in server.json, if it is the same hub."""
    if not isinstance(server.get("port"), int):
        return None
    try:
        with HubClient(url_in(server), timeout=timeout) as client:
            health = client.health()
    except (AgentlipError, ConfigError):
        return None
    return health if health.get("instance_id") == server.get("instance_id") else None
