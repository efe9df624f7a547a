"""`locks/writer.lock`: one hub at a time serves a workspace (docs/protocol.md, section 6).

The lock is a `flock` on the file, so the operating system releases it however its holder ends; a file without one is
stale, and its process id tells people who has it. Other implementations only write their process id: such a file
counts while that process lives. A new process that happens to get the id of a dead holder is told apart by its age.

No link is followed, neither in the file's place nor in its folder's: whoever made it could choose what is locked.
The holder's child processes inherit the lock: while workers of a killed hub still serve, it is held. Everything here
is done at start and stop and may block on the disk.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import ConfigError, LockHeld
from ..model import timestamp
from .folder import hand_over
from .processes import PROCESSES, is_running, processes_with, started_at

LOCK_FILE = Path("locks") / "writer.lock"
# gunicorn's workers look once a second whether their master is still there.
_ORPHAN_SECONDS = 5.0
_CLOCK_SLACK_SECONDS = 2.0


class WriterLock:
    """The lock of the workspace whose `.agentlip` folder is given. It belongs to the process that acquires it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_FILE
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock, recover a stale one. Raises LockHeld, or ConfigError when the file cannot be used.

        Waits some seconds when the hub itself is gone and only its workers are left, which notice soon.
        """
        deadline = time.monotonic() + _ORPHAN_SECONDS
        try:
            with suppress(FileExistsError):
                self.path.parent.mkdir(mode=0o700)
                hand_over(self.path.parent)
            while not self._try_acquire():
                pid = _living_writer(self.path)
                if pid is not None or time.monotonic() > deadline:
                    raise LockHeld(f"another hub{_named(pid)} serves this workspace ({self.path.parent.parent})")
                time.sleep(0.05)
        except OSError as error:
            link = linked(self.path.parent.parent)
            reason = f"{link} is a symbolic link" if link else error.strerror
            raise ConfigError(f"cannot use the lock {self.path}: {reason}") from None

    def _try_acquire(self) -> bool:
        with _opened_folder(self.path) as folder:
            return self._try_acquire_in(folder)

    def _try_acquire_in(self, folder: int) -> bool:
        handle = _open(self.path.name, folder, os.O_RDWR | os.O_CREAT)
        try:
            hand_over(Path(self.path.name), folder)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have removed the file between the two calls: then this lock is on nothing.
            if os.path.samestat(os.fstat(handle), os.lstat(self.path.name, dir_fd=folder)):
                self._refuse_foreign_holder(handle)
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"{os.getpid()}\n{timestamp(time.time_ns() // 1_000_000)}\n".encode(), 0)
                self._handle, handle = handle, -1
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if handle >= 0:
                os.close(handle)
        return self._handle is not None

    def _refuse_foreign_holder(self, handle: int) -> None:
        pid = _parse_pid(os.pread(handle, 1024, 0))
        if pid is not None and _is_anothers(pid, os.fstat(handle).st_mtime):
            raise LockHeld(foreign_holder(pid, self.path))

    def release(self) -> None:
        """Remove the file and let go; nothing happens when the lock is not held."""
        if self._handle is not None:
            with suppress(OSError), _opened_folder(self.path) as folder:
                os.unlink(self.path.name, dir_fd=folder)
            os.close(self._handle)
            self._handle = None


@contextmanager
def _opened_folder(path: Path) -> Iterator[int]:
    """The folder of the lock file. Raises OSError, also when it is a symbolic link."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


def _open(name: str, folder: int, flags: int) -> int:
    # Not blocking: a pipe in its place would be waited for.
    return os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600, dir_fd=folder)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The lock file, to look at. Raises OSError, also when it or its folder is a link."""
    with _opened_folder(path) as folder:
        handle = _open(path.name, folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def linked(folder: Path) -> Path | None:
    """The lock file of this workspace, or its folder, when it is a symbolic link and so no hub can start; else None."""
    path = folder / LOCK_FILE
    return next((part for part in (path.parent, path) if part.is_symlink()), None)


def holder(folder: Path) -> int | None:
    """The process id of the hub that holds the lock of this workspace; None when it is free or stale; 0: unknown."""
    pid = None
    try:
        with _opened(folder / LOCK_FILE) as handle:
            pid = _parse_pid(os.pread(handle, 1024, 0))
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return pid if pid is not None and _is_anothers(pid, os.fstat(handle).st_mtime) else None
    except BlockingIOError:
        return pid or 0
    except OSError:
        return None


def has_orphans(folder: Path) -> bool:
    """Whether the lock is held by workers of a hub that is gone itself."""
    pid = holder(folder)
    return pid == 0 or (pid is not None and not is_running(pid))


def wait_for_orphans(folder: Path, timeout: float = _ORPHAN_SECONDS) -> bool:
    """Wait until they have noticed, which takes a second or so; False: they are still there after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while has_orphans(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def foreign_holder(pid: int, path: Path) -> str:
    """The line about a lock file that a living process has written, but does not hold."""
    remedy = f"stop it, or remove {path} if it is not a hub"
    return f"process {pid} serves this workspace, or has left its lock behind: {remedy}"


def hub_process(folder: Path) -> int | None:
    """The first process of the hub, known for certain: it wrote its id into the lock that is held now, and has it open.

    None also for other implementations, and for hubs of another container: their ids may mean anything here.
    """
    path = folder / LOCK_FILE
    pid = _living_writer(path)
    if pid is None or not _is_locked(path):
        return None
    return pid if pid in users(folder) or not PROCESSES.is_dir() else None


def users(folder: Path) -> set[int]:
    """The processes that have the lock file open: the hub and its workers. Empty where the system does not tell."""
    return set() if linked(folder) else processes_with(folder / LOCK_FILE)


def _is_locked(path: Path) -> bool:
    try:
        with _opened(path) as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _living_writer(path: Path) -> int | None:
    """The process that wrote the file, if it still lives."""
    try:
        with _opened(path) as handle:
            pid, written = _parse_pid(os.pread(handle, 1024, 0)), os.fstat(handle).st_mtime
    except OSError:
        return None
    return pid if pid is not None and _is_as_old(pid, written) else None


def _parse_pid(content: bytes) -> int | None:
    """The process id, be it the first line or the `pid` of a JSON object."""
    found = re.match(rb"\s*(\d{1,10})\b", content) or re.search(rb'"pid"\s*:\s*(\d{1,10})\b', content)
    return (int(found[1]) or None) if found else None


def _is_anothers(pid: int, written: float) -> bool:
    """Whether a process that is not this one wrote the file at that Unix time, and still lives."""
    return pid != os.getpid() and _is_as_old(pid, written)


def _is_as_old(pid: int, written: float) -> bool:
    """Whether the process that wrote the file at that Unix time may still be this one."""
    started = started_at(pid)
    return started is not None and started <= written + _CLOCK_SLACK_SECONDS


def _named(pid: int | None) -> str:
    return "" if pid is None else f", process {pid},"
