"""The workspace: where it is found, and its files beside the database (docs/protocol.md, section 6).

Everything here is done once at start or stop, on the caller's thread, and may block on the disk.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pwd
import re
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import ConfigError

FOLDER = ".agentlip"
DATABASE = "db.sqlite3"
TOKEN_FILE = "auth_token"
SERVER_FILE = "server.json"
LOGIN_CODES = "login_codes"
SIGNED_OUT = "signed_out"
HUB_LOG = "hub.log"  # of a hub in the background
MIN_TOKEN_CHARS = 16
_LOGIN_CODE_SECONDS = 600


def find_root(start: Path) -> Path | None:
    """The nearest folder, from `start` upwards, that holds `.agentlip/db.sqlite3`; None when there is none.

    The search ends at the home folder and at the border of the file system. A workspace of another user is
    passed over, unless root asks: whoever may write above this folder must not choose our database.
    """
    try:
        home, current = Path.home().resolve(), start.resolve()
        device = current.stat().st_dev
        while not _is_root_of_ours(current):
            if current in (home, current.parent) or current.parent.stat().st_dev != device:
                return None
            current = current.parent
    except (OSError, RuntimeError):
        return None
    return current


def _is_root_of_ours(folder: Path) -> bool:
    try:
        return (folder / FOLDER / DATABASE).is_file() and (os.geteuid() in (0, (folder / FOLDER).stat().st_uid))
    except OSError:
        return False  # a folder that we may not look into


def database_path(start: Path) -> Path:
    """The database of the workspace around `start`, or else where it would be made: in `start` itself."""
    return (find_root(start) or start) / FOLDER / DATABASE


def prepare_folder(folder: Path) -> None:
    """Make the folder, mode 0700, if it is missing; an existing one is left as it is. Raises ConfigError."""
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in reversed(missing):
            hand_over(path)
        check_folder(folder)
    except OSError as error:
        raise ConfigError(f"can not make the folder {folder}: {error.strerror}") from None


def check_folder(folder: Path) -> None:
    """Raise ConfigError when another user could put files of his own there. Raises OSError."""
    found = folder.stat()
    if not _is_trusted(found.st_uid, folder):
        raise ConfigError(f"the folder {folder} belongs to {name_of(found.st_uid)}, who could change what is in it")
    if found.st_mode & (0o022 if folder.name == FOLDER else 0o002):
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigError(
            f"others may write to the folder {folder} (mode {mode:04o}): run `chmod go-w {folder}`, or name another one"
        )


def _is_trusted(uid: int, folder: Path) -> bool:
    """Whether a file of that owner is one's own: root may use everybody's workspace, and is trusted by everybody."""
    return uid in (0, os.geteuid()) or (os.geteuid() == 0 and uid == folder.stat().st_uid)


def is_own(found: os.stat_result, folder: Path) -> bool:
    """Whether what was found in the folder is one's own, and nobody else may write to it."""
    return _is_trusted(found.st_uid, folder) and not found.st_mode & 0o022


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


def _read_own(path: Path, forbidden: int) -> str:
    """The text of a small file that is no link, and that others may not use in the forbidden ways. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(path, encoding="utf-8", opener=lambda name, _: os.open(name, flags)) as file:
        found = os.fstat(file.fileno())
        if not _is_trusted(found.st_uid, path.parent):
            raise PermissionError(errno.EPERM, f"it belongs to {name_of(found.st_uid)}")
        if found.st_mode & forbidden:
            mode = stat.S_IMODE(found.st_mode)
            raise PermissionError(
                errno.EPERM, f"others may use it (mode {mode:04o}); `agentlip token rotate` replaces it"
            )
        return file.read()


def _reason(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "it is a link"
    if error.errno == errno.EACCES and os.path.lexists(path):
        return f"{error.strerror}; it belongs to {name_of(path.lstat().st_uid)}"
    return error.strerror or str(error)


def check_writable(folder: Path) -> None:
    """Write a page and remove it again: a full disk or a read-only folder is found out here. Raises ConfigError."""
    try:
        os.unlink(_write_temporary(folder / SERVER_FILE, "\0" * 4096))
    except OSError as error:
        raise ConfigError(f"can not write to {folder}: {error.strerror}") from None


def lost(database: Path) -> str | None:
    """What to say of a workspace that has been used, and whose database is gone: a new one would hide the loss."""
    remains = [path for path in (database.with_name(TOKEN_FILE), Path(f"{database}-wal")) if _size(path)]
    if not remains or _size(database):
        return None
    return (
        f"the database {database} is gone or empty, but {remains[0].name} beside it is not: look for a disk that "
        "is not mounted, or `agentlip restore` a backup; `agentlip up --new` starts with an empty database"
    )


def check_not_lost(database: Path) -> None:
    """Raise ConfigError when the database is lost."""
    words = lost(database)
    if words is not None:
        raise ConfigError(words)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def load_or_make_token(folder: Path) -> str:
    """Return the token kept in the folder; the first caller makes it (256 random bits, mode 0600)."""
    path = folder / TOKEN_FILE
    try:
        if not os.path.lexists(path):
            _create_once(path, secrets.token_hex(32) + "\n")
    except OSError as error:
        raise ConfigError(f"can not use the token file {path}: {_reason(path, error)}") from None
    is_private = folder.name != FOLDER and not folder.stat().st_mode & 0o077  # nobody else gets at what is in it
    return read_token(folder, 0o022 if is_private else 0o077)


def read_token(folder: Path, forbidden: int = 0) -> str:
    """The token in the folder. Raises ConfigError, also when its mode has bits that are forbidden."""
    path = folder / TOKEN_FILE
    try:
        token = _read_own(path, forbidden).strip()
    except OSError as error:
        raise ConfigError(f"can not use the token file {path}: {_reason(path, error)}") from None
    except UnicodeDecodeError:
        token = ""
    if not re.fullmatch(rf"[\x21-\x7e]{{{MIN_TOKEN_CHARS},}}", token):
        raise ConfigError(f"the token file {path} holds no token; remove it to have a new one made")
    return token


def write_server_file(folder: Path, content: dict[str, Any]) -> None:
    """Write server.json atomically, mode 0600."""
    _replace(folder / SERVER_FILE, json.dumps(content, indent=2) + "\n")


def read_server_file(folder: Path) -> dict[str, Any] | None:
    """The content of server.json; None when none is ours and makes sense. It may be stale: ask /health."""
    try:
        content = json.loads(_read_own(folder / SERVER_FILE, 0o022))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def replace_token(folder: Path) -> str:
    """Make a new token in the place of the old one, atomically; returns it. A running hub keeps the old one."""
    token = secrets.token_hex(32)
    path = folder / TOKEN_FILE
    try:
        _replace(path, token + "\n")
    except OSError as error:
        raise ConfigError(f"can not write the token file {path}: {error.strerror}") from None
    return token


def make_login_code(folder: Path) -> str:
    """A code with which one person may sign in to the web page, once, in the next ten minutes. Raises ConfigError.

    The folder keeps its hash, so all workers know it, and whoever reads a backup of the folder can not use it.
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
        raise ConfigError(f"can not write to {codes}: {error.strerror}") from None
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


def remove_server_file(folder: Path, instance_id: str) -> None:
    """Remove server.json if it is still the one of this hub."""
    content = read_server_file(folder)
    if content is not None and content.get("instance_id") == instance_id:
        with suppress(OSError):
            (folder / SERVER_FILE).unlink()


def _create_once(path: Path, text: str) -> None:
    # A link fails when the name exists, so of several first starters one wins and all read the same.
    temporary = _write_temporary(path, text)
    try:
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


def _replace(path: Path, text: str) -> None:
    temporary = _write_temporary(path, text)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _write_temporary(path: Path, text: str) -> Path:
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
