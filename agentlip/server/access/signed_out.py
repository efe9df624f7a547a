"""Sessions that people have ended before their time: a file for each, beside the database, so that every worker knows
it at once, and also after a restart. A file holds nothing, and is named by the hash of the cookie.

What is kept is bounded: a file is removed when the cookie is too old anyway. Of very many at once the hub remembers
only when they were, and takes no session that began before.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from ...errors import ServiceUnavailable
from ...workspace.finding import SIGNED_OUT
from ...workspace.folder import hand_over

MOST = 1000
_EVERYBODY = "everybody"


def end(folder: Path, session: str, seconds: float) -> None:
    """End a session that would be good for at most so many seconds more. Raises ServiceUnavailable."""
    place = folder / SIGNED_OUT
    try:
        with suppress(FileExistsError):
            place.mkdir(mode=0o700)
            hand_over(place)
        if _remove_old(place, seconds) >= MOST:
            _touch(place / _EVERYBODY)
            _remove_old(place, 0)
        _touch(place / _name(session))
    except OSError as error:
        raise ServiceUnavailable(f"cannot write to the hub's folder: {error.strerror}") from None


def _touch(path: Path) -> None:
    path.touch(mode=0o600)
    hand_over(path)


def has_ended(folder: Path, session: str, began: float) -> bool:
    """Whether the session, which began at that Unix time, was ended; two looks at the disk."""
    if os.path.exists(f"{folder}/{SIGNED_OUT}/{_name(session)}"):
        return True
    try:
        return began <= os.stat(f"{folder}/{SIGNED_OUT}/{_EVERYBODY}").st_mtime
    except OSError:
        return False


def _remove_old(place: Path, seconds: float) -> int:
    """Remove what is older than that; how many are left."""
    left = 0
    for path in place.iterdir():
        with suppress(FileNotFoundError):  # another worker has removed it
            if path.name == _EVERYBODY:
                continue
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()
            else:
                left += 1
    return left


def _name(session: str) -> str:
    return hashlib.sha256(session.encode("utf-8", "replace")).hexdigest()
