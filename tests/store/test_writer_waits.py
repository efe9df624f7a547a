"""Writes that have to wait: for locks, for room on the disk, for their turn. Each is
answered in time, and told what became of it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agentlip.errors import InternalError, ServiceUnavailable
from agentlip.model import Topic
from agentlip.store import mutations, queries, writer
from agentlip.store.database import Database
from agentlip.store.store import Store
from agentlip.store.writer import Transaction

from ..running_hub import eventually
from .writing import Call, append, notes, occupy, waiting


@contextmanager
def lock_of_sqlite(path: Path) -> Iterator[None]:
    """Another program is in the middle of a write."""
    opened = sqlite3.connect(path, isolation_level=None, timeout=5, check_same_thread=False)
    with closing(opened) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def lock_of_the_package(path: Path) -> Iterator[None]:
    """Another process of ours is in the middle of a write."""
    database = Database(path)
    with database.locked(time.monotonic() + 5):
        yield
    database.close_lock()


BOTH_LOCKS = pytest.mark.parametrize("lock", [lock_of_sqlite, lock_of_the_package], ids=["sqlite", "package"])


@pytest.fixture
def impatient(path: Path) -> Iterator[Store]:
    """A store that waits 0.5 s for a write."""
    store = Store(path, "NORMAL", 0.5)
    yield store
    store.close()


@BOTH_LOCKS
def test_a_lock_held_too_long_is_service_unavailable_after_the_timeout(impatient: Store, path: Path, lock: Any) -> None:
    with lock(path):
        calls = [Call(impatient, append) for _ in range(5)]
        for call in calls:
            outcome = call.outcome()
            assert isinstance(outcome, ServiceUnavailable)
            assert outcome.details == {"reason": "database busy"}
            assert 0.45 <= call.seconds <= 1.5
        assert impatient.latest() == 0, "reads go on"
    assert impatient.write(append) == 1


def test_a_lock_file_that_can_not_be_opened_is_an_error_for_the_caller(impatient: Store, path: Path) -> None:
    impatient.write(append)
    lock = impatient._database.lock_path
    impatient._database.close_lock()
    lock.unlink()
    lock.mkdir()
    assert isinstance(Call(impatient, append).outcome(), InternalError)
    lock.rmdir()
    assert impatient.write(append) == 2


@BOTH_LOCKS
def test_a_lock_released_in_time_is_not_noticed(impatient: Store, path: Path, lock: Any) -> None:
    impatient.write(append)
    with lock(path):
        started = time.monotonic()
        calls = [Call(impatient, append) for _ in range(5)]
        eventually(lambda: time.monotonic() - started > 0.2)
        assert not any(call.settled() for call in calls)
    assert sorted(call.outcome() for call in calls) == [2, 3, 4, 5, 6]


@BOTH_LOCKS
def test_commands_with_later_deadlines_survive_when_the_lock_goes_in_time(path: Path, lock: Any) -> None:
    store = Store(path, "NORMAL", 1.0)
    with ExitStack() as stack:
        stack.enter_context(lock(path))
        started = time.monotonic()
        early = Call(store, append, "early")
        eventually(lambda: time.monotonic() - started > 0.5)
        late = [Call(store, append, "late") for _ in range(3)]
        eventually(early.settled)
        assert not any(call.settled() for call in late)
    assert isinstance(early.outcome(), ServiceUnavailable)
    assert sorted(call.outcome() for call in late) == [1, 2, 3]
    assert notes(store) == ["late"] * 3
    store.close()


def test_one_group_gives_up_only_the_commands_whose_time_is_up(path: Path) -> None:
    entered, gate = threading.Event(), threading.Event()

    def hold(transaction: Transaction) -> int:
        entered.set()
        assert gate.wait(20)
        return append(transaction, "held")

    with ExitStack() as stack:

        def lock_once(_entries: object) -> None:
            # Rung between two groups: whoever is next in line finds the database locked.
            if not entered.is_set() or gate.is_set():
                stack.enter_context(lock_of_sqlite(path))

        store = Store(path, "NORMAL", 1.0, lock_once)
        holder = Call(store, hold)
        assert entered.wait(20)
        started = time.monotonic()
        early = Call(store, append, "early")
        eventually(lambda: waiting(store) == 1)
        eventually(lambda: time.monotonic() - started > 0.5)
        late = Call(store, append, "late")
        eventually(lambda: waiting(store) == 2)
        gate.set()
        assert isinstance(early.outcome(), ServiceUnavailable)
        assert not late.settled()
        gate.clear()
    assert holder.outcome() == 1
    assert late.outcome() == 2
    assert notes(store) == ["held", "late"]
    store.close()


def test_a_full_disk_is_service_unavailable_and_passes(store: Store, topic: Topic) -> None:
    def limit(transaction: Transaction, pages: int) -> int:
        return int(transaction.execute(f"PRAGMA max_page_count = {pages}").fetchone()[0])

    before = store.latest()
    pages = store.write(limit, 1)
    assert pages > 1, "the limit is never below the present size"

    def fill() -> None:
        for _ in range(50):
            store.write(mutations.post_message, topic.id, "s", "x" * 60_000)

    with pytest.raises(ServiceUnavailable) as caught:
        fill()
    assert caught.value.details == {"reason": "disk full"}
    full = store.latest()
    page, _ = store.read(queries.messages, None, topic.id, 1000, None, None)
    assert len(page) == full - before, "rows and events agree"
    store.write(limit, 1 << 30)
    _, event_ids = store.write(mutations.post_message, topic.id, "s", "x" * 60_000)
    assert event_ids == [full + 1]


def test_too_many_waiting_writes_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 2)
    outcomes: list[Any] = []

    def one_too_many() -> Any:
        return Call(store, append).outcome()

    holder, gate = occupy(store)
    calls = [Call(store, append) for _ in range(2)]
    eventually(lambda: waiting(store) == 2)
    outcomes.append(one_too_many())
    gate.set()
    assert isinstance(outcomes[0], ServiceUnavailable)
    assert holder.outcome() is None
    assert sorted(call.outcome() for call in calls) == [1, 2]


def test_a_write_the_writer_does_not_get_to_is_unavailable_and_never_written(impatient: Store) -> None:
    holder, gate = occupy(impatient)
    late = Call(impatient, append, "late")
    outcome = late.outcome()
    gate.set()
    assert isinstance(outcome, ServiceUnavailable)
    assert outcome.details == {"reason": "too many writes are waiting"}
    assert 1.4 <= late.seconds <= 4
    assert holder.outcome() is None
    assert impatient.write(append, "next") == 1
    assert notes(impatient) == ["next"]


def test_a_write_that_has_begun_is_waited_for_longer(impatient: Store) -> None:
    started = time.monotonic()

    def slow(transaction: Transaction) -> int:
        eventually(lambda: time.monotonic() - started > 2)
        return append(transaction)

    assert impatient.write(slow) == 1


def test_of_a_commit_into_a_file_that_is_removed_meanwhile_nobody_knows(store: Store, path: Path) -> None:
    moved = path.with_name("moved")

    def while_it_goes(transaction: Transaction) -> None:
        append(transaction)
        path.rename(moved)

    with pytest.raises(ServiceUnavailable) as caught:
        store.write(while_it_goes)
    assert caught.value.details == {"reason": "the storage does not answer"}
    with pytest.raises(ServiceUnavailable) as caught:
        store.write(append)
    assert caught.value.details == {"reason": "database was removed"}
    moved.rename(path)
    assert len(notes(store)) == 1
