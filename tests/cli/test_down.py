"""`agentlip down`: the hub ends, and nobody else ever gets a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from agentlip.workspace import processes, writer_lock
from agentlip.workspace.server_file import write_server_file

from ..running_hub import eventually
from ..server.raw_socket import close_of
from ..side_by_side import Script
from .working_folder import WorkingFolder, words_of, working_folder

HOLD = """
from pathlib import Path
from agentlip.workspace.writer_lock import WriterLock
lock = WriterLock(Path(sys.argv[1]))
lock.acquire()
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path) as folder:
        folder.make_workspace()
        yield folder


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A living process that is no hub; it must still live at the end."""
    with subprocess.Popen(["sleep", "60"]) as running:
        yield running
        assert running.poll() is None
        running.kill()


@pytest.mark.slow
def test_the_hub_is_gone_when_the_command_ends_and_sockets_were_told(here: WorkingFolder) -> None:
    pid = here.up("--workers", 2)
    workers = here.workers()
    token = here.server["auth_token"]
    with connect(f"ws{here.url[4:]}/ws?token={token}", compression=None) as socket:
        socket.send(json.dumps({"type": "hello", "after_event_id": 0}))
        socket.recv(timeout=10)
        done = here.run("down")
        assert close_of(socket) == (1001, "Server shutting down")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Stopped the hub, process {pid}.\n", "")
    assert [process for process in (pid, *workers) if processes.is_running(process)] == []
    assert not here.lock.exists()
    assert not (here.folder / "server.json").exists()
    again = here.run("down")
    assert (again.returncode, words_of(again)) == (3, f"no hub runs in {here.root}")


@pytest.mark.slow
def test_a_hub_that_hangs_is_left_alone_without_force_and_killed_with_it(here: WorkingFolder) -> None:
    pid = here.up("--workers", 2)
    workers = here.workers()
    for process in (pid, *workers):
        os.kill(process, signal.SIGSTOP)
    done = here.run("down", "--timeout", 0.3)
    assert done.returncode == 1
    assert words_of(done) == f"the hub, process {pid}, has not ended in 0.3 s; --force kills it"
    assert all(processes.is_running(process) for process in (pid, *workers))
    done = here.run("down", "--timeout", 0.3, "--force")
    assert (done.returncode, done.stdout) == (0, f"Killed the hub, process {pid}.\n")
    assert [process for process in (pid, *workers) if processes.is_running(process)] == []
    assert here.up() != pid


def test_force_kills_no_other_process_of_the_hubs_group(here: WorkingFolder) -> None:
    script = here.start("up")
    pid = here.server["pid"]
    assert pid == script.pid
    with subprocess.Popen(["sleep", "60"], process_group=os.getpgid(pid)) as neighbour:
        for process in (pid, *here.workers()):
            os.kill(process, signal.SIGSTOP)
        assert here.run("down", "--timeout", 0, "--force").returncode == 0
        assert script.wait(10) == -signal.SIGKILL
        assert neighbour.poll() is None
        neighbour.kill()


@pytest.mark.slow
def test_the_workers_of_a_killed_hub_are_waited_for(here: WorkingFolder) -> None:
    pid = here.up()
    workers = here.workers()
    os.kill(pid, signal.SIGKILL)
    done = here.run("down")
    assert done.returncode == 3
    assert words_of(done) == f"no hub runs in {here.root}; server.json is left over from one that is gone"
    assert not any(processes.is_running(worker) for worker in workers)


def test_the_pid_of_a_left_over_server_json_gets_no_signal(
    here: WorkingFolder, stranger: subprocess.Popen[bytes]
) -> None:
    write_server_file(here.folder, {"instance_id": "gone", "port": 9, "host": "127.0.0.1", "pid": stranger.pid})
    done = here.run("down", "--force", "--timeout", 0)
    assert done.returncode == 3
    assert words_of(done) == f"no hub runs in {here.root}; server.json is left over from one that is gone"


def test_the_pid_of_a_stale_lock_gets_no_signal(here: WorkingFolder, stranger: subprocess.Popen[bytes]) -> None:
    here.lock.parent.mkdir()
    here.lock.write_text(f"{stranger.pid}\n")
    os.utime(here.lock, (1, 1))
    write_server_file(here.folder, {"instance_id": "gone", "port": 9, "host": "127.0.0.1", "pid": stranger.pid})
    assert here.run("down", "--force", "--timeout", 0).returncode == 3


def test_a_process_of_another_make_that_has_the_lock_gets_no_signal(
    here: WorkingFolder, stranger: subprocess.Popen[bytes]
) -> None:
    here.lock.parent.mkdir()
    here.lock.write_text(f"{stranger.pid}\n")
    done = here.run("down", "--force", "--timeout", 0)
    assert done.returncode == 1
    assert words_of(done) == f"process {stranger.pid} has the lock of {here.root}, but is not certain to be a hub"


def test_a_hub_whose_lock_names_another_process_gets_no_signal_and_neither_does_that(
    here: WorkingFolder, stranger: subprocess.Popen[bytes]
) -> None:
    pid = here.up()
    here.lock.write_text(f"{stranger.pid}\n")  # as if from another container, where the ids mean other processes
    write_server_file(here.folder, here.server | {"pid": stranger.pid})
    done = here.run("down", "--force", "--timeout", 0)
    assert done.returncode == 1
    assert words_of(done).startswith(f"the hub at {here.url} is not certain to be a process of this machine")
    assert processes.is_running(pid)


def test_one_that_holds_the_lock_for_a_repair_is_no_hub(here: WorkingFolder) -> None:
    script = Script(HOLD, "lock.release()", here.folder)
    script.ready()
    done = here.run("down", "--force", "--timeout", 0)
    assert done.returncode == 1
    assert words_of(done).endswith("is not certain to be a hub")
    script.go()
    script.result()


@pytest.mark.slow
def test_a_hub_that_is_still_starting_is_stopped(here: WorkingFolder) -> None:
    process = here.start("up")
    eventually(lambda: writer_lock.hub_process(here.folder), 20, "the lock")
    done = here.run("down")
    assert done.returncode == 0
    assert process.wait(10) in (0, -signal.SIGTERM)  # the latter when it has the lock, but no handler of signals yet


def test_without_a_workspace_there_is_nothing_to_stop(tmp_path: Path) -> None:
    with working_folder(tmp_path) as nowhere:
        done = nowhere.run("down")
    assert done.returncode == 1
    assert "no workspace here or above" in words_of(done)
