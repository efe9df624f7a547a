"""Waiting and waking on greenlets, also across native threads; `threads` has the same names.

Imported only when gevent has patched the process.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gevent import getcurrent
from gevent import spawn as spawn_greenlet
from gevent.hub import Waiter, get_hub

from ..errors import ServiceUnavailable
from .native import native_ident, native_local, native_lock

T = TypeVar("T")
HOME_SECONDS = 10.0

_home: Any = None  # the hub of the thread that applications are made on


def remember_loop() -> None:
    global _home
    if get_hub().loop.default:
        _home = get_hub()


def _is_away() -> bool:
    """Whether this is a native thread and the event loop known."""
    return _home is not None and _home.thread_ident != native_ident()


def run_at_home(call: Callable[[], T]) -> T:
    if not _is_away():
        return call()
    ended, results, errors = native_lock(), list[T](), list[BaseException]()
    ended.acquire()

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            ended.release()

    spawn(run)
    if not ended.acquire(timeout=HOME_SECONDS):
        raise ServiceUnavailable("the event loop does not run")
    if errors:
        raise errors[0]
    return results[0]


class _TaskAtHome:
    """A greenlet that a native thread has asked for."""

    def __init__(self) -> None:
        self.dead = False
        self.greenlet: Any = None  # while it runs

    def run(self, function: Callable[..., None], *args: Any) -> None:
        self.greenlet = getcurrent()
        try:
            function(*args)
        finally:
            self.dead, self.greenlet = True, None


def spawn(function: Callable[..., None], *args: Any) -> Any:
    if _is_away():
        task = _TaskAtHome()
        _call_in_loop(_home, spawn_greenlet, task.run, function, *args)
        return task
    return spawn_greenlet(function, *args)


def spawner() -> Callable[..., object]:
    hub = get_hub()
    return lambda function, *args: _call_in_loop(hub, spawn_greenlet, function, *args)


def has_ended(task: Any, deadline: float) -> bool:
    if getcurrent() is (task.greenlet if isinstance(task, _TaskAtHome) else task):
        return True
    while not task.dead and time.monotonic() < deadline:
        time.sleep(0.001)  # not `join`: that is for the event loop's own thread
    return bool(task.dead)


class Done:
    """A watcher that is made once. It is started while somebody waits: gevent takes a loop that waits for nothing
    of its own for a deadlock."""

    def __init__(self) -> None:
        self._hub: Any = get_hub()
        self._watcher = self._hub.loop.async_()

    def wait_after(self, start: Callable[[], None]) -> None:
        waiter = Waiter(self._hub)
        self._watcher.start(waiter.switch, None)  # first: a ring before this would be lost
        try:
            start()
            waiter.get()
        finally:
            self._watcher.stop()

    def ring(self) -> None:
        self._watcher.send()

    def close(self) -> None:
        self._watcher.close()


class Reply:
    __slots__ = ("hub", "waiter")

    def __init__(self) -> None:
        self.hub: Any = get_hub()
        self.waiter = Waiter(self.hub)

    def wait(self, timeout: float) -> bool:
        # The timer is also what a native thread's own loop waits for: gevent would take a loop without for a deadlock.
        timer = self.hub.loop.timer(timeout)
        timer.start(self.waiter.switch, False)
        try:
            return bool(self.waiter.get())
        finally:
            timer.stop()
            timer.close()


def deliver(replies: Sequence[Reply]) -> None:
    loops: dict[int, list[Reply]] = {}
    for reply in replies:
        loops.setdefault(id(reply.hub), []).append(reply)
    for group in loops.values():
        _call_in_loop(group[0].hub, _switch_all, group)  # a caller whose thread has ended waits no more


def _call_in_loop(hub: Any, function: Callable[..., None], *args: Any) -> bool:
    """Have the event loop call the function soon; from another thread that takes two system calls more.

    False when the loop is gone: it ends with its thread, at any time.
    """
    try:
        if hub.thread_ident == native_ident():
            hub.loop.run_callback(function, *args)
        else:
            hub.loop.run_callback_threadsafe(function, *args)
    except (AttributeError, ValueError):  # no loop any more; a destroyed one
        return False
    return True


def _switch_all(replies: list[Reply]) -> None:
    for reply in replies:
        reply.waiter.switch(True)


class _Life:
    """Lives as long as its thread."""


_lives = native_local()


def _life_of_thread() -> weakref.ref[_Life]:
    """Dead once the calling thread has ended: an event loop that was never destroyed looks alive even then."""
    life = getattr(_lives, "life", None)
    if life is None:
        life = _lives.life = _Life()
    return weakref.ref(life)


class Wakeup:
    """Switches straight into the waiter, so that it runs before callers woken later in the turn."""

    def __init__(self) -> None:
        self._hub: Any = get_hub()
        self._life = _life_of_thread()
        self._waiter: Any = None
        self._rang = False
        self._timeout = -1.0
        self._timer: Any = None  # made once and used again: making one costs more than all the rest

    def set(self) -> bool:
        if self._life() is None:
            return False
        if self._rang:
            return True
        self._rang = True
        return _call_in_loop(self._hub, self._fire)

    def _fire(self) -> None:
        if self._rang and self._waiter is not None:  # else the ring has ended an earlier wait
            self._waiter.switch(None)

    def wait(self, timeout: float) -> bool:
        if not self._rang:
            if timeout != self._timeout:
                self._timeout, self._timer = timeout, self._hub.loop.timer(timeout, repeat=timeout)
            waiter = self._waiter = Waiter(self._hub)
            self._timer.again(waiter.switch, None)  # not `start`: that would go on with what was left of the last time
            try:
                waiter.get()
            finally:
                self._waiter = None
                self._timer.stop()
        if not self._rang:  # written only when it was read as set: a ring may come in between
            return False
        self._rang = False
        return True

    def belongs_here(self) -> bool:
        return self._life() is not None and bool(self._hub.thread_ident == native_ident())
