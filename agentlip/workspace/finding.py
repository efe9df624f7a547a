"""The workspace: where it is found, and how its files are called (docs/protocol.md, section 6)."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ConfigError

FOLDER = ".agentlip"
DATABASE = "db.sqlite3"
TOKEN_FILE = "auth_token"
SERVER_FILE = "server.json"
LOGIN_CODES = "login_codes"
SIGNED_OUT = "signed_out"
HUB_LOG = "hub.log"  # of a hub in the background


def find_root(start: Path) -> Path | None:
    """The nearest folder, from `start` upwards, that holds `.agentlip/db.sqlite3`; None when there is none.

    The search ends at the home folder and at the border of the file system. A workspace of another user is
    passed over, unless root asks: whoever may write above this folder must not choose our database.
    """
    try:
        home, current = Path.home().resolve(), start.resolve()
        device = current.stat().st_dev
        while not _is_root_of_ours(current):
            if current in (home, current.parent) or current.parent.stat().st_dev != device:
                return None
            current = current.parent
    except (OSError, RuntimeError):
        return None
    return current


def _is_root_of_ours(folder: Path) -> bool:
    try:
        return (folder / FOLDER / DATABASE).is_file() and (os.geteuid() in (0, (folder / FOLDER).stat().st_uid))
    except OSError:
        return False  # a folder that we may not look into


def database_path(start: Path) -> Path:
    """The database of the workspace around `start`, or else where it would be made: in `start` itself."""
    return (find_root(start) or start) / FOLDER / DATABASE


def lost(database: Path) -> str | None:
    """What to say of a workspace that has been used, and whose database is gone: a new one would hide the loss."""
    remains = [path for path in (database.with_name(TOKEN_FILE), Path(f"{database}-wal")) if _size(path)]
    if not remains or _size(database):
        return None
    return (
        f"the database {database} is gone or empty, but {remains[0].name} beside it is not: look for a disk that "
        "is not mounted, or `agentlip restore` a backup; `agentlip up --new` starts with an empty database"
    )


def check_not_lost(database: Path) -> None:
    """Raise ConfigError when the database is lost."""
    words = lost(database)
    if words is not None:
        raise ConfigError(words)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
