"""What the global options say: which workspace, which hub, and how to print."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..client import HubClient
from ..errors import ConfigError
from ..workspace import DATABASE, FOLDER, find_root


@dataclass(frozen=True, slots=True)
class Context:
    """The global options as given; commands get it with `@click.pass_obj`."""

    workspace: str | None
    url: str | None
    token: str | None
    as_json: bool

    @property
    def root(self) -> Path | None:
        """The workspace: the one named, or else the one around the working folder."""
        if self.workspace is not None:
            return Path(self.workspace).expanduser().absolute()
        return find_root(Path.cwd())

    @property
    def folder(self) -> Path:
        """The `.agentlip` folder of an existing workspace. Raises ConfigError."""
        root = self.root
        if root is None:
            raise ConfigError("no workspace here or above; make one with `agentlip init`")
        if not (root / FOLDER / DATABASE).is_file():
            raise ConfigError(f"{root} is no workspace; make one with `agentlip --workspace {root} init`")
        return root / FOLDER

    def client(self) -> HubClient:
        """A client of the hub at `--url`, or of the workspace's own. Raises HubUnreachable or ConfigError."""
        if self.url is not None:
            return HubClient(self.url, self._read_token())
        return HubClient.discover(self.folder.parent)

    def _read_token(self) -> str | None:
        if self.token is None or not self.token.startswith("@"):
            return self.token
        path = Path(self.token[1:]).expanduser()
        try:
            return path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"can not read the token from {path}: {getattr(error, 'strerror', 'not ASCII')}"
            ) from None
