"""Backups put into the place of a database: what is checked, what is kept, and the new identity of the log."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from agentlip.errors import StorageError
from agentlip.model import Topic
from agentlip.store import mutations, queries
from agentlip.store.backup import back_up
from agentlip.store.restore import restore
from agentlip.store.store import Store

from ..running_hub import eventually

NOW = 1_700_000_000_000


@pytest.fixture
def saved(store: Store, topic: Topic, path: Path, tmp_path: Path) -> Path:
    """A backup with one message, of a database that has two."""
    store.write(mutations.post_message, topic.id, "me", "first")
    copy = tmp_path / "saved"
    back_up(path, copy)
    store.write(mutations.post_message, topic.id, "me", "second")
    store.close()
    eventually(lambda: not path.with_name(path.name + "-wal").exists(), 10, "the end of the last connection")
    return copy


def contents(path: Path, topic: Topic) -> list[str]:
    store = Store(path, "NORMAL", 5.0)
    try:
        return [message.content_raw for message in store.read(queries.messages, None, topic.id, 9, None, None)[0]]
    finally:
        store.close()


def test_the_log_has_a_new_identity_and_the_old_file_is_kept(
    store: Store, saved: Path, path: Path, topic: Topic
) -> None:
    before = saved.read_bytes()
    made = restore(saved, path, NOW)
    assert made.path == path
    assert made.kept == path.with_name(f"db.sqlite3.replaced-{NOW}")
    assert made.db_id != store.db_id
    assert saved.read_bytes() == before
    assert made.size == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with_new_id = Store(path, "NORMAL", 5.0)
    assert (with_new_id.db_id, with_new_id.latest()) == (made.db_id, made.head)
    with_new_id.close()
    assert contents(path, topic) == ["first"]
    assert contents(made.kept, topic) == ["second", "first"]


def test_the_wal_of_a_killed_hub_stays_with_its_own_database(saved: Path, path: Path, topic: Topic) -> None:
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("UPDATE messages SET content_raw = 'third' WHERE content_raw = 'second'")
    wal = path.with_name(path.name + "-wal")
    killed = wal.read_bytes()
    writer.close()
    assert not wal.exists()
    wal.write_bytes(killed)
    made = restore(saved, path, NOW)
    assert made.kept is not None
    assert not wal.exists()
    assert contents(path, topic) == ["first"]
    assert contents(made.kept, topic) == ["third", "first"]


def test_a_damaged_database_is_kept_as_it_is(saved: Path, path: Path, topic: Topic) -> None:
    path.write_bytes(b"no database" * 1000)
    path.with_name(path.name + "-wal").write_bytes(b"no WAL")
    made = restore(saved, path, NOW)
    assert made.kept is not None
    assert made.kept.read_bytes() == b"no database" * 1000
    assert Path(f"{made.kept}-wal").read_bytes() == b"no WAL"
    assert contents(path, topic) == ["first"]


def test_without_a_database_nothing_is_kept_but_a_wal_that_is_left(saved: Path, path: Path, topic: Topic) -> None:
    path.unlink()
    wal = path.with_name(path.name + "-wal")
    wal.write_bytes(b"of a database that is gone")
    assert restore(saved, path, NOW).kept is None
    assert path.with_name(f"{path.name}.replaced-{NOW}-wal").read_bytes() == b"of a database that is gone"
    assert contents(path, topic) == ["first"]


def test_a_file_copied_in_by_hand_is_given_a_new_identity_in_its_place(saved: Path, path: Path, topic: Topic) -> None:
    os.replace(saved, path)
    made = restore(path, path, NOW)
    assert made.kept is not None
    assert contents(path, topic) == contents(made.kept, topic) == ["first"]


def damage(saved: Path) -> None:
    with saved.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096)


def make_newer(saved: Path) -> None:
    with closing(sqlite3.connect(saved, isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")


def orphan(saved: Path) -> None:
    with closing(sqlite3.connect(saved, isolation_level=None)) as connection:
        connection.execute("DELETE FROM channels")


def make_foreign(saved: Path) -> None:
    saved.unlink()
    with closing(sqlite3.connect(saved, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE recipes (name)")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damage, "damaged|malformed"),
        (make_newer, "schema version 99"),
        (orphan, "refer to a row that is missing"),
        (make_foreign, "not an Agentlip database"),
        (lambda saved: saved.write_bytes(b""), "is empty"),
        (lambda saved: saved.write_bytes(b"no database" * 1000), "file is not a database"),
        (lambda saved: saved.unlink(), "there is no file"),
    ],
)
def test_a_bad_backup_changes_nothing(saved: Path, path: Path, spoil: object, words: str) -> None:
    assert callable(spoil)
    spoil(saved)
    before, names = path.read_bytes(), sorted(os.listdir(path.parent))
    with pytest.raises(StorageError, match=words):
        restore(saved, path, NOW)
    assert path.read_bytes() == before
    assert sorted(set(os.listdir(path.parent)) - {"saved-wal", "saved-shm"}) == names
