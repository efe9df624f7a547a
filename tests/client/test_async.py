"""The client under asyncio: the same answers, the loop never blocked, and nothing left when something is cancelled."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agentlip.client import AsyncHubClient, HubClient, NoAnswer
from agentlip.errors import AlreadyExists, InvalidAuth, NotFound

from ..running_hub import ROOT, TOKEN, Hub, eventually
from .odd_server import Late, serving, silent
from .poster import kill
from .test_stream import connections_to

names = itertools.count()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Neither a thread nor a descriptor, at once after the loop."""
    threads, files = set(threading.enumerate()), os.listdir("/proc/self/fd")
    yield
    # Python learns of threads that it did not start, such as those of a hub of an earlier test here, when they log.
    left = [each for each in threading.enumerate() if each not in threads]
    assert [each for each in left if not isinstance(each, threading._DummyThread)] == []
    assert len(os.listdir("/proc/self/fd")) <= len(files)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


@asynccontextmanager
async def room(hub: Hub) -> AsyncIterator[tuple[AsyncHubClient, str]]:
    """A client, and a topic of the test's own."""
    async with AsyncHubClient(hub.url, TOKEN) as client:
        yield client, (await client.topic(f"c{next(names)}/t", create=True)).id


def test_it_has_every_method_of_the_client() -> None:
    other = {"close", "discover", "connect_or_start", "stream", "wait_for", "ask", "url"}
    public = {name for name in dir(HubClient) if not name.startswith("_")}
    assert public - {name for name in dir(AsyncHubClient) if not name.startswith("_")} == {"close"}
    for name in public - other:
        assert inspect.getdoc(vars(AsyncHubClient)[name]) == inspect.getdoc(getattr(HubClient, name))


def test_calls(hub: Hub) -> None:
    async def main() -> None:
        async with room(hub) as (client, topic):
            assert (await client.ping("x"))["echo"] == "x"
            sent = await asyncio.gather(*(client.post_message(topic, "me", str(number)) for number in range(60)))
            page = await client.messages(topic_id=topic, limit=100)
            assert {each.message.id for each in sent} == {each.id for each in page.messages}
            assert [each async for each in client.iter_messages(topic_id=topic)] == page.messages
            with pytest.raises(NotFound):
                await client.message("msg_none")
            with pytest.raises(AlreadyExists):
                await client.create_channel((await client.channels())[0].name)
            assert (await client.channel((await client.channels())[0].id)).id
        async with AsyncHubClient(hub.url, "wrong") as client:
            with pytest.raises(InvalidAuth):
                await client.ping()

    run(main())


def test_a_stream_is_read_whole_and_others_have_their_turn(hub: Hub) -> None:
    async def main() -> None:
        async with room(hub) as (client, topic):
            hub.fill(topic, 3000)
            turns = 0

            async def tick() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            ticking = asyncio.create_task(tick())
            async with client.stream(topics=[topic]) as events:
                found = [(await anext(events)).event_id for _ in range(3001)]
                assert found == sorted(set(found))
                assert events.cursor == found[-2]
                live = await client.post_message(topic, "me", "live")
                assert (await anext(events)).event_id == live.event_id
            ticking.cancel()
            assert turns > 1000

    run(main())


def test_a_cancelled_wait_loses_no_event(hub: Hub) -> None:
    async def main() -> None:
        async with room(hub) as (client, topic), client.stream(None, topics=[topic]) as events:
            assert await events.next(0.3) is None
            for number in range(5):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(events), 0.05)
                sent = await client.post_message(topic, "me", str(number))
                received = await events.next(10)
                assert received is not None
                assert received.event_id == sent.event_id

    run(main())


def test_a_cancelled_task_leaves_nothing(hub: Hub) -> None:
    async def main() -> None:
        async with room(hub) as (client, topic):
            seen = asyncio.Event()

            async def follow() -> None:
                async with client.stream(topics=[topic]) as events:
                    async for _ in events:
                        seen.set()

            tasks = [asyncio.create_task(follow()) for _ in range(5)]
            await seen.wait()
            began = time.monotonic()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert time.monotonic() - began < 2
            await client.aclose()
            assert not [each for each in threading.enumerate() if each.name == "agentlip client"]

    run(main())


def test_a_call_that_is_cancelled_lets_go_at_once(hub: Hub) -> None:
    async def main() -> None:
        with silent() as url:
            client = AsyncHubClient(url, TOKEN, timeout=30)
            calls = [asyncio.create_task(client.create_channel("x")) for _ in range(40)]  # some wait for their turn
            await asyncio.sleep(0.5)
            began = time.monotonic()
            for each in calls:
                each.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await client.aclose()
            assert time.monotonic() - began < 2

    run(main())


def test_a_call_that_is_under_way_when_the_client_is_closed_leaves_no_connection() -> None:
    late = Late()

    async def main(url: str) -> None:
        client = AsyncHubClient(url)
        call = asyncio.create_task(client.health())
        assert await asyncio.to_thread(late.asked.wait, 10)
        closing = asyncio.create_task(client.aclose())
        await asyncio.sleep(0)  # so that the closing has begun
        late.may_answer.set()
        await asyncio.gather(call, closing)
        assert await asyncio.to_thread(late.closed.wait, 5)

    with serving(late) as url:
        run(main(url))


def test_a_wait_for_the_rate_limit_can_be_cancelled(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS="on", RATE_LIMIT_PER_CLIENT=1)

    async def main() -> None:
        async with AsyncHubClient(hub.url, TOKEN) as client:
            calls = [asyncio.create_task(client.create_channel(str(number))) for number in range(8)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            for each in calls:
                each.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    began = time.monotonic()
    run(main())
    assert time.monotonic() - began < 5


def test_a_stream_that_is_forgotten_ends(hub: Hub) -> None:
    async def main() -> None:
        async with room(hub) as (client, topic):
            async for _ in client.stream(topics=[topic]):
                break
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(client.stream(None)), 0.2)

    run(main())


def test_a_program_that_closes_nothing_ends(hub: Hub) -> None:
    program = (
        "import asyncio, sys; from agentlip.client import AsyncHubClient\n"
        "async def main():\n"
        "    async for _ in AsyncHubClient(*sys.argv[1:]).stream(None): pass\n"
        "asyncio.run(asyncio.wait_for(main(), 0.5))\n"
    )
    command = [sys.executable, "-c", program, hub.url, TOKEN]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert ended.returncode == 1
    assert ended.stderr.rstrip().endswith("TimeoutError")


def test_over_a_restart_with_callbacks_in_the_loop(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    hub.settings["PORT"] = hub.port
    heard: list[tuple[str, threading.Thread]] = []

    async def main() -> None:
        def tell(what: str) -> Callable[..., None]:
            return lambda *_: heard.append((what, threading.current_thread()))

        async with AsyncHubClient(hub.url, TOKEN) as client:
            await client.create_channel("before")
            async with client.stream(on_connect=tell("on"), on_disconnect=tell("off")) as events:
                assert (await anext(events)).data["channel"]["name"] == "before"
                await asyncio.to_thread(kill, hub)
                await asyncio.to_thread(hub.start)
                await client.create_channel("after")
                assert (await anext(events)).data["channel"]["name"] == "after"

    run(main())
    assert [what for what, _ in heard][:2] == ["on", "off"]
    assert [what for what, _ in heard][-1] == "on"
    assert {thread for _, thread in heard} == {threading.main_thread()}


def test_asking_and_waiting(hub: Hub) -> None:
    async def main() -> None:
        async with room(hub) as (client, topic):

            async def answer() -> None:
                asked = await client.wait_for(lambda event: event.name == "message.created", 20, topics=[topic])
                await client.post_message(topic, "boss", f"Yes to {asked.data['message']['content_raw']}")

            answering = asyncio.create_task(answer())
            await asyncio.sleep(0.5)
            assert (await client.ask(topic, "this?", 20)).content_raw == "Yes to this?"
            await answering
            with pytest.raises(NoAnswer):
                await client.ask(topic, "and that?", 0.2)
            with pytest.raises(TimeoutError):
                await client.wait_for(lambda event: True, 0.2, topics=[topic])

    run(main())


def test_discovery(start_hub: Callable[..., Hub], tmp_path: Path) -> None:
    folder = tmp_path / "project" / ".agentlip"
    folder.mkdir(parents=True)
    hub = start_hub(folder, AUTH_TOKEN=None)

    async def main() -> None:
        for find in (AsyncHubClient.discover, AsyncHubClient.connect_or_start):
            async with await find(folder.parent) as client:
                assert client._sync._http._idle == []  # a client that nobody waits for any more has nothing open
                assert client.url == hub.url
                assert (await client.ping())["pong"] is True

    run(main())


def test_no_connection_is_left(hub: Hub) -> None:
    async def main() -> None:
        async with room(hub) as (client, topic):
            async with client.stream(topics=[topic]) as events:
                await anext(events)
            await client.stream(None).next(0.2)
            assert await client.messages(topic_id=topic)

    before = set(connections_to(hub))
    run(main())
    eventually(lambda: not set(connections_to(hub)) - before, 5, "the end of all connections")


def test_a_wait_in_vain_says_so(hub: Hub) -> None:
    async def main() -> None:
        async with room(hub) as (client, _):
            with pytest.raises(TimeoutError, match="The event that was waited for did not come"):
                await client.wait_for(lambda event: False, 0.1)

    run(main())
