"""The seam between threads and greenlets: the only file of the package that names gevent.

The hub runs on real threads (gthread, Werkzeug) and on greenlets (gunicorn's gevent worker,
pywsgi).  gevent patches the standard library, so most code simply uses `threading`, `time` and
`select`; here is what patching can not give: things that must stay native although the process
is patched, and wake-ups that cross from a native thread into the event loop.

Rule for native locks: nothing that can switch greenlets may run while one is held.
"""

from __future__ import annotations

import _thread
import select
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from .errors import ServiceUnavailable, ThreadLimit

T = TypeVar("T")
_HOME_SECONDS = 10.0


def _on_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _native(module: str, name: str) -> Any:
    monkey = sys.modules.get("gevent.monkey")
    return monkey.get_original(module, name) if monkey else getattr(__import__(module), name)


def native_lock() -> threading.Lock:
    """A lock between OS threads, never seen by greenlets; about 50 ns uncontended."""
    lock: threading.Lock = _native("_thread", "allocate_lock")()
    return lock


def native_local() -> Any:
    """Storage per OS thread: all greenlets of a thread share it."""
    return _native("_thread", "_local")()


def native_socket(sock: socket.socket) -> socket.socket:
    """A second handle of the same descriptor whose calls go straight to the kernel; `detach` it, never close."""
    handle: socket.socket = _native("socket", "socket")(fileno=sock.fileno())
    return handle


def native_poll() -> select.poll:
    """A `poll` that no event loop sees: for a question that takes no time."""
    poll: select.poll = _native("select", "poll")()
    return poll


_sleep = _native("time", "sleep")
_native_ident = _native("_thread", "get_ident")


def native_sleep(seconds: float) -> None:
    """Put the whole OS thread to sleep: for threads that no event loop lives on. As exact as the kernel's timers."""
    _sleep(seconds)


# What `spawn` has started: a thread or a greenlet.
Task = Any


_home: Any = None  # gevent's hub of the thread that applications are made on


def remember_loop() -> None:
    """Call it where the event loop lives: from then on nothing is left to the loops of native threads.

    Such a loop runs only while its thread waits, and ends with it.
    """
    global _home
    if _on_gevent():
        from gevent.hub import get_hub

        if get_hub().loop.default:
            _home = get_hub()


def _is_away() -> bool:
    """Whether this is a native thread under gevent, and the event loop known."""
    return _home is not None and _home.thread_ident != _native_ident()


def run_at_home(call: Callable[[], T]) -> T:
    """Run `call` on the event loop's thread, whatever thread this is; blocks until it has ended, raises what it raised.

    Raises ServiceUnavailable when the loop does not come to it: somebody there waits, for this thread perhaps.
    """
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
    if not ended.acquire(timeout=_HOME_SECONDS):
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
        from gevent import getcurrent

        self.greenlet = getcurrent()
        try:
            function(*args)
        finally:
            self.dead, self.greenlet = True, None


def spawn(function: Callable[..., None], *args: Any) -> Task:
    """Run `function` concurrently: a greenlet of the event loop under gevent, else a daemon thread.

    Raises ThreadLimit. Never blocks.
    """
    if _on_gevent():
        from gevent import spawn as spawn_greenlet

        if _is_away():
            task = _TaskAtHome()
            _call_in_loop(_home, spawn_greenlet, task.run, function, *args)
            return task
        return spawn_greenlet(function, *args)
    try:
        thread = threading.Thread(target=function, args=args, daemon=True)
        thread.start()
    except (RuntimeError, MemoryError):
        raise ThreadLimit() from None
    return thread


def wait_for(tasks: Iterable[Task], deadline: float) -> bool:
    """Wait until all have ended, or `deadline` (`time.monotonic`) has come; False: some have not.

    From any thread or greenlet; one that is itself among the tasks does not wait for itself: it counts as ended.
    """
    return sum(not _has_ended(task, deadline) for task in tasks) == 0


def _has_ended(task: Task, deadline: float) -> bool:
    if _is_current(task):
        return True
    if isinstance(task, threading.Thread):
        task.join(max(0.0, deadline - time.monotonic()))
        return not task.is_alive()
    while not task.dead and time.monotonic() < deadline:
        time.sleep(0.001)  # not `join`: that is for the event loop's own thread
    return bool(task.dead)


def _is_current(task: Task) -> bool:
    if isinstance(task, threading.Thread):
        return task is threading.current_thread()
    from gevent import getcurrent

    return getcurrent() is (task.greenlet if isinstance(task, _TaskAtHome) else task)


def spawner() -> Callable[..., object]:
    """A `spawn` for the garbage collector, which comes at any time and on any thread: it takes no lock.

    Under gevent it starts greenlets on the event loop of the thread that has called this.
    """
    if not _on_gevent():
        return lambda function, *args: _thread.start_new_thread(function, args)
    from gevent import get_hub
    from gevent import spawn as spawn_greenlet

    hub = get_hub()
    return lambda function, *args: _call_in_loop(hub, spawn_greenlet, function, *args)


def cede() -> None:
    """Let others run: one turn of the event loop, or of the thread scheduler."""
    time.sleep(0)


class Wakeup(Protocol):
    """A doorbell for one waiter. Rings that come while nobody waits are kept as one, and end one wait: the next."""

    def set(self) -> bool:
        """Ring; from any thread or greenlet, also from native threads; never blocks and never raises.

        False when nobody can wait here any more: the thread it belongs to has ended.
        """

    def wait(self, timeout: float) -> bool:
        """Wait until it rings: True, at once when it has rung since the last True. False after `timeout` seconds.

        Only the owner may wait.
        """

    def belongs_here(self) -> bool:
        """Whether the calling thread may wait."""


class Reply(Protocol):
    """A one-shot meeting point between a caller and whoever serves it."""

    def wait(self, timeout: float) -> bool:
        """Block the calling greenlet or thread until delivered; False after `timeout` seconds, then call it again."""


def new_wakeup() -> Wakeup:
    """Call it on the thread (under gevent: the event loop's thread) that will wait."""
    return _GeventWakeup() if _on_gevent() else _ThreadWakeup()


def new_reply() -> Reply:
    """Call it on the thread that will wait."""
    return _GeventReply() if _on_gevent() else _ThreadReply()


def deliver(replies: Sequence[Reply]) -> None:
    """Wake all waiting callers; from whatever thread or greenlet served them; never blocks."""
    loops: dict[int, list[_GeventReply]] = {}
    for reply in replies:
        if isinstance(reply, _GeventReply):
            loops.setdefault(id(reply.hub), []).append(reply)
        else:
            assert isinstance(reply, _ThreadReply)
            reply.lock.release()
    for group in loops.values():
        _call_in_loop(group[0].hub, _switch_all, group)  # a caller whose thread has ended waits no more


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
        done: _Done = _GeventDone() if _on_gevent() else _ThreadDone()
        try:
            _native("_thread", "start_new_thread")(self._loop, ())
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


class _ThreadDone:
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


class _GeventDone:
    """A watcher that is made once. It is started while somebody waits: gevent takes a loop that waits for nothing
    of its own for a deadlock."""

    def __init__(self) -> None:
        from gevent.hub import Waiter, get_hub

        self._hub: Any = get_hub()
        self._new_waiter = Waiter
        self._watcher = self._hub.loop.async_()

    def wait_after(self, start: Callable[[], None]) -> None:
        waiter = self._new_waiter(self._hub)
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


class _ThreadReply:
    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = native_lock()
        self.lock.acquire()

    def wait(self, timeout: float) -> bool:
        return self.lock.acquire(timeout=timeout)


class _ThreadWakeup:
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


class _GeventReply:
    __slots__ = ("hub", "waiter")

    def __init__(self) -> None:
        from gevent.hub import Waiter, get_hub

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


def _call_in_loop(hub: Any, function: Callable[..., None], *args: Any) -> bool:
    """Have the event loop call the function soon; from another thread that takes two system calls more.

    False when the loop is gone: it ends with its thread, at any time.
    """
    try:
        if hub.thread_ident == _native_ident():
            hub.loop.run_callback(function, *args)
        else:
            hub.loop.run_callback_threadsafe(function, *args)
    except (AttributeError, ValueError):  # no loop any more; a destroyed one
        return False
    return True


def _switch_all(replies: list[_GeventReply]) -> None:
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


class _GeventWakeup:
    """Switches straight into the waiter, so that it runs before callers woken later in the turn."""

    def __init__(self) -> None:
        from gevent.hub import Waiter, get_hub

        self._new_waiter = Waiter
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
            waiter = self._waiter = self._new_waiter(self._hub)
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
        return self._life() is not None and bool(self._hub.thread_ident == _native_ident())
