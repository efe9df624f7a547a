"""The hub's token, in a file that only its owner can read. All may block on the disk."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from ..errors import ConfigError
from .finding import FOLDER, TOKEN_FILE
from .small_file import create_once, read_own, reason_of, replace

MIN_TOKEN_CHARS = 16


def load_or_make_token(folder: Path) -> str:
    """Return the token kept in the folder; the first caller makes it (256 random bits, mode 0600)."""
    path = folder / TOKEN_FILE
    try:
        if not os.path.lexists(path):
            create_once(path, secrets.token_hex(32) + "\n")
    except OSError as error:
        raise ConfigError(f"cannot use the token file {path}: {reason_of(path, error)}") from None
    is_private = folder.name != FOLDER and not folder.stat().st_mode & 0o077  # nobody else gets at what is in it
    return read_token(folder, 0o022 if is_private else 0o077)


def read_token(folder: Path, forbidden: int = 0) -> str:
    """The token in the folder. Raises ConfigError, also when its mode has bits that are forbidden."""
    path = folder / TOKEN_FILE
    try:
        token = read_own(path, forbidden).strip()
    except OSError as error:
        raise ConfigError(f"cannot use the token file {path}: {reason_of(path, error)}") from None
    except UnicodeDecodeError:
        token = ""
    if not re.fullmatch(rf"[\x21-\x7e]{{{MIN_TOKEN_CHARS},}}", token):
        raise ConfigError(f"the token file {path} holds no token; remove it to have a new one made")
    return token


def replace_token(folder: Path) -> str:
    """Make a new token in the place of the old one, atomically; returns it. A running hub keeps the old one."""
    token = secrets.token_hex(32)
    path = folder / TOKEN_FILE
    try:
        replace(path, token + "\n")
    except OSError as error:
        raise ConfigError(f"cannot write the token file {path}: {error.strerror}") from None
    return token
