"""Whether the database is still the file that was opened: somebody may remove it, or put another into its place.

SQLite itself does not notice. It goes on with a file that has no name any more: what is written there is lost, and what
is read is false. A look is two `stat` calls, some microseconds; any thread may look.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger("agentlip.store")


class FileId(NamedTuple):
    """What tells a file from another of the same name."""

    device: int
    inode: int


class FileWatch:
    """Looks after one database file, once `known` says which it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wal = f"{path}-wal"
        self.known: FileId | None = None
        self._known_wal: FileId | None = None
        self.fault: str | None = None  # at the last look; for people, and for `details.reason`

    def know(self) -> None:
        """From now on it is this file."""
        self.known = _identify(self._path)

    def hold_wal(self) -> None:
        """A connection has the WAL open from now on: SQLite leaves it where it is, until `let_go_of_wal`."""
        if self._known_wal is None:
            self._known_wal = _identify(self._wal, 0)

    def let_go_of_wal(self) -> None:
        self._known_wal = None

    def look(self) -> str | None:
        """What is wrong; None while, or when again, it is the same file."""
        fault = self._compare()
        if fault != self.fault:
            self.fault = fault
            if fault is None:
                logger.warning("The database is back in its place: %s", self._path)
            else:
                logger.error("The %s while it was in use: %s", fault, self._path)
        return fault

    def _compare(self) -> str | None:
        if self.known is not None:
            found = _identify(self._path)
            if found != self.known:
                return "database was replaced" if found else "database was removed"
        if self._known_wal is not None and _identify(self._wal, 0) != self._known_wal:
            return "write-ahead log of the database was removed"
        return None


def _identify(path: Path | str, least: int = 1) -> FileId | None:
    """None when there is no such file, or it has fewer bytes."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return FileId(found.st_dev, found.st_ino) if found.st_size >= least else None
