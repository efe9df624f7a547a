"""Long reads, each on a native thread of its own, so that no event loop waits for them. Only a few at a time.

Each kind has its own share of the threads: slow searches hold up neither quick ones, nor the web page, nor lists.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from .. import concurrency
from ..errors import ServiceUnavailable, ShuttingDown

LISTS, PAGE, QUICK_SEARCH, SEARCH = "long reads", "reads of the web page", "quick searches", "searches"
SHARE = 2  # threads of each
_WAIT_SECONDS = 5.0

T = TypeVar("T")


class Readers:
    """Runs long reads; any thread or greenlet may call `run`."""

    def __init__(self) -> None:
        self._free = {kind: threading.BoundedSemaphore(SHARE) for kind in (LISTS, PAGE, QUICK_SEARCH, SEARCH)}
        self._stopped = False

    def run(self, call: Callable[[], T], kind: str) -> T:
        """Run `call` on a native thread and return its result; raises what it raised.

        Raises ServiceUnavailable when all threads of the kind are taken for long, ShuttingDown after `stop`.
        """
        if self._stopped:
            raise ShuttingDown()
        if not self._free[kind].acquire(timeout=_WAIT_SECONDS):
            raise ServiceUnavailable(f"too many {kind}")
        offload = concurrency.Offload()
        try:
            return offload.run(call)
        finally:
            offload.stop()
            self._free[kind].release()

    def stop(self) -> None:
        """Refuse further reads."""
        self._stopped = True
