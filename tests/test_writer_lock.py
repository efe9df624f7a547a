"""The writer lock: one holder at a time, stale ones recovered, those of other implementations that live respected."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentlip.errors import ConfigError, LockHeld
from agentlip.workspace import processes, writer_lock
from agentlip.workspace.writer_lock import WriterLock

from .running_hub import eventually
from .side_by_side import Script, in_processes

IMPORTS = """
import os, time
from pathlib import Path
from agentlip.errors import LockHeld
from agentlip.workspace.writer_lock import WriterLock
lock = WriterLock(Path(sys.argv[1]))
"""
HOLD = "lock.acquire(); print('held', flush=True); sys.stdin.readline(); lock.release()"
# A hub that is killed at the next line: its worker goes on for some time.
FORK = """
lock.acquire()
if os.fork() == 0:
    time.sleep(float(sys.argv[2]))
    os._exit(0)
print('held', flush=True); sys.stdin.readline()
"""
TRY = """
lock = WriterLock(Path(sys.argv[2]))
try:
    lock.acquire(); print('got it'); time.sleep(1)
except LockHeld:
    print('held')
"""


def holding(folder: Path, code: str = HOLD, *args: object) -> Script:
    """Another process that holds the lock until it is told to go on."""
    script = Script(IMPORTS, code, folder, *args)
    script.ready()
    script.go()
    assert script.stdout.readline() == "held\n"
    return script


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A living process that is no hub."""
    with subprocess.Popen(["sleep", "60"]) as running:
        yield running
        running.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the lock file is; its folder exists."""
    path = tmp_path / "locks" / "writer.lock"
    path.parent.mkdir()
    return path


def dead_pid() -> int:
    with subprocess.Popen(["true"]) as ended:
        pass
    return ended.pid


def age(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def test_the_holder_is_named_in_the_file_and_release_removes_it(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path)
    lock.acquire()
    assert lock.path == tmp_path / "locks" / "writer.lock"
    assert lock.path.read_text().splitlines()[0] == str(os.getpid())
    assert (stat.S_IMODE(lock.path.stat().st_mode), stat.S_IMODE(lock.path.parent.stat().st_mode)) == (0o600, 0o700)
    assert writer_lock.holder(tmp_path) == writer_lock.hub_process(tmp_path) == os.getpid()
    assert writer_lock.users(tmp_path) == {os.getpid()}
    lock.release()
    lock.release()
    assert os.listdir(lock.path.parent) == []
    assert (writer_lock.holder(tmp_path), writer_lock.hub_process(tmp_path)) == (None, None)


def test_a_second_holder_is_refused_at_once_in_this_process_and_in_another(tmp_path: Path) -> None:
    script = holding(tmp_path)
    content = WriterLock(tmp_path).path.read_bytes()
    started = time.monotonic()
    with pytest.raises(LockHeld, match=f"process {script.process.pid}, serves this workspace") as caught:
        WriterLock(tmp_path).acquire()
    assert time.monotonic() - started < 2
    assert "\n" not in str(caught.value)
    assert WriterLock(tmp_path).path.read_bytes() == content
    assert writer_lock.holder(tmp_path) == writer_lock.hub_process(tmp_path) == script.process.pid
    script.go()
    script.result()
    lock = WriterLock(tmp_path)
    lock.acquire()
    with pytest.raises(LockHeld):
        WriterLock(tmp_path).acquire()
    lock.release()


def test_of_eight_processes_at_once_exactly_one_gets_it(tmp_path: Path) -> None:
    assert sorted(in_processes(8, IMPORTS, TRY, tmp_path)) == ["got it\n", *["held\n"] * 7]


def test_the_lock_of_a_killed_holder_is_free(tmp_path: Path) -> None:
    script = holding(tmp_path)
    script.kill()
    assert writer_lock.holder(tmp_path) is None
    lock = WriterLock(tmp_path)
    lock.acquire()
    assert lock.path.read_text().splitlines()[0] == str(os.getpid())
    lock.release()


def test_the_workers_of_a_killed_holder_are_waited_for(tmp_path: Path) -> None:
    script = holding(tmp_path, FORK, 1.5)
    pid = script.process.pid
    assert len(writer_lock.users(tmp_path)) == 2
    script.process.kill()
    script.process.wait()
    assert writer_lock.holder(tmp_path) == pid
    assert writer_lock.hub_process(tmp_path) is None
    assert not processes.is_running(pid)
    lock = WriterLock(tmp_path)
    started = time.monotonic()
    lock.acquire()
    assert 0.5 < time.monotonic() - started < 4
    lock.release()
    script.kill()


def test_workers_that_do_not_end_are_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = holding(tmp_path, FORK, 60)
    script.process.kill()
    script.process.wait()
    (worker,) = writer_lock.users(tmp_path)
    monkeypatch.setattr(writer_lock, "_ORPHAN_SECONDS", 0.3)
    try:
        with pytest.raises(LockHeld):
            WriterLock(tmp_path).acquire()
    finally:
        os.kill(worker, 9)
        script.kill()
    eventually(lambda: writer_lock.holder(tmp_path) is None)


FORMS = {
    "a number": lambda pid: f"{pid}",
    "a line": lambda pid: f"{pid}\n",
    "a line and a time": lambda pid: f"{pid}\n2026-01-31T12:00:00.000Z\n",
    "JSON": lambda pid: json.dumps({"started_at": "2026-01-31T12:00:00.000Z", "pid": pid}),
    "JSON in lines": lambda pid: json.dumps({"pid": pid, "host": "h"}, indent=2),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_names_a_dead_process_is_recovered(path: Path, form: str) -> None:
    path.write_text(FORMS[form](dead_pid()))
    folder = path.parent.parent
    assert writer_lock.holder(folder) is None
    lock = WriterLock(folder)
    lock.acquire()
    assert path.read_text().splitlines()[0] == str(os.getpid())
    lock.release()


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"garbage", b"\xff\xfe\0", b"{}", b"[1]", b"0", b"-7", b"99999999999999", b"9999999999", b"12abc"],
)
def test_a_file_that_names_no_process_is_recovered(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert writer_lock.holder(path.parent.parent) is None
    lock = WriterLock(path.parent.parent)
    lock.acquire()
    lock.release()


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_a_living_process_wrote_is_never_taken_from_it(
    path: Path, process: subprocess.Popen[bytes], form: str
) -> None:
    content = FORMS[form](process.pid)
    path.write_text(content)
    folder, written = path.parent.parent, path.stat().st_mtime_ns
    for _ in range(2):
        with pytest.raises(LockHeld, match=f"process {process.pid} serves this workspace, or has left its lock behind"):
            WriterLock(folder).acquire()
    assert (path.read_text(), path.stat().st_mtime_ns) == (content, written)
    assert writer_lock.holder(folder) == process.pid
    assert writer_lock.hub_process(folder) is None  # it may have any other business
    process.kill()
    process.wait()
    lock = WriterLock(folder)
    lock.acquire()
    lock.release()


def test_a_living_process_that_is_younger_than_the_file_did_not_write_it(
    path: Path, process: subprocess.Popen[bytes]
) -> None:
    path.write_text(f"{process.pid}\n")
    age(path, 60)
    assert writer_lock.holder(path.parent.parent) is None
    lock = WriterLock(path.parent.parent)
    lock.acquire()
    lock.release()


def test_an_old_file_that_names_this_very_process_is_stale(path: Path) -> None:
    path.write_text(f"{os.getpid()}\n")
    assert writer_lock.holder(path.parent.parent) is None
    lock = WriterLock(path.parent.parent)
    lock.acquire()
    lock.release()


def test_somebody_who_just_looks_does_not_make_a_stale_file_count(path: Path, process: subprocess.Popen[bytes]) -> None:
    path.write_text(f"{process.pid}\n")
    age(path, 60)
    look = (
        "import fcntl, sys, time; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_SH); "
        "print('looks', flush=True); time.sleep(0.5)"
    )
    with subprocess.Popen([sys.executable, "-c", look, path], stdout=subprocess.PIPE) as looking:
        assert looking.stdout is not None
        assert looking.stdout.readline() == b"looks\n"
        lock = WriterLock(path.parent.parent)
        lock.acquire()
        lock.release()


@pytest.mark.parametrize("in_place", ["locks", "writer.lock"])
def test_a_lock_that_can_not_be_made_is_a_config_error(tmp_path: Path, in_place: str) -> None:
    if in_place == "locks":
        (tmp_path / "locks").touch()
    else:
        (tmp_path / "locks" / "writer.lock").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"cannot use the lock .*writer\.lock"):
        WriterLock(tmp_path).acquire()
    assert writer_lock.holder(tmp_path) is None


@pytest.mark.parametrize("link", ["locks", "locks/writer.lock"])
def test_no_link_is_followed(tmp_path: Path, process: subprocess.Popen[bytes], link: str) -> None:
    """Neither to take the lock, nor to see who has it: whoever made it could choose what is locked and written."""
    folder, theirs = tmp_path / "mine", tmp_path / "theirs"
    (theirs / "locks").mkdir(parents=True)
    held = holding(theirs)
    (folder / link).parent.mkdir(parents=True)
    (folder / link).symlink_to(theirs / link)
    content = (theirs / "locks" / "writer.lock").read_bytes()
    with pytest.raises(ConfigError, match=rf"cannot use the lock .*writer\.lock: {folder / link} is a symbolic link$"):
        WriterLock(folder).acquire()
    assert writer_lock.linked(folder) == folder / link
    assert (writer_lock.holder(folder), writer_lock.hub_process(folder)) == (None, None)
    assert writer_lock.users(folder) == set()
    assert (theirs / "locks" / "writer.lock").read_bytes() == content
    held.kill()
    (theirs / "locks" / "writer.lock").write_text(f"{process.pid}\n")
    assert writer_lock.holder(folder) is None
    assert writer_lock.linked(theirs) is None


def test_a_link_that_leads_nowhere_makes_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "locks").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="locks is a symbolic link"):
        WriterLock(tmp_path / "mine").acquire()
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_became_a_link_loses_nothing_at_the_release(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path)
    lock.acquire()
    lock.path.parent.rename(tmp_path / "moved")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "writer.lock").touch()
    lock.path.parent.symlink_to(tmp_path / "theirs")
    lock.release()
    assert os.listdir(tmp_path / "theirs") == ["writer.lock"]


def test_a_pipe_in_its_place_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    assert writer_lock.holder(path.parent.parent) is None
    with pytest.raises(ConfigError, match="cannot use the lock"):
        WriterLock(path.parent.parent).acquire()
