"""The file in which `agentlip listen` keeps how far it is: `{"db_id": …, "after_event_id": …}`."""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import suppress
from pathlib import Path

from ...errors import ConfigError

_CAN_NOT_BE_REPLACED = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)


class CursorFile:
    """Read once, replaced after each event. The file is whole at every moment, so a kill loses nothing.

    Where it cannot be replaced (it is mounted by itself, its folder cannot be written to) it is written in place, in
    one go. A link stays one.
    """

    def __init__(self, path: Path) -> None:
        self._shown = path
        self._path = Path(os.path.realpath(path))
        self._temporary = self._path.with_name(f".{self._path.name}.new")
        self._in_place = False

    def read(self) -> tuple[int, str | None] | None:
        """The event id and the log's id; None when there is no file. Raises ConfigError if it is invalid."""
        try:
            if not stat.S_ISREG(self._path.stat().st_mode):
                raise ConfigError(f"{self._shown} is not a regular file")
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"cannot read {self._shown}: {error.strerror}") from None
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, int):
            content = {"after_event_id": content}
        after = content.get("after_event_id") if isinstance(content, dict) else None
        if not isinstance(after, int) or isinstance(after, bool) or after < 0:
            raise ConfigError(f"{self._shown} holds no cursor; remove it to start over")
        db_id = content.get("db_id")
        return after, db_id if isinstance(db_id, str) else None

    def write(self, after: int, db_id: str | None) -> None:
        """Raises ConfigError when the file cannot be written."""
        text = json.dumps({"db_id": db_id, "after_event_id": after}) + "\n"
        try:
            if not self._in_place:
                self._in_place = not self._replace(text)
            if self._in_place:
                self._overwrite(text.encode())
        except OSError as error:
            raise ConfigError(f"cannot write {self._shown}: {error.strerror}") from None

    def _replace(self, text: str) -> bool:
        """False when the file is there and can only be written in place."""
        try:
            self._temporary.write_text(text)
            with suppress(FileNotFoundError):
                self._temporary.chmod(stat.S_IMODE(self._path.stat().st_mode))
            os.replace(self._temporary, self._path)
        except OSError as error:
            with suppress(OSError):
                self._temporary.unlink()
            if error.errno not in _CAN_NOT_BE_REPLACED or not self._path.exists():
                raise
            return False
        return True

    def _overwrite(self, data: bytes) -> None:
        """One write, never shorter than the file: there is no moment at which it is half a cursor."""
        descriptor = os.open(self._path, os.O_WRONLY)
        try:
            size = os.fstat(descriptor).st_size
            os.pwrite(descriptor, data.rstrip(b"\n").ljust(size - 1) + b"\n", 0)
        finally:
            os.close(descriptor)
