"""What can be wrong with the files of a workspace beside the database, and the part of it that is safe to put right."""

from __future__ import annotations

import glob
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from ...client.tls import what_to_do
from ...errors import ConfigError, LockHeld
from ...store import checkup
from ...store.checkup import Finding
from ...workspace.finding import FOLDER, HUB_LOG, LOGIN_CODES, SERVER_FILE, SIGNED_OUT, TOKEN_FILE, lost
from ...workspace.folder import name_of
from ...workspace.token import read_token
from ...workspace.writer_lock import LOCK_FILE, WriterLock, holder, linked
from .running import Running

_MIB = 1024 * 1024
_WAL_BYTES = 64 * _MIB
_FREE_BYTES, _FREE_BYTES_LEAST = 256 * _MIB, 16 * _MIB
_LEFTOVER_SECONDS = 60.0
_HEALTH_SECONDS = 3.0
_REPAIR = "run `agentlip doctor --repair`"


def examine(database: Path) -> Iterator[Finding]:
    """Check the files; asks the hub named in server.json who it is, so it may block for some seconds."""
    folder = database.parent
    words = lost(database)
    if words is not None:
        yield Finding("error", words)
    yield from _permissions(database)
    yield from _owners(database)
    yield _token(folder)
    yield from _links(database)
    if linked(folder) is None:
        yield _lock(folder)
    yield _server_file(folder)
    yield _wal(database)
    yield room(shutil.disk_usage(folder).free, database.stat().st_size if database.exists() else 0)
    for path in _leftovers(database):
        yield Finding("warning", f"{path} is left over from a process that is gone", _REPAIR)


def _open_to_others(database: Path) -> Iterator[tuple[Path, int]]:
    """What others than the owner may use, and the mode it should have.

    Links are their makers' business, and so is a folder that is not the workspace's own, say /srv.
    """
    folder = database.parent
    folders = [folder] if folder.name == FOLDER else []
    of_database = sorted(folder.glob(f"{glob.escape(database.name)}*"))
    for path in [*folders, folder / TOKEN_FILE, folder / SERVER_FILE, *of_database]:
        with suppress(FileNotFoundError):
            mode = path.lstat().st_mode
            if (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and mode & 0o077:
                yield path, stat.S_IMODE(mode) & 0o700


def _permissions(database: Path) -> Iterator[Finding]:
    found = list(_open_to_others(database))
    for path, _ in found:
        secret = path.name in (TOKEN_FILE, SERVER_FILE)
        what = f"others may use {path} (mode {stat.S_IMODE(path.lstat().st_mode):04o})"
        yield Finding("error" if secret else "warning", f"{what}, which holds the token" if secret else what, _REPAIR)
    if not found:
        yield Finding("ok", f"only their owner may use the files in {database.parent}")


def _of_others(database: Path) -> list[Path]:
    """Files of the workspace that do not belong to its owner, who cannot use them then."""
    folder = database.parent
    owner = folder.stat().st_uid
    inside = [folder / name for name in (TOKEN_FILE, SERVER_FILE, HUB_LOG, LOGIN_CODES, SIGNED_OUT, LOCK_FILE.parts[0])]
    inside += folder.glob(f"{glob.escape(database.name)}*")
    inside += [path for part in inside if part.is_dir() and not part.is_symlink() for path in part.iterdir()]
    return sorted(path for path in inside if os.path.lexists(path) and path.lstat().st_uid != owner)


def _owners(database: Path) -> Iterator[Finding]:
    owner = name_of(database.parent.stat().st_uid)
    found = _of_others(database)
    for path in found:
        what = f"{path} belongs to {name_of(path.lstat().st_uid)}, and not to {owner} as the workspace does"
        yield Finding("error", what, f"as root {_REPAIR}")
    if not found:
        yield Finding("ok", f"all files belong to {owner}, as the workspace does")


def _token(folder: Path) -> Finding:
    if not os.path.lexists(folder / TOKEN_FILE):
        return Finding("ok", "there is no token file; a hub makes one when it starts, unless it is given a token")
    try:
        read_token(folder)
    except ConfigError as error:
        return Finding("error", str(error))
    return Finding("ok", "the token file holds a token")


def _links(database: Path) -> Iterator[Finding]:
    """What no hub uses because it is a symbolic link."""
    if database.is_symlink():
        yield Finding(
            "error", f"{database} is a symbolic link, and no hub opens it", "put the file itself there, or name it"
        )
    inside = [Path(f"{database}-lock"), Path(f"{database}-peers")]
    for path in [path for path in (*inside, linked(database.parent)) if path and path.is_symlink()]:
        yield Finding(
            "error", f"{path} is a symbolic link, which no hub follows", "remove it: the next hub makes a new one"
        )


def _lock(folder: Path) -> Finding:
    lock, pid = WriterLock(folder).path, holder(folder)
    if pid is not None:
        return Finding("ok", f"the writer lock is held by {f'process {pid}' if pid else 'a process that is not named'}")
    if lock.exists():
        return Finding("warning", f"the writer lock {lock} is stale", f"the next hub takes it, or {_REPAIR}")
    return Finding("ok", "the writer lock is free")


def _server_file(folder: Path) -> Finding:
    hub = Running.look(folder, _HEALTH_SECONDS)
    if hub.url is not None:
        return Finding("ok", f"server.json is of the running hub, {hub.url}")
    https = hub.https_url
    if https is not None:
        return Finding("ok", f"server.json is of a hub that serves TLS; {what_to_do(https)}")
    present = os.path.lexists(folder / SERVER_FILE)
    if hub.holder is not None:
        what = "its hub does not answer" if present else "there is no server.json"
        return Finding(
            "error", f"the writer lock is held, but {what}", "it may be starting: look again, or see its log"
        )
    if present:
        return Finding("warning", "server.json is stale: its hub is gone", f"the next hub replaces it, or {_REPAIR}")
    return Finding("ok", "no hub runs, and there is no server.json")


def _wal(database: Path) -> Finding:
    size = 0
    with suppress(FileNotFoundError):
        size = database.with_name(database.name + "-wal").stat().st_size
    if size <= _WAL_BYTES:
        return Finding("ok", f"the WAL has {size} bytes")
    why = "after a burst of writes, or because some program reads for long or was killed"
    return Finding("warning", f"the WAL has {size // _MIB} MiB, {why}", f"stop the hub and {_REPAIR}")


def room(free: int, database: int) -> Finding:
    """Judge the free bytes of the disk by what the database may need."""
    what = f"{free // _MIB} MiB are free on the disk"
    if free < _FREE_BYTES_LEAST:
        return Finding("error", what, "free some space: writes are refused when it is full")
    if free < max(_FREE_BYTES, database):
        return Finding("warning", what, "free some space: a backup needs as much as the database")
    return Finding("ok", what)


def _leftovers(database: Path) -> list[Path]:
    """Temporary files that nobody will rename any more, and sockets that never got their name."""
    folder = database.parent
    old = [path for name in (TOKEN_FILE, SERVER_FILE) for path in folder.glob(f".{name}.*") if _is_old(path)]
    sockets = database.with_name(f"{database.name}-peers").glob("*.new")
    return sorted(old) + sorted(path for path in sockets if _is_old(path) and not _lives(path.name.partition("-")[0]))


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > _LEFTOVER_SECONDS
    except FileNotFoundError:
        return False


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError, ValueError):
        return False
    return True


def repair(database: Path) -> Iterator[Finding]:
    """Put right what is safe, and say what was done: permissions and leftovers, and without a hub also the rest."""
    for path, mode in list(_open_to_others(database)):
        yield _done(f"set the mode of {path} to {mode:04o}", partial(path.chmod, mode))
    for path in _leftovers(database):
        yield _done(f"removed {path}", path.unlink)
    owner = database.parent.stat()
    for path in _of_others(database):
        give = partial(os.chown, path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        yield _done(f"gave {path} to {name_of(owner.st_uid)}", give)
    rest = "the database, the writer lock and server.json were left alone"
    hub = Running.look(database.parent, _HEALTH_SECONDS)
    if hub.url is not None:
        yield Finding("skipped", f"{rest}: a hub serves this workspace, {hub.url}", "stop it first")
        return
    lock = WriterLock(database.parent)
    stale = lock.path.exists()
    try:
        lock.acquire()
    except (LockHeld, ConfigError) as error:
        yield Finding("skipped", f"{rest}: {error}")
        return
    try:
        yield from _repair_alone(database, stale)
    finally:
        lock.release()


def _repair_alone(database: Path, stale_lock: bool) -> Iterator[Finding]:
    """The writer lock is held, so a server.json is of a hub that is gone."""
    if stale_lock:
        yield Finding("repaired", "removed the stale writer lock")
    server_file = database.with_name(SERVER_FILE)
    if os.path.lexists(server_file):
        yield _done("removed the stale server.json", server_file.unlink)
    yield from checkup.repair(database)


def _done(what: str, action: Callable[[], None]) -> Finding:
    try:
        action()
    except OSError as error:
        return Finding("skipped", f"could not do this: {what} ({error.strerror})")
    return Finding("repaired", what)
