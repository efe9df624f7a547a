"""Long reads, each on a native thread of its own, so that no event loop waits for them. Only a few at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from .. import concurrency
from ..errors import ServiceUnavailable, ShuttingDown

MAX_READERS = 2
_WAIT_SECONDS = 5.0

T = TypeVar("T")


class Readers:
    """Runs long reads; any thread or greenlet may call `run`."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(MAX_READERS)
        self._stopped = False

    def run(self, call: Callable[[], T]) -> T:
        """Run `call` on a native thread and return its result; raises what it raised.

        Raises ServiceUnavailable when all threads are taken for long, ShuttingDown after `stop`.
        """
        if self._stopped:
            raise ShuttingDown()
        if not self._free.acquire(timeout=_WAIT_SECONDS):
            raise ServiceUnavailable("too many searches")
        offload = concurrency.Offload()
        try:
            return offload.run(call)
        finally:
            offload.stop()
            self._free.release()

    def stop(self) -> None:
        """Refuse further reads."""
        self._stopped = True
