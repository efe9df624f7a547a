"""A caller who is parked until the log has something for it: a long poll.

It costs the thread or greenlet of its call and a bell, reads the log only when that has rung, and holds a connection
slot, so that calls which wait cannot use up the server.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from .. import concurrency
from .follower import Bell, Home
from .subscription import Subscription


class Place(Home, Protocol):
    """What a wait needs of its hub."""

    def release(self) -> None: ...


class Waiting:
    """Made by Hub.wait, in a slot that is reserved: `with` gives it back at its end. For one thread or greenlet."""

    def __init__(self, hub: Place, subscription: Subscription, seconds: float, is_gone: Callable[[], bool]) -> None:
        self._hub = hub
        self._deadline = time.monotonic() + seconds
        self.bell = Bell(hub, subscription, is_gone)

    def __enter__(self) -> Waiting:
        """Whoever looks at the log after this misses nothing."""
        self._wakeup = self.bell.wakeup = concurrency.new_wakeup()
        if not self.bell.closed:
            self.bell.join()
            if self.bell.closed:  # `drop` may have looked for it before it was there
                self.bell.drop()
        return self

    def goes_on(self) -> bool:
        """Wait until it has rung: look at the log then. False when the time is over, or the hub ends."""
        left = self._deadline - time.monotonic()
        return not self.bell.closed and left > 0 and self._wakeup.wait(left) and not self.bell.closed

    def __exit__(self, *_error: object) -> None:
        self.bell.drop()
        self._hub.release()
