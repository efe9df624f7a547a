"""The files beside the database: folder, auth token, server.json (docs/protocol.md, section 6).

Everything here is done once at start or stop, on the caller's thread, and may block on the disk.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import ConfigError

TOKEN_FILE = "auth_token"
SERVER_FILE = "server.json"


def prepare_folder(folder: Path) -> None:
    """Make the folder, mode 0700, if it is missing; an existing one is left as it is."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"can not make the folder {folder}: {error.strerror}") from None


def load_or_make_token(folder: Path) -> str:
    """Return the token kept in the folder; the first caller makes it (256 random bits, mode 0600)."""
    path = folder / TOKEN_FILE
    try:
        if not path.exists():
            _create_once(path, secrets.token_hex(32) + "\n")
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(f"can not use the token file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        token = ""
    if not re.fullmatch(r"[\x21-\x7e]{16,}", token):
        raise ConfigError(f"the token file {path} holds no token; remove it to have a new one made")
    return token


def write_server_file(folder: Path, content: dict[str, Any]) -> None:
    """Write server.json atomically, mode 0600."""
    path = folder / SERVER_FILE
    temporary = _write_temporary(path, json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)


def remove_server_file(folder: Path, instance_id: str) -> None:
    """Remove server.json if it is still the one of this hub."""
    path = folder / SERVER_FILE
    with suppress(OSError, ValueError, AttributeError):
        if json.loads(path.read_text()).get("instance_id") == instance_id:
            path.unlink()


def _create_once(path: Path, text: str) -> None:
    # A link fails when the name exists, so of several first starters one wins and all read the same.
    temporary = _write_temporary(path, text)
    try:
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


def _write_temporary(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return temporary
