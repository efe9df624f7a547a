"""What the global options say: which workspace, which hub, and how to print."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ...client import HubClient
from ...client.address import read_token
from ...config import Settings
from ...errors import ConfigError
from ...workspace.finding import DATABASE, FOLDER, find_root, lost

if TYPE_CHECKING:
    from .offline import Offline

Reader: TypeAlias = "HubClient | Offline"


@dataclass(frozen=True, slots=True)
class Context:
    """The global options as given; commands get it with `@click.pass_obj`."""

    workspace: str | None = None
    url: str | None = None
    token: str | None = None
    as_json: bool = False
    offline: bool = False

    @property
    def database(self) -> Path:
        """The database of the workspace named, or AGENTLIP_DB, or that of the workspace around here.

        Raises ConfigError when there is no workspace.
        """
        configured = os.environ.get("AGENTLIP_DB")
        if self.workspace is not None:
            root = Path(self.workspace).expanduser().absolute()
            if not (root / FOLDER / DATABASE).is_file():
                remedy = lost(root / FOLDER / DATABASE) or f"make one with `agentlip --workspace {root} init`"
                raise ConfigError(f"{root} is not a workspace; {remedy}")
            return root / FOLDER / DATABASE
        if configured:
            return Settings.load({"AGENTLIP_DB": configured}).db
        found = find_root(Path.cwd())
        if found is None:
            remedy = lost(Path.cwd() / FOLDER / DATABASE) or "make one with `agentlip init`"
            raise ConfigError(f"no workspace here or above; {remedy}")
        return found / FOLDER / DATABASE

    def client(self) -> HubClient:
        """A client of the hub at `--url`, or of the workspace's own. Raises HubUnreachable or ConfigError."""
        if self.offline:
            raise ConfigError("--offline only reads; this needs a hub")
        if self.url is not None:
            return HubClient(self.url, read_token(self.token))
        database = self.database  # a workspace that is not there is an error of its own
        return HubClient.discover(None if self.workspace is None else database.parent.parent)

    def reader(self) -> Reader:
        """A client, or with `--offline` the workspace's file itself. Raises also StorageError."""
        if self.offline:
            from .offline import Offline  # only now: it needs SQLite, and most commands do not

            return Offline(self.database)
        return self.client()
