"""Followers: the log as host code sees it grow, over a real file on real threads."""

from __future__ import annotations

import gc
import itertools
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentlip import concurrency, create_app
from agentlip.hub.follower import Follower
from agentlip.model import Event

from ..running_hub import eventually
from ..side_by_side import in_threads

A, B = {"channel_id": "ch_a"}, {"channel_id": "ch_b", "topic_id": "topic_b"}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Any]:
    state = create_app({"AGENTLIP_DB": str(tmp_path / "db.sqlite3")}).extensions["agentlip"]
    yield state
    state.shut_down()
    state.hub.stop()
    state.store.close()


def append(state: Any, count: int, scope: dict[str, str] = A) -> None:
    for number in range(count):
        state.append("host.event", scope, {"number": number})


def take(follower: Follower, count: int) -> list[int]:
    return [event.event_id for event in itertools.islice(follower, count)]


def test_it_reads_on_from_its_cursor_over_many_pages(state: Any) -> None:
    append(state, 600)
    with state.subscribe(after=7) as follower:
        assert take(follower, 593) == list(range(8, 601))


def test_without_a_cursor_it_starts_at_the_head(state: Any) -> None:
    append(state, 3)
    with state.subscribe() as follower:
        append(state, 2)
        assert take(follower, 2) == [4, 5]


def test_an_event_is_processed_when_the_next_one_is_asked_for(state: Any) -> None:
    append(state, 2)
    with state.subscribe(after=0) as follower:
        assert (next(follower).event_id, follower.cursor) == (1, 0)
        assert (next(follower).event_id, follower.cursor) == (2, 1)


@pytest.mark.parametrize(
    ("wanted", "event_ids"),
    [
        ({"channels": ["ch_a"]}, [1, 3]),
        ({"topics": ["topic_b"]}, [2, 4]),
        ({"channels": ["ch_a"], "topics": ["topic_b"]}, [1, 2, 3, 4]),
    ],
)
def test_it_sees_only_what_touches_its_channels_and_topics(
    state: Any, wanted: dict[str, list[str]], event_ids: list[int]
) -> None:
    for scope in (A, B, A, B):
        append(state, 1, scope)
    with state.subscribe(after=0, **wanted) as follower:
        assert take(follower, len(event_ids)) == event_ids


def test_empty_lists_select_nothing_until_it_is_closed(state: Any) -> None:
    append(state, 1)
    seen: list[Event] = []
    follower = state.subscribe(seen.append, after=0, channels=[], topics=[])
    with state.subscribe(after=0) as other:
        append(state, 1)
        assert take(other, 2) == [1, 2]
    follower.close()
    assert seen == []


def test_several_threads_write_while_it_reads_each_event_once_and_in_order(state: Any) -> None:
    seen: list[int] = []
    follower = state.subscribe(lambda event: seen.append(event.event_id), after=0)
    in_threads(4, lambda _: append(state, 150))
    eventually(lambda: len(seen) >= 600, 20, "all events")
    follower.close()
    assert seen == list(range(1, 601))


def test_commits_of_other_programs_are_seen_too(state: Any, tmp_path: Path) -> None:
    with state.subscribe() as follower, closing(sqlite3.connect(tmp_path / "db.sqlite3")) as connection:
        connection.execute(
            "INSERT INTO events (ts, name, scope_channel_id, entity_type, entity_id, data_json) "
            "VALUES ('t', 'their.event', 'ch_a', 'e', 'e_1', '{}')"
        )
        connection.commit()
        assert next(follower).name == "their.event"


def test_a_listener_that_raises_gets_the_next_event(state: Any, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    def listen(event: Event) -> None:
        seen.append(event.event_id)
        raise KeyError("no such thing")

    follower = state.subscribe(listen, after=0)
    append(state, 3)
    eventually(lambda: len(seen) == 3, 10, "all events")
    follower.close()
    assert seen == [1, 2, 3]
    assert "A listener failed at event 1" in caplog.text


def test_close_from_another_thread_ends_the_wait(state: Any) -> None:
    follower = state.subscribe()
    ended = threading.Event()

    def wait() -> None:
        assert list(follower) == []
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: follower.bell.wakeup is not None, 5, "the wait")
    follower.close()
    assert ended.wait(0.9)  # at once, not at its next look
    thread.join(5)
    follower.close()


def test_a_listener_may_close_what_calls_it(state: Any) -> None:
    seen: list[int] = []
    known = threading.Event()

    def listen(event: Event) -> None:
        known.wait(10)
        seen.append(event.event_id)
        follower.close()

    append(state, 3)
    follower = state.subscribe(listen, after=0)
    known.set()
    eventually(lambda: seen, 10, "the first event")
    append(state, 1)
    assert seen == [1]


def test_closed_followers_leave_nothing_behind_and_shutting_down_ends_the_others(state: Any) -> None:
    for _ in range(3):
        state.subscribe(channels=["ch_a"]).close()
    assert not state.hub.feed.registry.is_live
    follower = state.subscribe(topics=["topic_b"])
    assert state.hub.feed.registry.is_live
    state.shut_down()
    assert list(follower) == []
    assert not state.hub.feed.registry.is_live


@pytest.mark.parametrize("listener", [False, True], ids=["iterating", "listening"])
def test_what_is_subscribed_after_the_shutdown_ends_at_once(state: Any, listener: bool) -> None:
    append(state, 3)
    state.shut_down()
    seen: list[Event] = []
    follower = state.subscribe(seen.append if listener else None, after=0)
    assert list(follower) == []
    assert seen == []
    assert not state.hub.feed.registry.is_live


def test_the_shutdown_ends_those_that_come_while_it_runs(state: Any) -> None:
    append(state, 3)
    ended: list[list[int]] = []

    def come_and_go(number: int) -> None:
        if number == 0:
            state.shut_down()
        for _ in range(50):
            ended.append([event.event_id for event in state.subscribe(after=0, channels=["ch_b"])])

    in_threads(4, come_and_go)
    assert ended == [[]] * 200
    assert not state.hub.feed.registry.is_live


def test_a_follower_that_nobody_has_any_more_is_forgotten_though_never_closed(state: Any) -> None:
    append(state, 2)
    for _ in range(3):
        assert next(state.subscribe(after=0)).event_id == 1
    eventually(lambda: not state.hub.feed.registry.is_live, 5, "that they are forgotten")
    follower = state.subscribe(after=0)
    assert take(follower, 2) == [1, 2], "who is still there is not"


def test_a_listener_needs_nobody_who_keeps_it(state: Any) -> None:
    seen: list[int] = []
    state.subscribe(lambda event: seen.append(event.event_id), after=0)
    gc.collect()
    append(state, 2)
    eventually(lambda: seen == [1, 2], 10, "both events")


@pytest.mark.skipif(concurrency.on_gevent(), reason="a greenlet can always be started")
def test_a_listener_that_can_not_be_started_leaves_nothing_behind(state: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    append(state, 1)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            state.subscribe(print, after=0)
    assert not state.hub.feed.registry.is_live


def test_a_listener_goes_on_when_the_log_can_be_read_again(
    state: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    with closing(sqlite3.connect(tmp_path / "db.sqlite3", timeout=5)) as connection:
        append(state, 1)
        connection.execute("ALTER TABLE events RENAME TO hidden")
        state.hub.follow(0, None, None, lambda event: seen.append(event.event_id))
        eventually(lambda: "A listener's events cannot be read" in caplog.text, 5, "the report")
        connection.execute("ALTER TABLE hidden RENAME TO events")
    eventually(lambda: seen == [1], 10, "the event")
