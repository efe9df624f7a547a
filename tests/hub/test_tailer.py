"""The tailer over a real file: what this process commits, what others do, pauses, and when the log is read."""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from agentlip.hub.registry import Registry
from agentlip.hub.subscription import Subscription
from agentlip.hub.tail import Tail
from agentlip.hub.tailer import BATCH_EVENTS, Tailer
from agentlip.model import Entity, Scope
from agentlip.server.websocket.transport import encode
from agentlip.store.log import MAX_ID, Entry
from agentlip.store.store import Store
from agentlip.store.writer import Transaction

from ..running_hub import eventually

EVERYTHING = Subscription(None, None)
LOTS = 1 << 30
INSERT = (
    "INSERT INTO events (ts, name, scope_channel_id, entity_type, entity_id, data_json) "
    "VALUES ('t', 'their.event', 'ch_a', 'e', 'e_1', '{}')"
)


class Listener:
    """Records what it is given; `gate` stops the tailer inside the first delivery until it is set."""

    encode = staticmethod(encode)

    def __init__(self, subscription: Subscription = EVERYTHING, cursor: int = 0, *, held: bool = False) -> None:
        self.subscription = subscription
        self.cursor = cursor
        self.gate = threading.Event()
        self.blobs: list[bytes] = []
        self.counts: list[int] = []
        if not held:
            self.gate.set()

    @property
    def received(self) -> bytes:
        return b"".join(self.blobs)

    def deliver(self, blob: bytes, events: int) -> None:
        self.blobs.append(blob)
        self.counts.append(events)
        self.gate.wait(10)


class Spy(Listener):
    """Traces the statements of the thread that delivers to it, from the first delivery on."""

    def __init__(self, store: Store, *, held: bool = False) -> None:
        super().__init__(held=held)
        self.statements: list[str] = []
        self._store = store

    def deliver(self, blob: bytes, events: int) -> None:
        self._store.read(lambda connection: connection.set_trace_callback(self.statements.append))
        super().deliver(blob, events)

    def pages(self) -> int:
        """How many pages of the log were read."""
        return sum("data_json" in statement for statement in self.statements)


class Live:
    """A store, registry, tail and tailer that belong together, as in the hub."""

    def __init__(self, path: Path, batch_events: int = 10_000) -> None:
        self.path = path
        self.store = Store(path, "NORMAL", 5.0, self._committed)
        self.registry = Registry(self.store.latest())
        self.tail = Tail(self.registry.position)
        self.tailer = Tailer(self.store, self.registry, self.tail, batch_events)
        self.tailer.start()

    def _committed(self, entries: Sequence[Entry]) -> None:
        self.tailer.wake(entries)

    def commit(self, count: int = 1, channel: str = "ch_a", size: int = 2) -> None:
        """Commit `count` events of this process in one transaction."""

        def command(transaction: Transaction) -> None:
            for _ in range(count):
                transaction.append("our.event", Scope(channel), Entity("e", "e_1"), "x" * size)

        self.store.write(command)

    def foreign(self, count: int = 1) -> None:
        """Commit as some other program, which wakes nobody."""
        with closing(sqlite3.connect(self.path, timeout=5)) as connection:
            connection.executemany(INSERT, [()] * count)
            connection.commit()

    def listen(self, listener: Listener) -> Listener:
        assert self.registry.join(listener)
        return listener

    def log(self, after: int = 0) -> bytes:
        return encode(self.store.entries(after, MAX_ID, LOTS, LOTS))

    def wait_for(self, listener: Listener, events: int) -> None:
        eventually(lambda: sum(listener.counts) >= events, 10, f"{events} events delivered")

    def end(self) -> None:
        self.tailer.stop()
        self.store.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    running = Live(tmp_path / "db.sqlite3")
    yield running
    running.end()


def test_what_this_process_commits_is_published_without_reading_the_log(live: Live) -> None:
    spy = Spy(live.store)
    live.listen(spy)
    live.commit()
    live.wait_for(spy, 1)
    for number in range(2, 40):
        live.commit()
        live.wait_for(spy, number)
    assert (spy.received, spy.pages()) == (live.log(), 0)
    live.foreign()
    live.wait_for(spy, 40)
    assert spy.received == live.log()
    assert spy.pages() > 0


def test_the_frames_handed_over_are_those_of_the_log(live: Live) -> None:
    one = live.listen(Listener(Subscription(frozenset({"ch_b"}), frozenset())))
    both = live.listen(Listener())
    for channel, size in (("ch_a", 0), ("ch_b", 200), ("ch_a", 70_000), ("ch_b", 3)):
        live.commit(channel=channel, size=size)
    live.wait_for(both, 4)
    live.wait_for(one, 2)
    entries = live.store.entries(0, MAX_ID, LOTS, LOTS)
    assert both.received == live.log()
    assert one.received == encode([entries[1], entries[3]])


@pytest.mark.parametrize("order", ["ofo", "foo", "oof", "offo", "ofofof", "fof", "oofoo"])
def test_events_of_others_come_in_their_place_exactly_once(live: Live, order: str) -> None:
    held, other = Listener(held=True), Listener()
    live.listen(held)
    live.listen(other)
    live.commit()
    eventually(lambda: held.counts, 5, "the first delivery")
    for who in order:
        if who == "o":
            live.commit()
        else:
            live.foreign()
    held.gate.set()
    live.wait_for(held, 1 + len(order))
    live.wait_for(other, 1 + len(order))
    live.commit()
    live.wait_for(other, 2 + len(order))
    assert other.received == live.log()
    live.wait_for(held, 2 + len(order))
    assert held.received == live.log()


@pytest.mark.parametrize("seed", range(3))
def test_a_random_mix_of_writers_comes_in_order_exactly_once(live: Live, seed: int) -> None:
    dice = random.Random(seed)
    listener = live.listen(Listener())
    for _ in range(60):
        (live.foreign if dice.random() < 0.3 else live.commit)(dice.choice([1, 1, 1, 2, 20]))
    head = live.store.latest()
    live.wait_for(listener, head)
    assert listener.received == live.log()
    assert live.registry.position == head


def test_what_waited_for_a_long_delivery_is_one_delivery_for_each(live: Live) -> None:
    held, others = Listener(held=True), [Listener() for _ in range(3)]
    for listener in (held, *others):
        live.listen(listener)
    live.commit()
    eventually(lambda: held.counts, 5, "the first delivery")
    for _ in range(100):
        live.commit()
    held.gate.set()
    for listener in (held, *others):
        live.wait_for(listener, 101)
        assert listener.counts == [1, 100]
        assert listener.received == live.log()


def test_a_long_wait_is_cut_into_batches(live: Live) -> None:
    held = Listener(held=True)
    live.listen(held)
    live.commit()
    eventually(lambda: held.counts, 5, "the first delivery")
    live.commit(2 * BATCH_EVENTS + 10)
    held.gate.set()
    live.wait_for(held, 2 * BATCH_EVENTS + 11)
    assert held.counts == [1, BATCH_EVENTS, BATCH_EVENTS, 10]


def test_a_batch_is_no_larger_than_a_send_queue(tmp_path: Path) -> None:
    live = Live(tmp_path / "db.sqlite3", batch_events=7)
    try:
        listener = live.listen(Listener())
        live.commit(20)
        live.foreign(20)
        live.wait_for(listener, 40)
        assert max(listener.counts) <= 7
        assert listener.received == live.log()
    finally:
        live.end()


@pytest.mark.parametrize("commits", [[3000] * 4, [5000], [3000, 5000, 1], [1] * 10 + [4096] * 3], ids=str)
def test_more_than_is_kept_in_memory_is_read_from_the_log(live: Live, commits: list[int]) -> None:
    spy = Spy(live.store, held=True)
    live.listen(spy)
    live.commit()
    eventually(lambda: spy.counts, 5, "the first delivery")
    for count in commits:
        live.commit(count, size=600)
    spy.gate.set()
    live.wait_for(spy, 1 + sum(commits))
    assert spy.pages() > 0
    assert spy.received == live.log()
    pages = spy.pages()
    live.commit()
    live.wait_for(spy, 2 + sum(commits))
    assert spy.pages() <= pages + 1, "at most the last look at the log; then memory again"
    assert spy.received == live.log()


def test_while_nobody_is_live_the_position_moves_on_and_the_tail_starts_again(live: Live) -> None:
    for _ in range(3):
        live.commit()
    eventually(lambda: live.registry.position == 3, 5, "the third event")
    assert live.tail.after(0, MAX_ID) is not None, "our own commits are kept"
    live.foreign(2)
    eventually(lambda: live.registry.position == 5 and live.tail.after(0, MAX_ID) is None, 5, "the new start")
    assert [live.tail.after(cursor, MAX_ID) for cursor in range(6)] == [None] * 6
    live.commit(2)
    eventually(lambda: live.registry.position == 7, 5, "our events after theirs")
    found = live.tail.after(5, MAX_ID)
    assert found is not None
    assert encode(found[0]) == live.log(after=5)
    assert live.tail.after(4, MAX_ID) is None
    late = live.listen(Listener(cursor=7))
    live.commit()
    live.wait_for(late, 1)
    assert late.received == live.log(after=7)


def test_the_tail_holds_what_was_published_whoever_committed_it(live: Live) -> None:
    listener = live.listen(Listener())
    live.commit(3)
    live.foreign(3)
    live.commit(3)
    live.wait_for(listener, 9)
    found = live.tail.after(0, MAX_ID)
    assert found is not None
    assert (encode(found[0]), found[1]) == (live.log(), 9)


def test_doubled_and_empty_wake_ups_change_nothing(live: Live) -> None:
    listener = live.listen(Listener())
    live.commit(2)
    live.wait_for(listener, 2)
    for _ in range(3):
        live.tailer.wake()
        live.tailer.wake(live.store.entries(0, MAX_ID, LOTS, LOTS))
    live.commit()
    live.wait_for(listener, 3)
    assert listener.received == live.log()


@pytest.mark.parametrize("somebody", [True, False], ids=["somebody is live", "nobody is live"])
def test_an_event_that_is_not_in_the_log_is_forgotten_and_keeps_nobody_busy(live: Live, somebody: bool) -> None:
    listener = Listener()
    if somebody:
        live.listen(listener)
    live.tailer.wake([Entry(5, Scope("ch_a"), b"deleted by some other program")])
    eventually(lambda: not live.tailer._handed, 5, "that it is forgotten")
    spent = time.process_time()
    assert not threading.Event().wait(0.5)
    assert time.process_time() - spent < 0.25
    if not somebody:
        live.listen(listener)
    live.commit(2)
    live.wait_for(listener, 2)
    assert listener.received == live.log()


def test_it_rests_while_nobody_is_live_and_looks_again_when_woken_for_a_new_listener(live: Live) -> None:
    eventually(lambda: live.tailer.resting, 5, "rest")
    listener = live.listen(Listener())
    live.tailer.wake()
    eventually(lambda: not live.tailer.resting, 5, "that it looks more often")
    live.foreign(3)
    live.wait_for(listener, 3)
    assert not live.tailer.resting
    live.registry.leave(listener)
    eventually(lambda: live.tailer.resting, 5, "rest again")


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_a_log_that_can_not_be_read_for_a_while_loses_nothing(live: Live) -> None:
    listener, records = live.listen(Listener()), Records()
    logger = logging.getLogger("agentlip.hub")
    logger.addHandler(records)
    try:
        with closing(sqlite3.connect(live.path, timeout=5, isolation_level=None)) as connection:
            connection.execute("ALTER TABLE events RENAME TO hidden")
            eventually(lambda: records.lines, 5, "the report")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ALTER TABLE hidden RENAME TO events")
            connection.execute(INSERT)
            connection.execute("COMMIT")
        live.wait_for(listener, 1)
        assert records.lines == ["The log cannot be read; trying again"]
        live.commit()
        live.wait_for(listener, 2)
        assert listener.received == live.log()
    finally:
        logger.removeHandler(records)
