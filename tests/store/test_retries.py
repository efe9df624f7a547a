"""Answers that are kept for those who ask again: in the transaction of the change, beside the tables of protocol v1."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentlip.errors import IdempotencyMismatch, NotFound, ServiceUnavailable
from agentlip.model import Topic
from agentlip.store import checkup, mutations, retries
from agentlip.store.backup import back_up
from agentlip.store.restore import restore
from agentlip.store.retries import Replayed, Retry
from agentlip.store.store import Store
from agentlip.store.writer import Transaction

from .writing import append, in_one_group, notes

SECRET = b"what is shown but once"


def retry(key: str = "key", owner: str = "owner", asked: str = "this", body: bytes = SECRET) -> Retry:
    return Retry(owner, key, (asked,), lambda result: (201, b"%s %d" % (body, result)))


def keyed(retry: Retry, note: Any) -> Callable[[Transaction], int]:
    return lambda transaction: retry.run(transaction, lambda inside: append(inside, note))


def rows(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM idempotency_keys").fetchone()[0])


def schema_of(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    return set(connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall())


def test_the_second_time_finds_the_answer_of_the_first(store: Store) -> None:
    first = retry()
    event_id = store.write(keyed(first, "once"))
    assert first.answer == (201, b"%s %d" % (SECRET, event_id))
    with pytest.raises(Replayed) as again:
        store.write(keyed(retry(), "once"))
    assert (again.value.status, again.value.body) == first.answer
    with pytest.raises(IdempotencyMismatch):
        store.write(keyed(retry(asked="that"), "never"))
    store.write(keyed(retry(owner="another"), "another"))
    store.write(keyed(retry(key="other"), "other"))
    assert notes(store) == ["once", "another", "other"]


def test_parts_of_owner_and_key_are_never_taken_for_each_other(store: Store) -> None:
    for number, (owner, key) in enumerate([("ab", "c"), ("a", "bc"), ("", "abc")]):
        store.write(keyed(retry(key, owner), number))
    assert notes(store) == [0, 1, 2]


def test_writes_within_a_call_belong_to_its_key(store: Store) -> None:
    """The first change of the call is the one that is kept; what it writes after that is done as usual."""
    for number in range(2):
        with retries.under(retry()):
            if number:
                with pytest.raises(Replayed):
                    store.write(append, "first")
            else:
                store.write(append, "first")
                store.write(append, "second")
    assert notes(store) == ["first", "second"]


def test_two_equal_calls_in_one_group_make_one_change(store: Store) -> None:
    first, second = in_one_group(store, keyed(retry(), "a"), keyed(retry(), "a"))
    assert isinstance(first, int)
    assert isinstance(second, Replayed)
    assert notes(store) == ["a"]


def test_a_refused_command_of_a_group_takes_its_own_key_alone(store: Store, foreign: sqlite3.Connection) -> None:
    def fail(transaction: Transaction) -> int:
        append(transaction, "lost")
        raise NotFound("after it wrote")

    lost = retry("lost")
    calls = keyed(retry("a"), "a"), lambda transaction: lost.run(transaction, fail), keyed(retry("b"), "b")
    a, refused, b = in_one_group(store, *calls)
    assert isinstance(refused, NotFound)
    assert (notes(store), rows(foreign), lost.answer) == (["a", "b"], 2, None)
    for key, event_id in (("a", a), ("b", b)):
        with pytest.raises(Replayed) as again:
            store.write(keyed(retry(key), key))
        assert again.value.body.endswith(b" %d" % event_id)
    assert store.write(keyed(retry("lost"), "found")) > b


def test_a_refused_command_makes_no_table(store: Store, foreign: sqlite3.Connection) -> None:
    before = schema_of(foreign)
    lost = retry()
    with pytest.raises(NotFound):
        store.write(lambda transaction: lost.run(transaction, _refuse))
    assert schema_of(foreign) == before


def _refuse(_transaction: Transaction) -> int:
    raise NotFound()


def test_an_answer_that_cannot_be_written_undoes_the_change(store: Store) -> None:
    odd = Retry("owner", "key", ("this",), _no_json)
    with pytest.raises(TypeError):
        store.write(keyed(odd, "lost"))
    assert notes(store) == []


def _no_json(_result: Any) -> tuple[int, bytes]:
    raise TypeError("no JSON")


def test_the_tables_of_v1_are_as_they_were_and_nothing_readable_is_added(
    store: Store, path: Path, foreign: sqlite3.Connection
) -> None:
    before, meta = schema_of(foreign), dict(foreign.execute("SELECT key, value FROM meta").fetchall())
    store.write(keyed(retry("the-key-itself", "the-credential-itself"), "note"))
    after = schema_of(foreign)
    assert before <= after
    assert {name for _, name, _ in after - before} == {"idempotency_keys", "sqlite_autoindex_idempotency_keys_1"}
    grown = dict(foreign.execute("SELECT key, value FROM meta").fetchall())
    assert grown == meta | {"idempotency_version": "1"}
    store.close()
    raw = b"".join(each.read_bytes() for each in path.parent.glob("db.sqlite3*") if each.is_file())
    for secret in (SECRET, b"the-key-itself", b"the-credential-itself"):
        assert secret not in raw


def test_a_key_is_found_without_a_scan(store: Store, foreign: sqlite3.Connection) -> None:
    store.write(keyed(retry(), "note"))
    values = {"id": b"", "now": 0, "kept": 1}

    def touched(statement: str) -> list[str]:
        plan = foreign.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
        return [row[3].split(" USING")[0] for row in plan if "idempotency_keys" in row[3]]

    assert touched(retries._FIND) == ["SEARCH idempotency_keys"]
    oldest = "SCAN idempotency_keys"  # no further than its LIMIT
    assert touched(retries._SWEEP) == ["SEARCH idempotency_keys", oldest]
    assert retries._SWEEP.endswith("LIMIT 4)")


def test_a_table_of_a_newer_release_is_refused_and_left_as_it_is(store: Store, foreign: sqlite3.Connection) -> None:
    store.write(keyed(retry(), "old"))
    foreign.execute("UPDATE meta SET value = '2' WHERE key = 'idempotency_version'")
    for change in (None, "ALTER TABLE idempotency_keys RENAME COLUMN answer TO reply", "DROP TABLE idempotency_keys"):
        if change is not None:
            foreign.execute(change)
        before = schema_of(foreign)
        for key in ("key", "new"):
            with pytest.raises(ServiceUnavailable, match="newer release"):
                store.write(keyed(retry(key), "never"))
        assert schema_of(foreign) == before
    store.write(append, "without a key")
    assert notes(store) == ["old", "without a key"]


def test_backup_restore_and_check_up_keep_the_answers(store: Store, topic: Topic, path: Path) -> None:
    store.write(mutations.post_message, topic.id, "me", "hi")
    first = retry()
    store.write(keyed(first, "kept"))
    copy = path.with_name("copy")
    back_up(path, copy)
    store.close()
    for file in (path, copy):
        assert [finding for finding in checkup.examine(file) if finding.level != "ok"] == []
    restore(copy, path, 0)
    with closing(Store(path, "NORMAL", 5.0)) as restored, pytest.raises(Replayed) as again:
        restored.write(keyed(retry(), "never"))
    assert (again.value.status, again.value.body) == first.answer


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_answers_of_any_size_and_bytes(store: Store, size: int) -> None:
    body = bytes(size)
    store.write(keyed(Retry("owner", "key", (), lambda _result: (200, body)), "note"))
    with pytest.raises(Replayed) as again:
        store.write(keyed(Retry("owner", "key", (), lambda _result: (200, b"")), "note"))
    assert again.value.body == body
