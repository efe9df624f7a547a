"""The writer: many callers, one order; errors, locks and full disks hit only whom they must; kill -9 loses nothing."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentlip.errors import InternalError, InvalidInput, NotFound, ShuttingDown
from agentlip.model import Channel, Topic
from agentlip.store import mutations, queries, writer
from agentlip.store.log import Entry
from agentlip.store.store import Store
from agentlip.store.writer import Transaction

from ..running_hub import eventually
from ..side_by_side import Script, in_processes, in_threads
from .writing import Call, append, in_one_group, notes, occupy, waiting


def test_sixteen_threads_write_at_once_with_gapless_ids_in_commit_order(store: Store, topic: Topic) -> None:
    head = store.latest()

    def post(number: int) -> list[tuple[str, int]]:
        made = [store.write(mutations.post_message, topic.id, f"s{number}", "hi") for _ in range(40)]
        return [(message.id, event_ids[0]) for message, event_ids in made]

    results = in_threads(16, post)
    pairs = [pair for result in results for pair in result]
    assert sorted(event_id for _, event_id in pairs) == list(range(head + 1, head + 641))
    in_event_order = [message_id for message_id, _ in sorted(pairs, key=lambda pair: pair[1])]
    assert in_event_order == sorted(set(in_event_order))
    for result in results:
        assert result == sorted(result)
    found, _ = store.events_with_more(head, 1 << 40, 1000, False, (), ())
    assert [event.entity.id for event in found] == in_event_order


def test_a_write_is_visible_to_everybody_once_it_is_answered(store: Store, foreign: sqlite3.Connection) -> None:
    for _ in range(20):
        event_id = store.write(append)
        assert store.latest() == event_id
        assert foreign.execute("SELECT max(event_id) FROM events").fetchone() == (event_id,)


def test_commands_of_one_group_keep_their_order(store: Store) -> None:
    outcomes = in_one_group(store, *(lambda transaction, n=number: append(transaction, n) for number in range(20)))
    assert outcomes == list(range(1, 21))
    assert notes(store) == list(range(20))


class OwnError(Exception):
    pass


def raising(error: Exception) -> Callable[[Transaction], None]:
    def command(transaction: Transaction) -> None:
        append(transaction, "lost")
        raise error

    return command


def breaking(sql: str) -> Callable[[Transaction], None]:
    def command(transaction: Transaction) -> None:
        append(transaction, "lost")
        transaction.execute(sql)

    return command


FAILURES = {
    "an error of ours": (raising(InvalidInput("no")), InvalidInput),
    "any exception": (raising(OwnError()), OwnError),
    "a constraint": (breaking("INSERT INTO meta VALUES ('db_id', 'x')"), InternalError),
    "a trigger": (breaking("DELETE FROM events"), InternalError),
    "a wrong type": (breaking("INSERT INTO meta VALUES ('x', NULL)"), InternalError),
    "bad binding": (breaking("INSERT INTO meta VALUES (?, ?)"), InternalError),
    "bad SQL": (breaking("SELECT * FROM nowhere"), InternalError),
    "text that is no UTF-8": (breaking("SELECT CAST(x'ff' AS TEXT)"), InternalError),
}


@pytest.mark.parametrize(("command", "error"), FAILURES.values(), ids=FAILURES)
def test_a_failing_command_alone_writes_nothing(store: Store, command: Any, error: type[Exception]) -> None:
    def fetching(transaction: Transaction) -> None:
        command(transaction)
        transaction.execute("SELECT CAST(x'ff' AS TEXT)").fetchall()

    with pytest.raises(error):
        store.write(fetching)
    assert notes(store) == []
    assert store.write(append) == 1


@pytest.mark.parametrize(("command", "error"), FAILURES.values(), ids=FAILURES)
def test_a_failing_command_rolls_back_only_itself(store: Store, command: Any, error: type[Exception]) -> None:
    def fetching(transaction: Transaction) -> None:
        command(transaction)
        transaction.execute("SELECT CAST(x'ff' AS TEXT)").fetchall()

    first, failed, second = in_one_group(
        store,
        lambda transaction: append(transaction, "before"),
        fetching,
        lambda transaction: append(transaction, "after"),
    )
    assert isinstance(failed, error)
    assert (first, second) == (1, 2)
    assert notes(store) == ["before", "after"]


def test_ids_made_beside_a_failing_command_still_increase(store: Store, topic: Topic) -> None:
    def failing(transaction: Transaction) -> None:
        mutations.post_message(transaction, topic.id, "s", "lost")
        raise OwnError

    def post(transaction: Transaction) -> Any:
        return mutations.post_message(transaction, topic.id, "s", "kept")

    outcomes = in_one_group(store, post, failing, post, failing, post)
    made = [outcome[0].id for outcome in outcomes[::2]]
    assert made == sorted(set(made))
    page, _ = store.read(queries.messages, None, topic.id, 99, None, "")
    assert [message.id for message in page] == made[::-1]


def test_on_commit_rings_after_the_commit_and_before_the_answer(path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def look(entries: Sequence[Entry]) -> None:
        with closing(sqlite3.connect(path)) as connection:
            head = connection.execute("SELECT max(event_id) FROM events").fetchone()
            seen.append((*head, *(entry.event_id for entry in entries)))

    store = Store(path, "NORMAL", 5.0, look)
    for number in range(1, 4):
        store.write(append)
        assert seen[-1] == (number, number)
    store.close()


def many(count: int) -> Callable[[Transaction], int]:
    return lambda transaction: [append(transaction, "x") for _ in range(count)][-1]


def large(transaction: Transaction) -> int:
    return append(transaction, "x" * 700_000)


def slow(transaction: Transaction) -> int:
    time.sleep(writer.GROUP_SECONDS)
    return append(transaction)


def failing_after_much(transaction: Transaction) -> None:
    many(500)(transaction)
    raise OwnError


@pytest.mark.parametrize(
    ("commands", "groups"),
    [
        ([append, append, append], [3]),
        ([many(511), append, append], [512, 1]),
        ([many(5000), many(5000)], [0, 0]),  # too many to be kept in memory
        ([large, large, large], [2, 1]),
        ([slow, slow, slow], [1, 1, 1]),
        ([failing_after_much, many(512), many(3)], [512, 3]),
    ],
    ids=["small", "events", "very many", "bytes", "time", "a failure"],
)
def test_a_group_ends_with_the_command_that_does_much(
    path: Path, monkeypatch: pytest.MonkeyPatch, commands: list[Any], groups: list[int]
) -> None:
    if slow not in commands:
        monkeypatch.setattr(writer, "GROUP_SECONDS", 60)  # however busy the machine is
    committed: list[int] = []
    store = Store(path, "NORMAL", 5.0, lambda entries: committed.append(len(entries)))
    outcomes = in_one_group(store, *commands)
    store.close()
    assert committed == groups
    ids = [outcome for outcome in outcomes if not isinstance(outcome, OwnError)]
    assert ids == sorted(ids)


@pytest.mark.slow
def test_closing_commits_what_waits_and_refuses_the_rest(path: Path) -> None:
    store = Store(path, "NORMAL", 5.0)
    holder, gate = occupy(store)
    calls = [Call(store, append) for _ in range(3)]
    eventually(lambda: waiting(store) == 3)
    store.close()
    with pytest.raises(ShuttingDown):
        store.write(append)
    gate.set()
    assert holder.outcome() is None
    assert sorted(call.outcome() for call in calls) == [1, 2, 3]


def test_after_closing_no_connection_and_no_thread_is_left(path: Path) -> None:
    code = """
from agentlip.store.log import latest
print(count(), flush=True)
store = Store(Path(sys.argv[2]), "NORMAL", 5.0)
store.write(lambda transaction: transaction.append("custom", Scope("c"), Entity("e", "e_1"), None))
store.latest()
wal = Path(sys.argv[2] + "-wal")
assert wal.exists()
store.close()
deadline = time.monotonic() + 10
while (wal.exists() or count() > 1) and time.monotonic() < deadline:
    time.sleep(0.01)
print(wal.exists(), count())
"""
    imports = IMPORTS.rpartition("store =")[0] + ("import os, time\ncount = lambda: len(os.listdir('/proc/self/task'))")
    (output,) = in_processes(1, imports, code, path)
    assert output.split() == ["1", "False", "1"]


def test_an_idle_store_closes_as_well(path: Path) -> None:
    store = Store(path, "NORMAL", 5.0)
    store.close()
    with pytest.raises(ShuttingDown):
        store.write(append)


def test_a_foreign_id_is_followed_within_the_same_store(
    store: Store, channel: Channel, foreign: sqlite3.Connection
) -> None:
    store.write(mutations.create_topic, channel.id, "first")
    foreign.execute("INSERT INTO topics VALUES ('topic_zzzzzzzy_A-', ?, 'foreign', 't', 't')", (channel.id,))
    assert store.write(mutations.create_topic, channel.id, "next")[0].id > "topic_zzzzzzzy_A-"


IMPORTS = """
from pathlib import Path
from agentlip.model import Entity, Scope
from agentlip.store import mutations
from agentlip.store.store import Store
store = Store(Path(sys.argv[2]), "NORMAL", 30.0)
"""
POST = """
for number in range(int(sys.argv[4])):
    message, event_ids = store.write(mutations.post_message, sys.argv[3], "s" + sys.argv[1], str(number))
    print(message.id, event_ids[0], flush=True)
"""


def test_four_processes_write_one_file_in_one_order(store: Store, path: Path, topic: Topic) -> None:
    head = store.latest()
    outputs = in_processes(4, IMPORTS, POST, path, topic.id, 150)
    pairs = [line.split() for output in outputs for line in output.splitlines()]
    pairs.sort(key=lambda pair: int(pair[1]))
    assert [int(event_id) for _, event_id in pairs] == list(range(head + 1, head + 601))
    made = [message_id for message_id, _ in pairs]
    assert made == sorted(set(made))
    for output in outputs:
        event_ids = [int(line.split()[1]) for line in output.splitlines()]
        assert event_ids == sorted(event_ids)


@pytest.mark.parametrize("acknowledged", [1, 200])
def test_a_killed_process_loses_nothing_it_acknowledged(
    store: Store, path: Path, topic: Topic, acknowledged: int
) -> None:
    head = store.latest()
    script = Script(IMPORTS, POST, 0, path, topic.id, 1_000_000)
    try:
        script.ready()
        script.go()
        lines = [script.stdout.readline() for _ in range(acknowledged)]
        script.process.kill()
        lines += script.stdout.readlines()
    finally:
        script.kill()
    lines = [line for line in lines if line.endswith("\n")]  # the last one may be cut short
    told = {int(line.split()[1]): line.split()[0] for line in lines}
    events = store.events_with_more(head, 1 << 40, 1_000_000, False, (), ())[0]
    assert told.items() <= {event.event_id: event.entity.id for event in events}.items()
    assert [event.event_id for event in events] == list(range(head + 1, store.latest() + 1))
    assert 0 <= len(events) - len(told) <= 1, "at most the one in flight"
    following, _ = store.write(mutations.post_message, topic.id, "s", "after")
    assert following.id > max(told.values())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.fixture
def doorbell(path: Path, store: Store) -> Iterator[socket.socket]:
    """What another process of the host would bind: it gets a datagram for each commit."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(str(path.with_name(path.name + "-peers") / "1-00000000"))
        bell.setblocking(False)
        yield bell


def test_a_write_that_changes_nothing_wakes_nobody(path: Path, topic: Topic, doorbell: socket.socket) -> None:
    here: list[int] = []
    store = Store(path, "NORMAL", 5.0, lambda entries: here.append(len(entries)))
    try:
        message = store.write(mutations.post_message, topic.id, "ann", "hi")[0]
        store.write(mutations.delete_message, message.id, "ann", None)
        attached = (mutations.add_attachment, topic.id, "note", None, {"a": 1}, None, None)
        store.write(*attached)
        assert (here, len(doorbell.recv(9)), len(doorbell.recv(9)), len(doorbell.recv(9))) == ([1, 1, 1], 1, 1, 1)
        assert store.write(mutations.delete_message, message.id, "ann", None)[1] is None
        assert store.write(*attached)[1] is None
        assert store.write(mutations.move_message, message.id, topic.id, "all", None) == []
        with pytest.raises(NotFound):
            store.write(mutations.post_message, "topic_none", "ann", "hi")
        assert here == [1, 1, 1]
        with pytest.raises(BlockingIOError):
            doorbell.recv(9)
    finally:
        store.close()


def test_a_write_is_done_though_telling_of_it_fails(
    path: Path, topic: Topic, doorbell: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    def tell(_entries: Sequence[Entry]) -> None:
        raise RuntimeError("nobody listens")

    store = Store(path, "NORMAL", 5.0, tell)
    try:
        message = store.write(mutations.post_message, topic.id, "ann", "hi")[0]
        assert store.read(queries.message, message.id) == message
        assert len(doorbell.recv(9)) == 1
        assert caplog.text.count("Telling of a commit failed") == 1
    finally:
        store.close()


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
def test_the_wal_stays_small_while_one_caller_writes_at_a_time(path: Path, synchronous: str) -> None:
    with closing(Store(path, synchronous, 5.0)) as store:
        for _ in range(3000):
            store.write(append, "x" * 4096)
        size = path.with_name(path.name + "-wal").stat().st_size
        assert size < 2 * writer._CHECKPOINT_PAGES * 4096 < path.stat().st_size
