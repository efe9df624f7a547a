"""The file in which `agentlip listen` keeps how far it is: `{"db_id": …, "after_event_id": …}`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..errors import ConfigError


class CursorFile:
    """Read once, replaced after each event. The file is whole at every moment, so a kill loses nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.new")

    def read(self) -> tuple[int, str | None] | None:
        """The event id and the log's id; None when there is no file. Raises ConfigError for one that makes no sense."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"can not read {self._path}: {error.strerror}") from None
        except ValueError:
            content = None
        if isinstance(content, int):
            content = {"after_event_id": content}
        after = content.get("after_event_id") if isinstance(content, dict) else None
        if not isinstance(after, int) or isinstance(after, bool) or after < 0:
            raise ConfigError(f"{self._path} holds no cursor; remove it to start anew")
        db_id = content.get("db_id")
        return after, db_id if isinstance(db_id, str) else None

    def write(self, after: int, db_id: str | None) -> None:
        """Raises ConfigError when the file can not be written."""
        try:
            self._temporary.write_text(json.dumps({"db_id": db_id, "after_event_id": after}) + "\n")
            os.replace(self._temporary, self._path)
        except OSError as error:
            raise ConfigError(f"can not write {self._path}: {error.strerror}") from None
