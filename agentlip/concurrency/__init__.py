"""The seam between threads and greenlets: the only folder of the package that names gevent.

The hub runs on real threads (gthread, Werkzeug) and on greenlets (gunicorn's gevent worker,
pywsgi).  gevent patches the standard library, so most code simply uses `threading`, `time` and
`select`; here is what patching cannot give: things that must stay native although the process
is patched, and wake-ups that cross from a native thread into the event loop.

`threads` and `greenlets` hold the same names; which of them serves is decided by whether the process is patched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from .choice import kind
from .native import (
    native_ident,
    native_local,
    native_lock,
    native_poll,
    native_sleep,
    native_socket,
    on_gevent,
    original,
)
from .offload import Offload

__all__ = [
    "Offload", "Reply", "Task", "Wakeup", "cede", "deliver", "native_ident", "native_local", "native_lock",
    "native_poll", "native_sleep", "native_socket", "new_reply", "new_wakeup", "on_gevent", "original", "remember_loop",
    "run_at_home", "spawn", "spawner", "wait_for",
]  # fmt: skip

T = TypeVar("T")
# What `spawn` has started: a thread or a greenlet.
Task = Any


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


def remember_loop() -> None:
    """Call it where the event loop lives: from then on nothing is left to the loops of native threads.

    Such a loop runs only while its thread waits, and ends with it.
    """
    kind().remember_loop()


def run_at_home(call: Callable[[], T]) -> T:
    """Run `call` on the event loop's thread, whatever thread this is; blocks until it has ended, raises what it raised.

    Raises ServiceUnavailable when the loop does not come to it: somebody there waits, for this thread perhaps.
    """
    result: T = kind().run_at_home(call)
    return result


def spawn(function: Callable[..., None], *args: Any) -> Task:
    """Run `function` concurrently: a greenlet of the event loop under gevent, else a daemon thread.

    Raises ThreadLimit. Never blocks.
    """
    return kind().spawn(function, *args)


def spawner() -> Callable[..., object]:
    """A `spawn` for the garbage collector, which comes at any time and on any thread: it takes no lock.

    Under gevent it starts greenlets on the event loop of the thread that has called this.
    """
    start: Callable[..., object] = kind().spawner()
    return start


def wait_for(tasks: Iterable[Task], deadline: float) -> bool:
    """Wait until all have ended, or `deadline` (`time.monotonic`) has come; False: some have not.

    From any thread or greenlet; one that is itself among the tasks does not wait for itself: it counts as ended.
    """
    has_ended = kind().has_ended
    return sum(not has_ended(task, deadline) for task in tasks) == 0


def cede() -> None:
    """Let others run: one turn of the event loop, or of the thread scheduler."""
    time.sleep(0)


def new_wakeup() -> Wakeup:
    """Call it on the thread (under gevent: the event loop's thread) that will wait."""
    wakeup: Wakeup = kind().Wakeup()
    return wakeup


def new_reply() -> Reply:
    """Call it on the thread that will wait."""
    reply: Reply = kind().Reply()
    return reply


def deliver(replies: Sequence[Reply]) -> None:
    """Wake all waiting callers; from whatever thread or greenlet served them; never blocks."""
    kind().deliver(replies)
