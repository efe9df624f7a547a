"""A native thread for one caller's long calls.

Not gevent's thread pool, which takes 14 us more of the processor for each call (52, not 38), prints what a call raises,
and keeps a call in its queue for which no thread could be started.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ..errors import ThreadLimit
from .choice import kind
from .native import native_lock, original

T = TypeVar("T")


class Offload:
    """A native thread that runs one call at a time for a caller that waits without holding up others."""

    def __init__(self) -> None:
        self._go = native_lock()
        self._go.acquire()
        self._running = False
        self._call: Callable[[], Any] | None = None
        self._result: Any = None
        self._error: BaseException | None = None
        self._done: _Done

    def run(self, call: Callable[[], T]) -> T:
        """Run `call` on the thread, wait for its end and return its result; raises what it raised.

        One caller at a time, and always the same greenlet or thread. Raises ThreadLimit when there is no thread
        yet, and none can be started; then `call` has not begun.
        """
        if not self._running:
            self._start()
        self._call, self._error = call, None
        self._done.wait_after(self._go.release)
        if self._error is not None:
            raise self._error
        result: T = self._result
        return result

    def _start(self) -> None:
        done: _Done = kind().Done()
        try:
            original("_thread", "start_new_thread")(self._loop, ())
        except (RuntimeError, MemoryError):
            done.close()
            raise ThreadLimit() from None
        self._done, self._running = done, True  # only now: a failed start is tried again by the next call

    def stop(self) -> None:
        """End the thread; no call may be running."""
        if self._running:
            self._running = False
            self._call = None
            self._go.release()
            self._done.close()

    def _loop(self) -> None:
        while True:
            self._go.acquire()
            if self._call is None:
                return
            try:
                self._result = self._call()
            except BaseException as error:
                self._error = error
            self._done.ring()


class _Done(Protocol):
    """The way back from the native thread."""

    def wait_after(self, start: Callable[[], None]) -> None:
        """Call `start`, then wait for one ring."""

    def ring(self) -> None:
        """From the native thread."""

    def close(self) -> None:
        """Nobody rings any more."""
