"""The doorbells between processes: real ones, with plain threads and with gevent."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentlip.store.peers import Peers

from ..running_hub import eventually
from ..side_by_side import Script, in_threads

THREADS, GEVENT = "", "from gevent import monkey; monkey.patch_all()\n"
both = pytest.mark.parametrize("kind", [THREADS, GEVENT], ids=["threads", "gevent"])

# One process with a doorbell: does what it reads, line by line, and answers each with one line.
IMPORTS = """
import logging, pathlib, select, time
from agentlip.store.peers import Peers
logging.basicConfig()
wakes = []
peers = Peers(pathlib.Path(sys.argv[1]), lambda: wakes.append(None))
try:
    from gevent.monkey import get_original
    native_thread = get_original("_thread", "start_new_thread")
except ImportError:
    from _thread import start_new_thread as native_thread
def storm(ended):
    for _ in range(500):
        peers.ring()
    ended.append(None)
def answer(command, number):
    if command == "start":
        peers.start()
    elif command == "ring":
        for _ in range(int(number)):
            peers.ring()
    elif command == "storm":
        ended = []
        for _ in range(int(number)):
            native_thread(storm, (ended,))
        while len(ended) < int(number):
            peers.ring()
            time.sleep(0)
    elif command == "stop":
        peers.stop()
    return len(wakes)
"""
CODE = """
print(0, flush=True)
while True:
    select.select([sys.stdin], [], [])  # under gevent the others run meanwhile
    line = sys.stdin.readline()
    if not line:
        break
    print(answer(*line.split()), flush=True)
"""


class Process:
    """A process with a doorbell in `folder`."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.script = Script(kind + IMPORTS, CODE, folder)
        self.pid = self.script.process.pid
        self.script.ready()
        self.script.go()
        self.answer()  # from here on there is one line at a time in the pipe, none in Python's buffer

    def ask(self, command: str, number: int = 0) -> int:
        """Let it do something; returns how often it was woken up to now."""
        self.send(command, number)
        return self.answer()

    def send(self, command: str, number: int = 0) -> None:
        self.script.stdin.write(f"{command} {number}\n")
        self.script.stdin.flush()

    def answer(self) -> int:
        assert select.select([self.script.stdout], [], [], 60)[0], "no answer"
        return int(self.script.stdout.readline())

    def start(self) -> Process:
        self.ask("start")
        return self

    def wakes(self) -> int:
        return self.ask("wakes")

    def woken(self, more_than: int = 0) -> None:
        eventually(lambda: self.wakes() > more_than, what="a wake-up")

    def descriptors(self) -> set[str]:
        """The sockets and folders it has open."""
        links = [os.readlink(link) for link in Path(f"/proc/{self.pid}/fd").iterdir() if link.is_symlink()]
        return {link for link in links if link.startswith("socket:") or link.endswith("/run")}

    def tasks(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))


Make = Callable[..., Process]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    """Make processes; at the end each has stopped by itself, without an error."""
    processes: list[Process] = []

    def make(kind: str, where: Path = folder) -> Process:
        process = Process(kind, where)
        processes.append(process)
        return process

    yield make
    try:
        for process in processes:
            if process.script.process.poll() is None:
                process.ask("stop")
                assert process.script.result() == ""
    finally:
        for process in processes:
            process.script.process.kill()
            process.script.process.wait(30)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_the_folder_and_the_socket_are_private(folder: Path, make: Make) -> None:
    process = make(THREADS).start()
    (name,) = names(folder)
    assert name.startswith(f"{process.pid}-")
    assert (folder.stat().st_mode & 0o777, (folder / name).stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.parametrize(("one", "two"), [(THREADS, THREADS), (GEVENT, GEVENT), (THREADS, GEVENT)])
def test_two_processes_wake_each_other(one: str, two: str, make: Make) -> None:
    first, second = make(one).start(), make(two).start()
    for rounds in range(3):
        first.ask("ring", 1)
        second.woken(rounds)
        second.ask("ring", 1)
        first.woken(rounds)
    assert (first.wakes(), second.wakes()) == (3, 3)


@both
def test_nobody_wakes_himself(kind: str, make: Make) -> None:
    alone = make(kind).start()
    for _ in range(50):
        alone.ask("ring", 1)
    other = make(kind).start()
    other.ask("ring", 1)
    alone.woken()
    assert (alone.wakes(), other.wakes()) == (1, 0)


def is_stopped(pid: int) -> bool:
    """Whether all threads of the process have stopped, which they do a moment after the signal."""
    stats = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


@both
def test_any_datagram_wakes_and_many_are_one(
    kind: str, folder: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = make(kind).start()
    monkeypatch.chdir(folder)
    (name,) = names(folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", name)
        process.woken()
        os.kill(process.pid, signal.SIGSTOP)
        eventually(lambda: is_stopped(process.pid), 5, "the stop")
        sender.sendto(b"x" * 10_000, name)
        sender.sendto(b"", name)
        sender.sendto(b"shutdown", name)
        os.kill(process.pid, signal.SIGCONT)
        process.woken(1)
        assert process.wakes() == 2


@both
def test_the_socket_of_a_killed_process_is_removed(kind: str, folder: Path, make: Make) -> None:
    first, killed, last = make(kind).start(), make(kind).start(), make(kind).start()
    first.ask("ring", 1)
    last.woken()
    killed.script.kill()
    assert len(names(folder)) == 3
    first.ask("ring", 1)
    assert [int(name.partition("-")[0]) for name in names(folder)] == sorted([first.pid, last.pid])
    last.woken(1)


@both
def test_a_full_queue_holds_nobody_up(kind: str, folder: Path, make: Make) -> None:
    ringing, stuck, lively = make(kind).start(), make(kind).start(), make(kind).start()
    os.kill(stuck.pid, signal.SIGSTOP)
    ringing.ask("ring", 1000)  # answers at once, although nobody reads
    before = lively.wakes()
    ringing.ask("ring", 1)
    lively.woken(before)
    assert len(names(folder)) == 3
    os.kill(stuck.pid, signal.SIGCONT)
    stuck.woken()


@both
def test_a_deep_folder(kind: str, tmp_path: Path, make: Make) -> None:
    deep = tmp_path.joinpath(*["d" * 100] * 3, "run")
    deep.parent.mkdir(parents=True)
    first, second = make(kind, deep).start(), make(kind, deep).start()
    first.ask("ring", 1)
    second.woken()
    second.ask("stop")
    assert len(names(deep)) == 1


def test_without_a_folder_the_process_is_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    peers = Peers(tmp_path / "file" / "run", lambda: None)
    with caplog.at_level(logging.DEBUG):
        peers.start()
        peers.ring()
        peers.stop()
        peers.ring()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "Not a directory" in record.getMessage()


@both
def test_a_folder_that_vanishes_harms_nobody(kind: str, folder: Path, make: Make) -> None:
    first, second = make(kind).start(), make(kind).start()
    first.ask("ring", 1)
    for name in names(folder):
        (folder / name).unlink()
    folder.rmdir()
    first.ask("ring", 100)
    second.ask("stop")
    second.ask("ring", 1)


@both
def test_stop_removes_the_file_and_leaves_nothing_open(kind: str, folder: Path, make: Make) -> None:
    process = make(kind)
    tasks, descriptors = process.tasks(), process.descriptors()
    process.start()
    assert len(process.descriptors() - descriptors) == 2
    process.ask("stop")
    assert names(folder) == []
    # gevent closes a folder at the next turn of its loop, and each question is one.
    eventually(lambda: process.wakes() == 0 and process.descriptors() == descriptors, what="the end of the listener")
    eventually(lambda: process.tasks() <= tasks + (kind == GEVENT), what="the end of the thread")
    process.ask("ring", 10)
    process.ask("stop")
    assert process.wakes() == 0


@both
def test_only_what_is_a_doorbell_is_touched(kind: str, folder: Path, make: Make) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("")
    (folder / "1-0123456789").write_text("")
    (folder / "1-01234567").write_text("")  # looks like one, and nobody answers
    make(kind).start().ask("ring", 2)
    assert [name for name in names(folder) if name[:2] in ("1-", "no")] == ["1-0123456789", "notes.txt"]


@both
def test_many_threads_ring_at_once(kind: str, make: Make) -> None:
    first, second = make(kind).start(), make(kind).start()
    first.send("storm", 8)
    second.send("storm", 8)
    first.answer()
    second.answer()
    first.woken()
    second.woken()
    first.ask("stop")
    first.ask("storm", 8)


def test_who_comes_while_others_ring_is_heard(folder: Path, make: Make) -> None:
    ringing = make(THREADS).start()
    coming = [make(kind) for kind in (THREADS, GEVENT) * 3]
    ringing.send("storm", 8)
    in_threads(len(coming), lambda number: coming[number].start())
    ringing.answer()
    assert len(names(folder)) == 1 + len(coming)
    before = [process.wakes() for process in coming]
    ringing.ask("ring", 1)
    for process, wakes in zip(coming, before, strict=True):
        process.woken(wakes)
