"""Threads for asyncio: what blocks runs on one, and the event loop gets the result."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from .giving_up import GivingUp

T = TypeVar("T")


class Threads:
    """Daemon threads, each for one piece of work whose result goes to an event loop."""

    def __init__(self) -> None:
        self._running: set[threading.Thread] = set()

    def start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """The result to come. Cancelling it does not end the work."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                settle = partial(_set, future.set_result, work())
            except BaseException as error:
                settle = partial(_set, future.set_exception, error)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, future)

        thread = threading.Thread(target=run, name="agentlip client", daemon=True)
        thread.start()
        self._running = {each for each in self._running if each.is_alive()} | {thread}
        return future

    async def call(self, work: Callable[[], T]) -> T:
        """The result; when this is cancelled, the calls of the work are given up."""
        giving_up = GivingUp()

        def run() -> T:
            giving_up.begin()
            return work()

        future = self.start(run)
        try:
            return await future
        except asyncio.CancelledError:
            giving_up.now()
            raise

    async def end(self) -> None:
        """Wait until none is left."""
        while any(each.is_alive() for each in self._running):
            await asyncio.sleep(0.005)


def _set(how: Callable[[Any], None], value: Any, future: asyncio.Future[Any]) -> None:
    if not future.done():  # it may be cancelled
        how(value)
