"""Small files beside the database: read with care, and replaced whole. All may block on the disk."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from ..errors import ConfigError
from .finding import SERVER_FILE
from .folder import hand_over, is_trusted, name_of


def read_own(path: Path, forbidden: int) -> str:
    """The text of a small file that is not a link, and others may not use in the forbidden ways. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(path, encoding="utf-8", opener=lambda name, _: os.open(name, flags)) as file:
        found = os.fstat(file.fileno())
        if not is_trusted(found.st_uid, path.parent):
            raise PermissionError(errno.EPERM, f"it belongs to {name_of(found.st_uid)}")
        if found.st_mode & forbidden:
            mode = stat.S_IMODE(found.st_mode)
            raise PermissionError(
                errno.EPERM, f"others may use it (mode {mode:04o}); `agentlip token rotate` replaces it"
            )
        return file.read()


def reason_of(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "it is a symbolic link"
    if error.errno == errno.EACCES and os.path.lexists(path):
        return f"{error.strerror}; it belongs to {name_of(path.lstat().st_uid)}"
    return error.strerror or str(error)


def check_writable(folder: Path) -> None:
    """Write a page and remove it again: a full disk or a read-only folder is found out here. Raises ConfigError."""
    try:
        os.unlink(write_temporary(folder / SERVER_FILE, "\0" * 4096))
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}") from None


def create_once(path: Path, text: str) -> None:
    # A link fails when the name exists, so of several first starters one wins and all read the same.
    temporary = write_temporary(path, text)
    try:
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


def replace(path: Path, text: str) -> None:
    temporary = write_temporary(path, text)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_temporary(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            hand_over(temporary)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(temporary)  # a full disk must not fill up further with every start
        raise
    return temporary
