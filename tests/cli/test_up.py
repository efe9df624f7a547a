"""`agentlip init` and `agentlip up`: workspaces are made, one hub serves, and failures are one line."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import requests

from agentlip.workspace import writer_lock

from ..running_hub import eventually
from ..side_by_side import Script
from ..small_disk import fill, small_disk
from .working_folder import WorkingFolder, json_of, words_of, working_folder


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path) as folder:
        yield folder


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "hub.log"}


def test_init_makes_a_workspace_here_and_says_what_is_next_and_again_changes_nothing(here: WorkingFolder) -> None:
    done = here.run("init")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Made a workspace: {here.folder}\n" in done.stdout
    assert "agentlip up" in done.stdout
    assert (mode_of(here.folder), mode_of(here.folder / "auth_token"), mode_of(here.folder / "db.sqlite3")) == (
        0o700, 0o600, 0o600,
    )  # fmt: skip
    before = snapshot(here.folder)
    again = here.run("init")
    assert again.returncode == 0
    assert f"Already a workspace: {here.folder}\n" in again.stdout
    assert snapshot(here.folder) == before


def test_init_makes_a_workspace_in_the_folder_that_is_named(here: WorkingFolder) -> None:
    assert here.run("init", "a/b").returncode == 0
    assert (here.root / "a" / "b" / ".agentlip" / "db.sqlite3").is_file()
    assert here.run("--workspace", here.root / "c", "init").returncode == 0
    assert (here.root / "c" / ".agentlip" / "db.sqlite3").is_file()
    assert not here.folder.exists()


def test_a_hub_is_run_in_the_folder_that_is_named_but_that_is_not_made(here: WorkingFolder) -> None:
    done = here.run("--workspace", here.root / "typo", "up")
    assert (done.returncode, words_of(done)) == (1, f"there is no folder {here.root / 'typo'}")
    assert os.listdir(here.root) == []


@pytest.mark.parametrize("command", ["init", "up"])
def test_a_file_in_the_folders_place_is_one_line(here: WorkingFolder, command: str) -> None:
    here.folder.touch()
    done = here.run(command)
    assert done.returncode == 1
    assert words_of(done).startswith(f"cannot make the folder {here.folder}")


@pytest.mark.slow
def test_a_hub_in_the_foreground_has_the_pid_and_the_exit_code_of_the_command(here: WorkingFolder) -> None:
    (here.root / "secrets.py").write_text("raise SystemExit('a module of the working folder was imported')")
    process = here.start("up", "--workers", 2, HOST="0.0.0.0", ALLOW_NETWORK="on")
    assert here.server["pid"] == process.pid
    assert here.server["host"] == "0.0.0.0"
    eventually(lambda: len(here.workers()) == 2)
    assert here.call("GET", "/health").json()["instance_id"] == here.server["instance_id"]
    process.send_signal(signal.SIGINT)
    out, _err = process.communicate(timeout=15)
    assert process.returncode == 0
    assert out == f"Made a workspace: {here.folder}\n"
    assert not (here.folder / "server.json").exists()


def test_a_hub_in_the_background_is_told_of_in_one_line_and_logs_to_a_private_file(here: WorkingFolder) -> None:
    below = here.root / "below"
    below.mkdir()
    here.make_workspace()
    log = here.folder / "hub.log"
    log.write_text("an earlier line\n")
    log.chmod(0o644)
    done = here.run("up", "--detach", cwd=below)
    pid = here.server["pid"]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"The hub runs: {here.url}, process {pid}, log {log}\n"
    assert requests.get(f"{here.url}/health", timeout=5).status_code == 200
    assert mode_of(log) == 0o600
    assert log.read_text().startswith("an earlier line\n")
    assert "Listening at" in log.read_text()
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"


@pytest.mark.slow
def test_a_second_hub_is_one_line_with_pid_and_url_and_code_10(here: WorkingFolder) -> None:
    done = here.run("--json", "up", "--detach", "--idle-shutdown", "2h")
    pid, url = here.server["pid"], here.url
    assert json_of(done) == {"status": "ok", "url": url, "pid": pid, "log": str(here.folder / "hub.log")}
    assert b"\0AGENTLIP_IDLE_SHUTDOWN=7200.0\0" in Path(f"/proc/{pid}/environ").read_bytes()
    before = snapshot(here.folder)
    for args in ([], ["--detach"], ["--port", here.server["port"]]):
        done = here.run("up", *args)
        assert (done.returncode, words_of(done)) == (10, f"a hub already serves {here.root}: process {pid}, {url}")
    assert snapshot(here.folder) == before


@pytest.mark.slow
def test_of_several_at_once_one_serves_and_the_others_end_with_code_10(here: WorkingFolder) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [here.start("up", "--port", port) for _ in range(4)]
    eventually(lambda: sum(process.poll() is not None for process in processes) == 3, 40, "the end of three")
    assert sorted(process.returncode for process in processes if process.returncode is not None) == [10] * 3
    assert here.server["pid"] in {process.pid for process in processes if process.returncode is None}


def test_a_living_process_of_another_make_keeps_its_lock(here: WorkingFolder) -> None:
    here.make_workspace()
    with subprocess.Popen(["sleep", "60"]) as other:
        here.lock.parent.mkdir()
        here.lock.write_text(f"{other.pid}\n")
        done = here.run("up")
        other.kill()
    assert done.returncode == 10
    assert words_of(done).startswith(f"process {other.pid} serves this workspace, or has left its lock behind")
    assert here.lock.read_text() == f"{other.pid}\n"


@pytest.mark.parametrize("args", [[], ["--detach"]], ids=["foreground", "detached"])
def test_a_port_in_use_is_one_line(here: WorkingFolder, args: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        here.make_workspace()
        done = here.run("up", "--port", port, *args)
    assert done.returncode == 1
    assert words_of(done) == f"cannot listen on 127.0.0.1, port {port}: Address already in use"
    assert writer_lock.holder(here.folder) is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"HOST": "203.0.113.1"}, "cannot listen on 203.0.113.1, port 0: "),
        ({"HOST": "no..host"}, "cannot listen on no..host, port 0: "),
        ({"WORKERS": "many"}, "AGENTLIP_WORKERS must be a whole number from 1 to 256, not 'many'"),
        ({"IDLE_SHUTDOWN": "15m"}, "AGENTLIP_IDLE_SHUTDOWN must be seconds"),
    ],
)
def test_a_bad_setting_is_one_line(here: WorkingFolder, settings: dict[str, str], words: str) -> None:
    here.make_workspace()
    done = here.run("up", **settings)
    assert done.returncode == 1
    assert words_of(done).startswith(words)


@pytest.mark.parametrize("duration", ["soon", "1d"])
def test_a_bad_duration_is_refused(here: WorkingFolder, duration: str) -> None:
    done = here.run("up", "--idle-shutdown", duration)
    assert done.returncode == 1
    assert "is not a duration such as 90, 90s, 15m or 2h" in done.stderr
    assert not here.folder.exists()


def test_the_last_words_of_a_hub_that_does_not_start_in_the_background_are_shown(here: WorkingFolder) -> None:
    here.make_workspace()
    (here.folder / "server.json").mkdir()  # found out by the hub itself
    done = here.run("up", "--detach")
    assert (done.returncode, words_of(done)) == (1, "cannot write server.json: Is a directory")
    assert writer_lock.holder(here.folder) is None


@pytest.mark.slow
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with small_disk(tmp_path, 1024) as disk, working_folder(disk) as here:
        here.make_workspace()
        filler = fill(disk)
        for args in ([], ["--detach"]):
            done = here.run("up", *args)
            assert (done.returncode, words_of(done)) == (1, f"cannot write to {here.folder}: No space left on device")
        filler.unlink()
        here.up()


AS_NOBODY = """
import os, agentlip.cli.main, agentlip.cli.commands.up
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
sys.argv[1:] = ["up"]
try:
    agentlip.cli.main.main()
except SystemExit as end:
    print(end.code, file=sys.stderr)
"""


def test_a_folder_that_can_not_be_written_to_is_one_line() -> None:
    with TemporaryDirectory() as public, working_folder(Path(public).resolve()) as here:
        here.make_workspace()
        here.root.chmod(0o755)
        if os.geteuid() == 0:
            for path in (here.folder, *here.folder.iterdir()):
                os.chown(path, 65534, 65534)
        here.folder.chmod(0o555)
        script = Script("", AS_NOBODY, here.root)
        script.ready()
        script.go()
        _out, err = script.process.communicate(timeout=30)
        assert err == f"agentlip: cannot write to {here.folder}: Permission denied\n1\n"
        here.folder.chmod(0o700)
