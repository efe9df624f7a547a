"""What a test may not leave behind in this process: threads, descriptors (so sockets and files too) and greenlets."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from . import running_hub

# What ends may take a moment to do so.
_PATIENCE_SECONDS = 10.0
# Made once and kept for the whole process, by gevent and by libraries that draw random numbers.
_KEPT = ("anon_inode:[eventpoll]", "anon_inode:[eventfd]", "anon_inode:[timerfd]", "/dev/urandom", "/dev/null")

# Greenlets that gevent itself keeps, for each thread and each thread of its pool.
_OF_GEVENT = ("Hub", "ThreadPoolWorker")


class Leftovers:
    """Made before a test; `check` after it fails when there is more than before."""

    def __init__(self) -> None:
        self._threads = set(os.listdir("/proc/self/task"))
        self._descriptors = _descriptors()

    def check(self) -> None:
        """Wait a moment until all is gone; pytest's failure names what is not."""
        if not self._found():
            return
        running_hub.Hub.close_idle_connections()  # of a module's hub, which outlives the test
        if not self._found():
            return
        gc.collect()  # costs more than most tests
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while found := self._found():
            if time.monotonic() > deadline:
                pytest.fail(f"left behind: {', '.join(found)}")
            time.sleep(0.01)

    def _found(self) -> list[str]:
        names = {str(thread.native_id): thread.name for thread in threading.enumerate()}
        threads = [names.get(it, f"thread {it}") for it in os.listdir("/proc/self/task") if it not in self._threads]
        now = _descriptors()
        return threads + [f"{number} {now[number]}" for number in now if now[number] != self._descriptors.get(number)]


def is_left_out(path: Path) -> bool:
    """Files that are not looked at: those of browsers, whose driver keeps pipes and greenlets.

    Nor is a process that runs on greenlets altogether: gevent keeps threads of its pool for the next who needs one.
    """
    module = sys.modules.get("gevent.monkey")
    is_patched = module is not None and bool(module.is_module_patched("threading"))
    return is_patched or path.parent.name == "ui"


def _descriptors() -> dict[int, str]:
    """Open descriptors and what they lead to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the one that read the folder
        if not target.startswith(_KEPT) and Path(target) != Path(f"/proc/{os.getpid()}/fd"):
            found[int(name)] = target
    return found


def greenlets() -> list[Any]:
    """All greenlets that are still to run. Looks at every object, so it is for the end of a file, not of a test."""
    module = sys.modules.get("greenlet")
    if module is None:
        return []
    gc.collect()
    # By its type: isinstance asks proxies, also those of what is gone, which raise then.
    found = [each for each in gc.get_objects() if issubclass(type(each), module.greenlet)]
    return [
        each for each in found if not each.dead and each.parent is not None and type(each).__name__ not in _OF_GEVENT
    ]
