"""Codes with which people sign in to the web page, each once. All may block on the disk."""

from __future__ import annotations

import hashlib
import secrets
import time
from pathlib import Path

from ..errors import ConfigError
from .finding import LOGIN_CODES
from .folder import hand_over, prepare_folder

_LOGIN_CODE_SECONDS = 600


def make_login_code(folder: Path) -> str:
    """A code with which one person may sign in to the web page, once, in the next ten minutes. Raises ConfigError.

    The folder keeps its hash, so all workers know it, and whoever reads a backup of the folder cannot use it.
    """
    code = secrets.token_urlsafe(24)
    codes = folder / LOGIN_CODES
    prepare_folder(codes)
    try:
        for old in codes.iterdir():
            if time.time() - old.stat().st_mtime > _LOGIN_CODE_SECONDS:
                old.unlink(missing_ok=True)
        (codes / _hash_of(code)).touch(mode=0o600)
        hand_over(codes / _hash_of(code))
    except OSError as error:
        raise ConfigError(f"cannot write to {codes}: {error.strerror}") from None
    return code


def take_login_code(folder: Path, code: str) -> bool:
    """Whether the code is good; it is not from then on."""
    path = folder / LOGIN_CODES / _hash_of(code)
    try:
        age = time.time() - path.stat().st_mtime
        path.unlink()  # of several at once, one
    except OSError:
        return False
    return age <= _LOGIN_CODE_SECONDS


def _hash_of(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()
