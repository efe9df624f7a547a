"""`locks/writer.lock`: one hub at a time serves a workspace (docs/protocol.md, section 6).

The lock is a `flock` on the file, so the operating system releases it however its holder ends; a file without one is
stale, and its process id tells people who has it. Hubs of other makes only write their process id: such a file
counts while that process lives. A new process that happens to get the id of a dead holder is told apart by its age.

The holder's child processes inherit the lock: while workers of a killed hub still serve, it is held. Everything here
is done at start and stop and may block on the disk.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from .errors import ConfigError, LockHeld
from .model import timestamp

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
        """Take the lock, recover a stale one. Raises LockHeld, or ConfigError when the file can not be used.

        Waits some seconds when the hub itself is gone and only its workers are left, which notice soon.
        """
        deadline = time.monotonic() + _ORPHAN_SECONDS
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            while not self._try_acquire():
                pid = _pid_in(self.path)
                if (pid is not None and _started_at(pid) is not None) or time.monotonic() > deadline:
                    raise LockHeld(f"another hub{_named(pid)} serves this workspace ({self.path.parent.parent})")
                time.sleep(0.05)
        except OSError as error:
            raise ConfigError(f"can not use the lock {self.path}: {error.strerror}") from None

    def _try_acquire(self) -> bool:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have removed the file between the two calls: then this lock is on nothing.
            if os.fstat(handle).st_ino == os.stat(self.path).st_ino:
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
        if pid is not None and _has_held_since(pid, os.fstat(handle).st_mtime):
            raise LockHeld(
                f"process {pid} serves this workspace, or has left its lock behind: "
                f"stop it, or remove {self.path} if it is no hub"
            )

    def release(self) -> None:
        """Remove the file and let go; nothing happens when the lock is not held."""
        if self._handle is not None:
            with suppress(OSError):
                os.unlink(self.path)
            os.close(self._handle)
            self._handle = None


def holder(folder: Path) -> int | None:
    """The process id of the hub that holds the lock of this workspace; None when it is free or stale; 0: unknown."""
    path = folder / LOCK_FILE
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        pid = _parse_pid(os.pread(handle, 1024, 0))
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return pid if pid is not None and _has_held_since(pid, os.fstat(handle).st_mtime) else None
    except BlockingIOError:
        return pid or 0
    finally:
        os.close(handle)


def _pid_in(path: Path) -> int | None:
    try:
        return _parse_pid(path.read_bytes()[:1024])
    except OSError:
        return None


def _parse_pid(content: bytes) -> int | None:
    """The process id, be it the first line or the `pid` of a JSON object."""
    found = re.match(rb"\s*(\d{1,10})\b", content) or re.search(rb'"pid"\s*:\s*(\d{1,10})\b', content)
    return int(found[1]) if found else None


def _has_held_since(pid: int, written: float) -> bool:
    """Whether the process that wrote the file at that Unix time may still be this one."""
    started = None if pid == os.getpid() else _started_at(pid)
    return started is not None and started <= written + _CLOCK_SLACK_SECONDS


def _started_at(pid: int) -> float | None:
    """The Unix time at which a living process started, 0 where the system does not tell; None when it is gone."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    if fields[0] == "Z":
        return None
    return time.time() - uptime + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _named(pid: int | None) -> str:
    return "" if pid is None else f", process {pid},"
