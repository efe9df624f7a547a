"""The client for asyncio: the same code, with each call and each wait for an event on a thread of its own.

The event loop never blocks. A call or wait that is cancelled lets go of its socket at once; nothing of it is left.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar

from ..model import Event, Message, Topic
from .async_stream import AsyncStream
from .async_threads import Threads
from .client import Answers, HubClient
from .errors import NoAnswer

P = ParamSpec("P")
T = TypeVar("T")

_CALLS_AT_ONCE = 32
_CHUNK = 100  # of an iterator: so many items a thread


class _Call(Generic[P, T]):
    """A method of HubClient as one to await."""

    def __init__(self, method: Callable[Concatenate[HubClient, P], T]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, client: AsyncHubClient, owner: object = None) -> Callable[P, Coroutine[Any, Any, T]]:
        @wraps(self._method)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            return await client._run(partial(self._method, client._sync, *args, **kwargs))

        return call


class _Each(Generic[P, T]):
    """A method of HubClient that iterates, as one for `async for`."""

    def __init__(self, method: Callable[Concatenate[HubClient, P], Iterator[T]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, client: AsyncHubClient, owner: object = None) -> Callable[P, AsyncIterator[T]]:
        @wraps(self._method)
        async def each(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            items = self._method(client._sync, *args, **kwargs)
            while chunk := await client._run(lambda: list(itertools.islice(items, _CHUNK))):
                for item in chunk:
                    yield item

        return each


class AsyncHubClient:
    """HubClient for asyncio: its methods, to be awaited. Use `async with`, or `aclose` it; in one event loop."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        rate_limit_wait: float = 30.0,
    ) -> None:
        """As HubClient. Nothing is asked of the hub yet. Raises ConfigError."""
        self._begin(
            HubClient(url, token, timeout=timeout, ssl_context=ssl_context, rate_limit_wait=rate_limit_wait), Threads()
        )

    def _begin(self, sync: HubClient, threads: Threads) -> None:
        self._sync = sync
        self._threads = threads
        self._turns = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._streams: weakref.WeakSet[AsyncStream] = weakref.WeakSet()

    @classmethod
    async def _made(cls, make: Callable[[], HubClient]) -> AsyncHubClient:
        threads, client = Threads(), cls.__new__(cls)

        def made() -> HubClient:
            sync = make()
            sync._http.drop()  # nobody closes it when this has been cancelled meanwhile
            return sync

        client._begin(await threads.call(made), threads)
        return client

    @classmethod
    async def discover(
        cls, start: Path | str | None = None, *, timeout: float = 10.0, rate_limit_wait: float = 30.0
    ) -> AsyncHubClient:
        """See HubClient.discover."""
        return await cls._made(partial(HubClient.discover, start, timeout=timeout, rate_limit_wait=rate_limit_wait))

    @classmethod
    async def connect_or_start(
        cls,
        start: Path | str | None = None,
        *,
        timeout: float = 10.0,
        rate_limit_wait: float = 30.0,
        start_timeout: float = 60.0,
    ) -> AsyncHubClient:
        """See HubClient.connect_or_start. A hub that is being started when this is cancelled starts all the same."""
        make = partial(
            HubClient.connect_or_start, start,
            timeout=timeout, rate_limit_wait=rate_limit_wait, start_timeout=start_timeout,
        )  # fmt: skip
        return await cls._made(make)

    def __repr__(self) -> str:
        return f"Async{self._sync!r}"

    async def __aenter__(self) -> AsyncHubClient:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the streams and kept connections, and wait until the threads are gone."""
        for each in list(self._streams):
            await each.aclose()
        self._sync.close()
        await self._threads.end()

    @property
    def url(self) -> str:
        """Where the hub is, or was when it was last looked for."""
        return self._sync.url

    async def _run(self, work: Callable[[], T]) -> T:
        async with self._turns:
            return await self._threads.call(work)

    health = _Call(HubClient.health)
    ping = _Call(HubClient.ping)
    channels = _Call(HubClient.channels)
    create_channel = _Call(HubClient.create_channel)
    channel = _Call(HubClient.channel)
    topics = _Call(HubClient.topics)
    create_topic = _Call(HubClient.create_topic)
    rename_topic = _Call(HubClient.rename_topic)
    topic = _Call(HubClient.topic)
    messages = _Call(HubClient.messages)
    message = _Call(HubClient.message)
    post_message = _Call(HubClient.post_message)
    edit = _Call(HubClient.edit)
    delete = _Call(HubClient.delete)
    move = _Call(HubClient.move)
    attachments = _Call(HubClient.attachments)
    add_attachment = _Call(HubClient.add_attachment)
    search = _Call(HubClient.search)
    events = _Call(HubClient.events)
    iter_channels = _Each(HubClient.iter_channels)
    iter_topics = _Each(HubClient.iter_topics)
    iter_messages = _Each(HubClient.iter_messages)
    iter_attachments = _Each(HubClient.iter_attachments)
    iter_events = _Each(HubClient.iter_events)

    def stream(
        self,
        after: int | None = 0,
        *,
        channels: Iterable[str] | None = None,
        topics: Iterable[str] | None = None,
        db_id: str | None = None,
        on_new_log: Literal["raise", "restart"] = "raise",
        on_connect: Callable[[dict[str, Any]], None] | None = None,
        on_disconnect: Callable[[str, float], None] | None = None,
    ) -> AsyncStream:
        """See HubClient.stream; to be called in the event loop, where the callbacks are called as well."""
        loop = asyncio.get_running_loop()

        def in_loop(callback: Callable[..., None] | None) -> Any:
            return None if callback is None else partial(loop.call_soon_threadsafe, callback)

        stream = self._sync.stream(
            after, channels=channels, topics=topics, db_id=db_id, on_new_log=on_new_log,
            on_connect=in_loop(on_connect), on_disconnect=in_loop(on_disconnect),
        )  # fmt: skip
        made = AsyncStream(stream, self._threads)
        self._streams.add(made)
        return made

    async def wait_for(
        self,
        predicate: Callable[[Event], object],
        timeout: float | None = None,
        *,
        after: int | None = None,
        channels: Iterable[str] | None = None,
        topics: Iterable[str] | None = None,
    ) -> Event:
        """See HubClient.wait_for."""
        async with self.stream(after, channels=channels, topics=topics) as events:
            return await events.wait_for(predicate, timeout)

    async def ask(self, topic: str | Topic, text: str, timeout: float | None = None, *, sender: str = "me") -> Message:
        """See HubClient.ask."""
        topic_id = await self._run(partial(self._sync._topic_id, topic))
        asked = await self.post_message(topic_id, sender, text)
        answers = Answers(sender)
        try:
            await self.wait_for(answers.take, timeout, after=asked.event_id, topics=[topic_id])
        except TimeoutError:
            raise NoAnswer(asked) from None
        return answers.found[0]
