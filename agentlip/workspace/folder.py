"""The folder itself: who owns it, and who may put files there. All may block on the disk."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from ..errors import ConfigError
from .finding import FOLDER


def prepare_folder(folder: Path) -> None:
    """Make the folder, mode 0700, if it is missing; an existing one is left as it is. Raises ConfigError."""
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in reversed(missing):
            hand_over(path)
        check_folder(folder)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from None


def check_folder(folder: Path) -> None:
    """Raise ConfigError when another user could put files of his own there. Raises OSError."""
    found = folder.stat()
    if not is_trusted(found.st_uid, folder):
        raise ConfigError(f"the folder {folder} belongs to {name_of(found.st_uid)}, who could change what is in it")
    if found.st_mode & (0o022 if folder.name == FOLDER else 0o002):
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigError(
            f"others may write to the folder {folder} (mode {mode:04o}): run `chmod go-w {folder}`, or use "
            "another folder"
        )


def is_trusted(uid: int, folder: Path) -> bool:
    """Whether a file of that owner is one's own: root may use everybody's workspace, and is trusted by everybody."""
    return uid in (0, os.geteuid()) or (os.geteuid() == 0 and uid == folder.stat().st_uid)


def is_own(found: os.stat_result, folder: Path) -> bool:
    """Whether what was found in the folder is one's own, and nobody else may write to it."""
    return is_trusted(found.st_uid, folder) and not found.st_mode & 0o022


def hand_over(path: Path, folder: int | None = None) -> None:
    """Give a file that root has made to the owner of its folder, who is to use it. Raises OSError.

    With `folder`, an open one, the path is a name in it: whatever stands in the folder's place by now is not touched.
    """
    if os.geteuid() == 0:
        owner = path.parent.stat() if folder is None else os.fstat(folder)
        if owner.st_uid != 0:
            os.chown(path, owner.st_uid, owner.st_gid, dir_fd=folder, follow_symlinks=False)


def name_of(uid: int) -> str:
    """The login name of a user, for people."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
