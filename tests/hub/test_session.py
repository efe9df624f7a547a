"""Sessions over a recording transport: what a failure reaches, and that each Close comes once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentlip import concurrency, wire
from agentlip.hub.session import State
from agentlip.model import Entity, Event, Scope
from agentlip.store.log import MAX_ID, Entry

from ..running_hub import eventually
from ..side_by_side import in_threads
from .core import Core, hello


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path / "db.sqlite3")
    yield made
    made.end()


def fail() -> None:
    raise RuntimeError("no such luck")


def test_a_session_whose_delivery_fails_is_dropped_and_the_others_miss_nothing(
    core: Core, caplog: pytest.LogCaptureFixture
) -> None:
    joined = [core.join() for _ in range(12)] + [core.join(channels=["ch_a"]) for _ in range(8)]
    failing = joined[3:15:4]
    for _, transport in failing:
        transport.at_offer = fail
    core.commit()
    core.turn()
    core.commit()
    core.turn()
    for session, transport in joined:
        if (session, transport) in failing:
            assert (session.state, transport.kills, transport.event_ids) == (State.CLOSED, 1, [])
        else:
            assert (session.state, transport.kills, transport.event_ids) == (State.LIVE, 0, [1, 2])
    assert core.hub.connection_count() == 20 - len(failing)
    assert caplog.text.count("A delivery failed; the session is dropped") == len(failing)


def test_a_session_that_can_not_even_be_dropped_harms_nobody(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    (bad, transport), (_, other) = core.join(), core.join()
    transport.at_offer = fail
    monkeypatch.setattr(transport, "kill", fail)
    core.commit(Scope("ch_a"), Scope("ch_b"))
    core.turn()
    core.commit()
    core.turn()
    assert other.event_ids == [1, 2, 3]
    assert (bad.state, core.hub.connection_count()) == (State.CLOSED, 1)


@pytest.mark.parametrize("seam", ["at_settle", "at_close"])
def test_a_slow_consumer_that_can_not_be_told_is_dropped(core: Core, seam: str) -> None:
    (slow, transport), (_, other) = core.join(), core.join()
    transport.stalled = True
    setattr(transport, seam, fail)
    transport._max_events = 1
    for _ in range(3):
        core.commit()
        core.turn()
    assert other.event_ids == [1, 2, 3]
    assert (slow.state, transport.closes, transport.kills) == (State.CLOSED, [], 1)


def test_closing_all_reaches_everybody_though_one_fails(core: Core) -> None:
    joined = [core.join() for _ in range(5)]
    joined[2][1].at_close = fail
    core.hub.close_all()
    assert [transport.closes for _, transport in joined] == [[wire.SHUTTING_DOWN]] * 2 + [[]] + [
        [wire.SHUTTING_DOWN]
    ] * 2
    assert joined[2][1].kills == 1
    assert core.hub.connection_count() == 0


def test_who_opens_after_the_shutdown_is_told_at_once(core: Core) -> None:
    core.hub.shut_down()
    session, transport = core.open()
    session.on_message(hello())
    assert (transport.closes, transport.received) == ([wire.SHUTTING_DOWN], b"")
    assert core.hub.connection_count() == 0


def test_a_replay_that_can_not_be_started_is_closed_with_its_code(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    core.commit(*[Scope("ch_a")] * 300)
    session, transport = core.open()

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        if not concurrency.on_gevent():
            session.on_message(hello())
            assert transport.closes == [wire.REPLAY_FAILED]


def test_a_log_that_can_not_be_read_closes_the_replay_with_its_code(core: Core) -> None:
    core.commit()
    core.store.write(lambda transaction: transaction.execute("ALTER TABLE events RENAME TO hidden"))
    _, transport = core.join()
    assert transport.closes == [wire.REPLAY_FAILED]


def test_of_many_closes_at_once_one_is_sent_and_it_is_the_one_in_the_log(core: Core) -> None:
    for _ in range(40):
        session, transport = core.join()
        codes = [wire.Close(4000 + number, "") for number in range(4)]
        in_threads(4, lambda number, session=session, codes=codes: session.close(codes[number]))
        assert transport.closes == [session.closed_with]
        assert session.closed_with in codes
    assert core.hub.connection_count() == 0


def test_what_was_handed_over_broken_comes_from_the_log_once(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    """A failure before anything has moved: the same batch comes again, for the live and in the tail."""
    _, live = core.join()
    core.foreign(Scope("ch_a"), Scope("ch_b"))
    fine = core.store.entries(1, MAX_ID, 9, 1 << 20)
    broken = Entry(1, Scope("ch_a"), event=Event(1, "t", "x", Scope("ch_a"), Entity("e", "1"), '"\ud800"'))
    core.tailer.wake([broken, *fine])
    with pytest.raises(UnicodeEncodeError):
        core.tailer._catch_up()
    assert core.hub.feed.registry.position == 0
    core.turn()
    _, late = core.join()
    assert (live.event_ids, late.event_ids) == ([1, 2], [1, 2])
    found = core.hub.feed.pages._tail.after(0, MAX_ID)
    assert found is not None
    assert [entry.event_id for entry in found[0]] == [1, 2]


def test_a_running_tailer_reports_a_failure_once_and_goes_on(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    _, live = core.join()
    core.foreign()
    broken = Entry(1, Scope("ch_a"), event=Event(1, "t", "x", Scope("ch_a"), Entity("e", "1"), '"\ud800"'))
    arrived = threading.Event()
    live.at_offer = arrived.set
    core.tailer.wake([broken])
    core.tailer.start()
    assert arrived.wait(10)
    assert live.event_ids == [1]
    assert caplog.text.count("Publishing failed; trying again") == 1


def test_the_sweeper_survives_a_session_it_can_not_end(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = threading.Event()
    (bad, transport), (good, other) = core.join(), core.join()
    for name in ("ping", "kill"):
        monkeypatch.setattr(transport, name, fail)
    monkeypatch.setattr(other, "ping", ticks.set)
    bad._next_ping = 0
    core.hub.start()
    eventually(lambda: bad.state is State.CLOSED, 10, "the end of the one that fails")
    good._next_ping = 0
    assert ticks.wait(10)
    assert core.hub.connection_count() == 1
