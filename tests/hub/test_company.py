"""When the tailer leaves time to the posters: only while several post, as their events then share a fan-out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from agentlip.hub.tailer import LONG_SECONDS, MAX_PAUSE_SECONDS
from agentlip.model import Scope
from agentlip.store.log import Entry

from ..running_hub import eventually
from .core import Core

TWO = (Scope("ch_a"), Scope("ch_a"))


class Meeting(Core):
    """`at_commit` runs for each commit before its poster is answered, and then the tailer takes its turn."""

    at_commit: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.found: list[bool] = []
        self.join()

    def committed(self, entries: Sequence[Entry]) -> None:
        self.hub.feed.wake(entries)
        self.at_commit()
        self.tailer._catch_up()
        self.found.append(self.tailer.in_company)

    def post(self) -> threading.Thread:
        poster = threading.Thread(target=self.commit)
        poster.start()
        return poster


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Meeting]:
    made = Meeting(tmp_path / "db.sqlite3")
    yield made
    made.end()


def test_a_poster_who_is_alone_is_in_no_company_whatever_it_posts(core: Meeting) -> None:
    core.commit()
    core.commit(*TWO)
    core.commit()
    assert core.found == [False, False, False]
    assert core.tailer.pause_after(1.0) == 0.0


def test_who_waits_while_another_posts_is_company_until_that_one_is_answered(core: Meeting) -> None:
    posters: list[threading.Thread] = []

    def one_comes_then_one_goes() -> None:
        if not posters:
            posters.append(core.post())
            eventually(lambda: core.store.writers == 2, 5, "the second poster")
        else:
            eventually(lambda: core.store.writers == 1, 5, "the first poster's answer")

    core.at_commit = one_comes_then_one_goes
    core.commit()
    posters[0].join(10)
    eventually(lambda: len(core.found) == 2, 5, "the second turn")
    assert core.found == [True, False]
    assert core.store.writers == 0


def test_who_is_answered_during_the_fan_out_was_company(core: Meeting) -> None:
    _, slow = core.join()
    inside, go_on = threading.Event(), threading.Event()
    turn = threading.Thread(target=lambda: (core.tailer._catch_up(), core.found.append(core.tailer.in_company)))
    posters: list[threading.Thread] = []

    def hold() -> None:
        inside.set()
        go_on.wait(10)

    def committed(entries: Sequence[Entry]) -> None:
        if posters:
            return
        core.hub.feed.wake(entries)
        posters.append(core.post())
        eventually(lambda: core.store.writers == 2, 5, "the second poster")
        turn.start()
        assert inside.wait(5)

    slow.at_offer = hold
    core.store._on_commit = committed
    core.commit()
    posters[0].join(10)
    assert (core.store.writers, core.found) == (0, [])
    go_on.set()
    turn.join(10)
    assert core.found == [True]


def test_events_of_other_processes_that_come_together_are_company(core: Meeting) -> None:
    for scopes, expected in ((TWO, True), (TWO[:1], False), (TWO, True)):
        core.foreign(*scopes)
        core.turn()
        assert core.tailer.in_company is expected
    core.turn()
    assert not core.tailer.in_company, "nothing came"


def test_a_refused_write_is_answered_too(core: Meeting) -> None:
    with pytest.raises(ZeroDivisionError):
        core.store.write(lambda _transaction: 1 / 0)
    assert core.store.writers == 0


def test_in_company_the_pause_grows_with_the_fan_out_up_to_a_limit(core: Meeting) -> None:
    core.tailer.in_company = True
    pauses = [core.tailer.pause_after(spent) for spent in (LONG_SECONDS, 2 * LONG_SECONDS, 1.0)]
    assert pauses == [0.0, 16 * LONG_SECONDS, MAX_PAUSE_SECONDS]
