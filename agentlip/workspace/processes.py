"""What the system tells of other processes.

Read from /proc by ourselves, not with psutil: that counts a start from /proc/stat, which in some containers tells the
container's, and it looks at every open file, which may hang on a network drive.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

PROCESSES = Path("/proc")  # that of Linux


def processes_with(path: Path) -> set[int]:
    """The processes that have the file open, where the system tells."""
    try:
        wanted = path.stat()
    except OSError:
        return set()
    return {int(entry.name) for entry in PROCESSES.glob("[0-9]*") if _has_open(entry / "fd", path.name, wanted)}


def _has_open(descriptors: Path, name: str, wanted: os.stat_result) -> bool:
    with suppress(OSError), os.scandir(descriptors) as each:  # a process of somebody else, or one that has just ended
        for descriptor in each:
            # The name first: to look at the file itself may hang on a network drive.
            if os.readlink(descriptor).endswith(name) and os.path.samestat(os.stat(descriptor), wanted):
                return True
    return False


def parent_of(pid: int) -> int | None:
    """The parent process; None when the process is gone, or the system does not tell."""
    fields = _stat_of(pid)
    return int(fields[1]) if fields else None


def is_running(pid: int) -> bool:
    """Whether a process with that id lives."""
    return started_at(pid) is not None


def started_at(pid: int) -> float | None:
    """The Unix time at which a living process started, 0 where the system does not tell; None when it is gone."""
    fields = _stat_of(pid) if _exists(pid) else []
    if not fields:
        return 0.0 if _exists(pid) else None
    if fields[0] == "Z":
        return None
    # Both count from the start of the machine, which /proc/uptime does not in every container.
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty where the system does not tell."""
    try:
        return (PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
