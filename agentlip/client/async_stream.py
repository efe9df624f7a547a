"""The event log as an asynchronous iterator."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from contextlib import suppress

from ..model import Event
from .async_threads import Threads
from .stream import Stream


class AsyncStream:
    """Iterates over events as Stream does, with `async for`, in one task at a time; use `async with`, or `aclose` it.

    A cancelled wait for an event loses nothing: the next one goes on with it.
    """

    def __init__(self, stream: Stream, threads: Threads) -> None:
        """Made by AsyncHubClient.stream."""
        self._stream = stream
        self._threads = threads
        self._waiting: asyncio.Future[Event | None] | None = None
        weakref.finalize(self, stream.close)  # one that is forgotten ends as well

    @property
    def cursor(self) -> int:
        """The id of the last event that was processed; see Stream."""
        return self._stream.cursor

    @property
    def db_id(self) -> str | None:
        return self._stream.db_id

    def __aiter__(self) -> AsyncStream:
        return self

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()

    async def __anext__(self) -> Event:
        """The next event. Raises what Stream raises, and StopAsyncIteration after `aclose`."""
        if self._waiting is None:
            await asyncio.sleep(0)  # others have their turn also when events come as fast as they are taken
            received = self._stream.next(0) if self._stream.is_ahead else None
            if received is not None:
                return received
            self._waiting = self._threads.start(self._stream.next)
        waiting = self._waiting
        try:
            received = await asyncio.shield(waiting)
        finally:
            if waiting.done():
                self._waiting = None
        if received is None:
            raise StopAsyncIteration
        return received

    async def next(self, timeout: float | None = None) -> Event | None:
        """The next event; None when none came within `timeout` seconds, or after `aclose`."""
        try:
            async with asyncio.timeout(timeout):
                return await self.__anext__()
        except (TimeoutError, StopAsyncIteration):
            return None

    async def wait_for(self, predicate: Callable[[Event], object], timeout: float | None = None) -> Event:
        """The next event for which `predicate` is true. Raises TimeoutError, also when the stream is closed."""
        try:
            async with asyncio.timeout(timeout) as limit:
                async for received in self:
                    if predicate(received):
                        return received
        except TimeoutError:
            if not limit.expired():
                raise
        raise TimeoutError("The event that was waited for did not come")

    async def aclose(self) -> None:
        """End the iteration, and wait until its thread and socket are gone."""
        self._stream.close()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            with suppress(Exception):
                await waiting
