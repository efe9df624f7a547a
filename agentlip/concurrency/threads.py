"""Waiting and waking on threads; `greenlets` has the same names."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..errors import ThreadLimit
from .native import native_lock

T = TypeVar("T")


def spawn(function: Callable[..., None], *args: Any) -> threading.Thread:
    try:
        thread = threading.Thread(target=function, args=args, daemon=True)
        thread.start()
    except (RuntimeError, MemoryError):
        raise ThreadLimit() from None
    return thread


def spawner() -> Callable[..., object]:
    return lambda function, *args: _thread.start_new_thread(function, args)


def remember_loop() -> None:
    """There is none."""


def run_at_home(call: Callable[[], T]) -> T:
    return call()


def has_ended(task: threading.Thread, deadline: float) -> bool:
    if task is threading.current_thread():
        return True
    task.join(max(0.0, deadline - time.monotonic()))
    return not task.is_alive()


class Done:
    def __init__(self) -> None:
        self._lock = native_lock()
        self._lock.acquire()

    def wait_after(self, start: Callable[[], None]) -> None:
        start()
        self._lock.acquire()

    def ring(self) -> None:
        self._lock.release()

    def close(self) -> None:
        pass


class Reply:
    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = native_lock()
        self.lock.acquire()

    def wait(self, timeout: float) -> bool:
        return self.lock.acquire(timeout=timeout)


def deliver(replies: Sequence[Reply]) -> None:
    for reply in replies:
        reply.lock.release()


class Wakeup:
    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> bool:
        self._event.set()
        return True

    def wait(self, timeout: float) -> bool:
        rang = self._event.wait(timeout)
        if rang:  # else a ring may have come since, and is for the next wait
            self._event.clear()
        return rang

    def belongs_here(self) -> bool:
        return True
