"""Copies of a database that others write to, and what stops a copy."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from agentlip.errors import StorageError
from agentlip.model import Topic
from agentlip.store import checkup, mutations
from agentlip.store.backup import Backup, back_up
from agentlip.store.store import Store

from ..running_hub import ROOT, eventually

# A file may have at most this many bytes: the disk of a small machine.
LIMITED = """
import resource, sys
from pathlib import Path
from agentlip.errors import StorageError
from agentlip.store.backup import back_up

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    back_up(Path(sys.argv[1]), Path(sys.argv[2]))
except StorageError as error:
    print(error)
"""
SLOW = """
import sys, time
from pathlib import Path
from agentlip.store.backup import back_up

def on_progress(done, pages):
    print(done, flush=True)
    time.sleep(0.2)

back_up(Path(sys.argv[1]), Path(sys.argv[2]), on_progress=on_progress)
"""


@pytest.fixture
def large(store: Store, topic: Topic, path: Path) -> Path:
    """A database of some MiB, copied in several steps."""
    for _ in range(80):
        store.write(mutations.post_message, topic.id, "me", "x" * 60_000)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies" / "copy.sqlite3"


@contextmanager
def steady_writer(store: Store, topic: Topic) -> Iterator[list[float]]:
    """Posts all the time; gives the seconds each post took."""
    stop, took = threading.Event(), list[float]()

    def write() -> None:
        while not stop.wait(0.001):
            began = time.monotonic()
            store.write(mutations.post_message, topic.id, "me", "y" * 1000)
            took.append(time.monotonic() - began)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join()


def head_of(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        return int(connection.execute("SELECT max(event_id) FROM events").fetchone()[0])


def test_a_copy_under_a_steady_writer_is_one_snapshot(store: Store, topic: Topic, large: Path, target: Path) -> None:
    steps: list[tuple[int, int]] = []

    def on_progress(done: int, pages: int) -> None:
        assert not steps or done > steps[-1][0], "the copy started again"  # and would never end
        steps.append((done, pages))
        seen = len(took)
        eventually(lambda: len(took) > seen + 2, 5, "a write during the copy")  # so each step meets new commits

    with steady_writer(store, topic) as took:
        eventually(lambda: took, 5, "the first write")
        before = store.latest()
        made = back_up(large, target, on_progress=on_progress)
    assert before <= made.head < store.latest()
    assert len(steps) > 4
    assert steps[-1][0] == steps[-1][1] == steps[0][1]
    assert head_of(target) == made.head
    assert made == Backup(target, target.stat().st_size, store.db_id, made.head)
    assert {finding.level for finding in checkup.examine(target)} == {"ok"}


def test_the_copy_is_one_private_file(large: Path, target: Path) -> None:
    before = os.umask(0)
    try:
        back_up(large, target)
    finally:
        os.umask(before)
    assert os.listdir(target.parent) == [target.name]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_bytes()[18:20] == b"\1\1"  # no WAL needed


def test_the_copy_opens_as_a_store(store: Store, topic: Topic, large: Path, target: Path) -> None:
    made = back_up(large, target)
    restored = Store(target, "NORMAL", 5.0)
    try:
        assert restored.db_id == store.db_id
        assert restored.latest() == made.head == store.latest()
        restored.write(mutations.post_message, topic.id, "me", "after the restore")
        assert restored.latest() == made.head + 1
    finally:
        restored.close()


def test_a_database_nobody_has_open_is_copied_too(store: Store, large: Path, target: Path) -> None:
    head = store.latest()
    store.close()
    eventually(lambda: not large.with_name(large.name + "-wal").exists(), 30, "the end of the WAL")
    assert back_up(large, target).head == head


def test_a_copy_of_a_copy(large: Path, target: Path) -> None:
    made = back_up(large, target)
    assert back_up(target, target.with_name("second")).head == made.head


def test_an_existing_file_is_kept_unless_it_may_be_replaced(large: Path, target: Path) -> None:
    target.write_text("precious")
    with pytest.raises(StorageError, match="exists"):
        back_up(large, target)
    assert target.read_text() == "precious"
    assert back_up(large, target, replace=True).head == head_of(target)
    assert os.listdir(target.parent) == [target.name]


def test_a_file_that_appears_during_the_copy_is_kept(large: Path, target: Path) -> None:
    with pytest.raises(StorageError, match="exists"):
        back_up(large, target, on_progress=lambda _done, _pages: target.touch())
    assert target.stat().st_size == 0
    assert os.listdir(target.parent) == [target.name]


@pytest.mark.parametrize("companion", ["-wal", "-journal", "-shm"])
def test_a_file_in_use_is_never_replaced(large: Path, target: Path, companion: str) -> None:
    Path(f"{target}{companion}").touch()
    with pytest.raises(StorageError, match="may be in use"):
        back_up(large, target, replace=True)


def test_the_database_is_not_copied_onto_itself(large: Path, target: Path) -> None:
    with pytest.raises(StorageError, match="is the database itself"):
        back_up(large, large, replace=True)
    target.symlink_to(large)
    with pytest.raises(StorageError, match="is the database itself"):
        back_up(large, target, replace=True)


def test_a_folder_that_is_missing_or_a_file_is_one_line(large: Path, target: Path) -> None:
    for wrong in (target.parent / "missing" / "copy", target.parent):
        with pytest.raises(StorageError) as caught:
            back_up(large, wrong)
        assert "\n" not in str(caught.value)
        assert str(wrong) in str(caught.value)
    assert os.listdir(target.parent) == []


def test_a_missing_database_is_not_made(tmp_path: Path, target: Path) -> None:
    with pytest.raises(StorageError, match="there is no database"):
        back_up(tmp_path / "none", target)
    assert os.listdir(target.parent) == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("content", [b"", b"no database " * 1000], ids=["empty", "no database"])
def test_what_is_no_database_is_not_copied(path: Path, target: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StorageError, match="cannot copy"):
        back_up(path, target)
    assert os.listdir(target.parent) == []


def test_a_damaged_database_is_not_copied(store: Store, large: Path, target: Path) -> None:
    back_up(large, target)
    damaged = target.rename(target.with_name("damaged"))
    with closing(sqlite3.connect(damaged)) as connection:
        sql = "SELECT rootpage FROM sqlite_master WHERE name = 'messages'"
        root = connection.execute(sql).fetchone()[0]
    with damaged.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(StorageError, match=r"damaged|malformed"):
        back_up(damaged, target)
    assert os.listdir(target.parent) == [damaged.name]


def test_a_full_disk_leaves_nothing(large: Path, target: Path) -> None:
    target.write_text("the last good copy")
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(large), str(target.with_name("new"))],
        cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert run.stdout.startswith(f"cannot copy {large} to "), run.stderr
    assert len(run.stdout.splitlines()) == 1
    assert os.listdir(target.parent) == [target.name]


def test_ctrl_c_leaves_nothing(large: Path, target: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(large), str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        assert len(os.listdir(target.parent)) > 0
        process.send_signal(signal.SIGINT)
        process.wait(10)
    assert process.returncode != 0
    assert os.listdir(target.parent) == []
