"""Connections and first start: many at once, locks that go away in time, readers that cannot write."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from agentlip.errors import ServiceUnavailable, StorageError
from agentlip.store.database import Database, is_busy, public_error

from ..running_hub import eventually
from ..side_by_side import Script, in_processes, in_threads

IMPORTS = "from pathlib import Path; from agentlip.store.database import Database"


def test_eight_processes_create_the_same_file_at_once(path: Path) -> None:
    db_ids = in_processes(8, IMPORTS, "print(Database(Path(sys.argv[2])).prepare())", path)
    assert set(db_ids) == {Database(path).prepare() + "\n"}
    assert list(path.parent.glob("*.bak")) == []


START = """
for _ in range(10):
    store = Store(Path(sys.argv[2]), "NORMAL", 5.0)
    store.latest()
    store.close()
"""


def test_eight_processes_start_and_stop_on_the_same_file_at_once(path: Path) -> None:
    imports = "from pathlib import Path; from agentlip.store.store import Store"
    assert in_processes(8, imports, START, path) == [""] * 8


def test_eight_threads_create_the_same_file_at_once(path: Path) -> None:
    db_ids = in_threads(8, lambda _: Database(path).prepare())
    assert set(db_ids) == {Database(path).prepare()}


def test_eight_processes_migrate_the_same_file_at_once_with_one_backup(path: Path) -> None:
    db_id = Database(path).prepare()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'schema_version'")
        connection.commit()
    assert set(in_processes(8, IMPORTS, "print(Database(Path(sys.argv[2])).prepare())", path)) == {db_id + "\n"}
    assert len(list(path.parent.glob("*.bak"))) == 1


@pytest.mark.parametrize(("synchronous", "number"), [("FULL", 2), ("NORMAL", 1)])
def test_a_connection_has_the_pragmas_of_the_design(path: Path, synchronous: str, number: int) -> None:
    database = Database(path, synchronous)
    database.prepare()
    with closing(database.connect()) as connection:
        found = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "query_only")
        }
        assert connection.isolation_level is None
    assert found == {
        "journal_mode": "wal",
        "synchronous": number,
        "foreign_keys": 1,
        "busy_timeout": 0,
        "query_only": 0,
    }


def test_a_read_connection_can_not_write(path: Path) -> None:
    database = Database(path)
    database.prepare()
    with pytest.raises(ServiceUnavailable) as caught, database.reading() as connection:
        connection.execute("INSERT INTO meta VALUES ('a', 'b')")
    assert caught.value.details == {"reason": "database is read-only"}
    database.close()


def test_a_thread_keeps_its_read_connection_and_shares_it_with_nobody(path: Path) -> None:
    database = Database(path)
    database.prepare()

    def twice(_: int) -> tuple[sqlite3.Connection, bool]:
        with database.reading() as first, database.reading() as second:
            return first, first is second

    results = in_threads(4, twice)
    assert [same for _, same in results] == [True] * 4
    assert len({id(connection) for connection, _ in results}) == 4


def test_a_closed_database_opens_again_on_the_next_read(path: Path) -> None:
    database = Database(path)
    database.prepare()
    for _ in range(2):
        with database.reading() as connection:
            assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
        database.close()
        database.close()


HOLD = """
import sqlite3
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=5)
connection.execute("PRAGMA journal_mode")
connection.execute("BEGIN EXCLUSIVE")
"""


@pytest.mark.parametrize("prepared", [True, False], ids=["a present file", "a new file"])
def test_a_lock_of_another_program_delays_the_start(path: Path, prepared: bool) -> None:
    if prepared:
        Database(path).prepare()
    holder = Script(HOLD, "connection.execute('ROLLBACK')", path)
    try:
        holder.ready()
        outcome: list[object] = []

        def prepare() -> None:
            try:
                outcome.append(Database(path).prepare(10))
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=prepare)
        thread.start()
        thread.join(0.2)
        holder.go()
        thread.join(20)
    finally:
        holder.kill()
    assert outcome == [Database(path).prepare()]


def test_a_start_that_waits_too_long_for_another_process_is_a_storage_error(path: Path) -> None:
    started = time.monotonic()
    holder = Database(path)
    with holder.locked(started + 5), pytest.raises(StorageError) as caught:
        Database(path).prepare(0.3)
    holder.close_lock()
    assert time.monotonic() - started >= 0.3
    assert len(str(caught.value).splitlines()) == 1


def test_the_lock_of_the_package_keeps_others_out_until_it_is_released(path: Path) -> None:
    first, second = Database(path), Database(path)
    with first.locked(time.monotonic() + 5), pytest.raises(ServiceUnavailable), second.locked(time.monotonic()):
        pass
    with second.locked(time.monotonic()):
        pass
    first.close_lock()
    second.close_lock()


CHURN = """
import time
while True:
    connection = sqlite3.connect(sys.argv[1], timeout=5)
    connection.execute("INSERT INTO meta VALUES (hex(randomblob(8)), 'x')")
    connection.commit()
    connection.close()
    print("turn", flush=True)
"""


def test_a_first_read_does_not_mind_a_program_that_opens_and_closes_the_file(path: Path) -> None:
    Database(path).prepare()
    other = Script("import sqlite3", CHURN, path)
    refused = 0
    try:
        other.ready()
        other.go()
        other.stdout.readline()
        for _ in range(200):
            database = Database(path)
            try:
                with database.reading() as connection:
                    connection.execute("SELECT count(*) FROM events").fetchall()
            except ServiceUnavailable:
                refused += 1
            database.close()
    finally:
        other.kill()
    assert refused == 0


def error_of(path: Path, how: str) -> sqlite3.Error:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        try:
            connection.execute(how)
        except sqlite3.Error as error:
            return error
    raise AssertionError("it worked")


def test_errors_of_sqlite_become_public_ones(path: Path) -> None:
    Database(path).prepare()
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        busy = error_of(path, "BEGIN IMMEDIATE")
    assert is_busy(busy)
    assert public_error(busy).details == {"reason": "database busy"}
    wrong = error_of(path, "SELECT * FROM nowhere")
    assert not is_busy(wrong)
    assert public_error(wrong).code == "INTERNAL_ERROR"
    assert public_error(sqlite3.ProgrammingError("no code")).code == "INTERNAL_ERROR"


def test_a_deleted_folder_is_service_unavailable_on_the_first_read(tmp_path: Path) -> None:
    database = Database(tmp_path / "gone" / "db.sqlite3")
    with pytest.raises(ServiceUnavailable) as caught, database.reading():
        pass
    assert caught.value.details == {"reason": "storage error"}


def test_an_open_reader_sees_a_commit_on_its_next_read(path: Path) -> None:
    database = Database(path)
    database.prepare()

    def count() -> int:
        with database.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM meta").fetchone()[0])

    before = count()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO meta VALUES ('a', 'b')")
        connection.commit()
    assert eventually(count) == before + 1
    database.close()
