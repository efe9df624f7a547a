"""Every place of the live path where one thread may stop and another come between, one after the other.

A scenario is two calls. The first runs on the test's thread and stops before one of its lines in agentlip/hub; there
the second runs on another thread, to its end or until it waits for a lock that the first holds; then the first goes
on. This is repeated for every line the first comes to. Whatever happens: no hole, no repeat, no Close too few or too
many, and nothing left behind.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from agentlip import concurrency, hub, wire
from agentlip.hub.session import Session
from agentlip.model import Scope
from agentlip.store.store import Store

from .core import Core, RecordingTransport, hello

HUB_FOLDER = str(Path(hub.__file__).parent)
# Who waits for a lock goes on when the first call does.
WAIT_SECONDS = 0.02

pytestmark = [
    pytest.mark.skipif(concurrency.on_gevent(), reason="greenlets are not interrupted"),
    pytest.mark.shares_a_hub,  # its store, that is
]


def interrupted(first: Callable[[], Any], second: Callable[[], Any], line: int) -> bool:
    """Run `first`, and `second` before its line of this number; False when it has fewer lines."""
    lines = 0
    errors: list[BaseException] = []

    def run_second() -> None:
        try:
            second()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run_second)

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(HUB_FOLDER):
            return None
        if event == "line":
            lines += 1
            if lines == line:
                thread.start()
                thread.join(WAIT_SECONDS)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        first()
    finally:
        sys.settrace(before)
    if lines < line:
        return False
    thread.join(10)
    assert not thread.is_alive()
    if errors:
        raise errors[0]
    return True


class Play:
    """A hub whose log has two events above `base`, with one session that is live from there."""

    def __init__(self, path: Path, store: Store) -> None:
        self.core = Core(path, store)
        self.hub = self.core.hub
        self.base = store.latest()
        self.core.tailer._catch_up()
        self.live = self.core.join(self.base)[1]
        self.core.commit()
        self.core.commit()

    def publish(self) -> None:
        self.core.commit()
        self.core.turn()

    def check(self, *transports: RecordingTransport) -> None:
        """After what the tailer was rung for, everybody has got everything."""
        self.core.turns()
        everything = list(range(self.base + 1, self.core.store.latest() + 1))
        for transport in (self.live, *transports):
            assert transport.event_ids == everything
            assert (transport.closes, transport.kills) == ([], 0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store(tmp_path_factory.mktemp("preemption") / "db.sqlite3", "NORMAL", 5.0)
    yield opened
    opened.close()


@pytest.fixture
def play(store: Store) -> Callable[[], Play]:
    return lambda: Play(store._database.path, store)


WANTED: dict[str, dict[str, list[str]]] = {
    "everything": {},
    "a channel": {"channels": ["ch_a", "ch_b"]},
    "very many": {"channels": ["ch_a"], "topics": [f"topic_{number}" for number in range(200)]},
}
wanted = pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)


@wanted
def test_published_while_one_joins(play: Callable[[], Play], wanted: dict[str, list[str]]) -> None:
    line, more = 0, True
    while more:
        line, now = line + 1, play()
        session, transport = now.core.open()
        say = hello(now.base, **wanted)
        more = interrupted(lambda: session.on_message(say), now.publish, line)  # noqa: B023
        now.check(transport)
        now.publish()
        now.check(transport)
    assert line > 20


@pytest.mark.slow
@wanted
def test_one_joins_while_a_batch_is_published(play: Callable[[], Play], wanted: dict[str, list[str]]) -> None:
    line, more = 0, True
    while more:
        line, now = line + 1, play()
        session, transport = now.core.open()
        say = hello(now.base, **wanted)
        more = interrupted(now.core.turn, lambda: session.on_message(say), line)  # noqa: B023
        if not more:
            session.on_message(say)
        now.publish()
        now.check(transport)
    assert line > 20


def test_published_while_a_replay_goes_on_after_a_stall(play: Callable[[], Play]) -> None:
    line, more = 0, True
    while more:
        line, now = line + 1, play()
        session, transport = now.core.open()
        transport.stalled = True
        session.on_message(hello(now.base))
        more = interrupted(lambda: transport.drain(session), now.publish, line)  # noqa: B023
        now.check(transport)
    assert line > 15


def committed_here(now: Play) -> None:
    now.core.commit()


def committed_elsewhere(now: Play) -> None:
    now.core.foreign()
    now.hub.feed.look()


@pytest.mark.parametrize("commit", [committed_here, committed_elsewhere])
@pytest.mark.parametrize("waiting", ["handed over", "in the log", "nothing"])
def test_committed_while_the_tailer_is_at_work(
    play: Callable[[], Play], commit: Callable[[Play], None], waiting: str
) -> None:
    line, more = 0, True
    while more:
        line, now = line + 1, play()
        if waiting != "handed over":
            now.core.turns()
        if waiting == "in the log":
            now.core.foreign()
        more = interrupted(now.core.turn, lambda: commit(now), line)  # noqa: B023
        now.check()
    assert line > 8


@pytest.mark.slow
@pytest.mark.parametrize("commit", [committed_here, committed_elsewhere])
def test_committed_while_the_tailer_skips_and_one_joins(
    play: Callable[[], Play], commit: Callable[[Play], None]
) -> None:
    line, more = 0, True
    while more:
        line, now = line + 1, play()
        now.hub.close_all()
        now.core.foreign()
        session, transport = now.core.open()

        def second() -> None:
            session.on_message(hello(now.base))  # noqa: B023
            commit(now)  # noqa: B023

        more = interrupted(now.core.turn, second, line)
        if not more:
            second()
        now.core.turns()
        assert transport.event_ids == list(range(now.base + 1, now.core.store.latest() + 1))
    assert line > 8


def is_gone(now: Play, session: Session) -> bool:
    return session not in now.hub._open and all(
        session not in some
        for some in (
            now.hub.feed.registry._everything,
            now.hub.feed.registry._wide,
            now.hub.feed.registry._ahead,
            *now.hub.feed.registry._by_channel.values(),
        )
    )


@wanted
def test_closed_while_it_joins(play: Callable[[], Play], wanted: dict[str, list[str]]) -> None:
    line, more = 0, True
    while more:
        line, now = line + 1, play()
        session, transport = now.core.open()
        say = hello(now.base, **wanted)
        more = interrupted(
            lambda: session.on_message(say),  # noqa: B023
            lambda: session.close(wire.SHUTTING_DOWN),  # noqa: B023
            line,
        )
        session.close(wire.SHUTTING_DOWN)
        assert transport.closes == [wire.SHUTTING_DOWN]
        assert is_gone(now, session)
        now.publish()
        now.check()
        assert transport.event_ids == [now.base + 1, now.base + 2][: len(transport.event_ids)]
    assert line > 20


def test_two_close_at_once(play: Callable[[], Play]) -> None:
    line, more = 0, True
    while more:
        line, now = line + 1, play()
        session, transport = now.core.join(now.base)
        more = interrupted(
            lambda: session.close(wire.BACKPRESSURE),  # noqa: B023
            lambda: session.close(wire.SHUTTING_DOWN),  # noqa: B023
            line,
        )
        assert transport.closes == [session.closed_with]
        assert is_gone(now, session)
    assert line > 6


def test_one_leaves_while_a_batch_is_published(play: Callable[[], Play]) -> None:
    line, more = 0, True
    while more:
        line, now = line + 1, play()
        session, transport = now.core.join(now.base + 1, channels=["ch_a"])
        more = interrupted(now.core.turn, lambda: now.hub.leave(session), line)  # noqa: B023
        now.hub.leave(session)
        now.publish()
        now.check()
        assert is_gone(now, session)
        assert transport.event_ids in ([now.base + 2], [])  # it left after the batch had reached it, or before


def test_shut_down_while_one_comes(play: Callable[[], Play]) -> None:
    for come_first in (True, False):
        line, more = 0, True
        while more:
            line, now = line + 1, play()
            made: list[Any] = []

            def come() -> None:
                made.append(now.core.join(now.base))  # noqa: B023
                made.append(now.hub.follow(now.base, None, None))  # noqa: B023

            calls = (come, now.hub.shut_down) if come_first else (now.hub.shut_down, come)
            more = interrupted(*calls, line)
            now.hub.shut_down()
            if not made:
                come()
            (_, transport), follower = made
            assert transport.closes == [wire.SHUTTING_DOWN]
            assert list(follower) == []
            assert not now.hub.feed.registry.is_live
            assert now.hub.connection_count() == 0
        assert line > 10


def test_events_above_the_position_at_the_join_are_not_given_twice(play: Callable[[], Play]) -> None:
    """A session may read further than the tailer has come; what it has read is then skipped for it alone."""
    line, more = 0, True
    while more:
        line, now = line + 1, play()
        session, transport = now.core.open()
        more = interrupted(
            lambda: session.on_message(hello(now.base)),  # noqa: B023
            lambda: now.core.foreign(Scope("ch_a"), Scope("ch_a")),  # noqa: B023
            line,
        )
        now.core.turn()
        now.check(transport)
    assert line > 20
