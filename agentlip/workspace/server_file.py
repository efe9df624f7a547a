"""server.json: where the hub of this workspace is to be reached. All may block on the disk."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from .finding import SERVER_FILE
from .small_file import read_own, replace


def write_server_file(folder: Path, content: dict[str, Any]) -> None:
    """Write server.json atomically, mode 0600."""
    replace(folder / SERVER_FILE, json.dumps(content, indent=2) + "\n")


def read_server_file(folder: Path) -> dict[str, Any] | None:
    """The content of server.json; None when none is ours and makes sense. It may be stale: ask /health."""
    try:
        content = json.loads(read_own(folder / SERVER_FILE, 0o022))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def remove_server_file(folder: Path, instance_id: str) -> None:
    """Remove server.json if it is still the one of this hub."""
    content = read_server_file(folder)
    if content is not None and content.get("instance_id") == instance_id:
        with suppress(OSError):
            (folder / SERVER_FILE).unlink()
