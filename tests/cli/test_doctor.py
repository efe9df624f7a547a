"""`agentlip doctor`: what it says of a workspace, beside a running hub and without one, and what it puts right."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentlip.cli.support.workspace_checkup import room
from agentlip.workspace.server_file import write_server_file

from .working_folder import WorkingFolder, words_of, working_folder


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path) as folder:
        assert folder.run("init").returncode == 0
        yield folder


def doctor(here: WorkingFolder, *options: str, code: int = 0) -> list[str]:
    """The lines that are not fine."""
    done = here.run("doctor", *options)
    assert (done.returncode, done.stderr) == (code, ""), done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > 10
    return [line for line in lines if not line.startswith("ok: ")]


def drop_trigger(here: WorkingFolder) -> None:
    with closing(sqlite3.connect(here.folder / "db.sqlite3")) as connection:
        connection.execute("DROP TRIGGER prevent_event_delete")


def gone() -> int:
    """The id of a process that is gone."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def make_old(path: Path) -> None:
    os.utime(path, (time.time() - 120,) * 2)


def test_a_new_workspace_is_fine(here: WorkingFolder) -> None:
    assert doctor(here) == []


def test_a_running_hub_is_fine_and_is_not_disturbed(here: WorkingFolder) -> None:
    pid = here.up()
    assert here.call("POST", "/api/v1/channels", {"name": "general"}).status_code == 201
    text = here.run("doctor").stdout
    assert f"ok: the writer lock is held by process {pid}" in text
    assert f"ok: server.json is of the running hub, {here.url}" in text
    assert here.server["auth_token"] not in text
    assert doctor(here) == []
    assert here.call("POST", "/api/v1/channels", {"name": "more"}).status_code == 201


def test_json_is_the_list(here: WorkingFolder) -> None:
    drop_trigger(here)
    done = here.run("--json", "doctor")
    assert done.returncode == 1
    (error,) = [each["what"] for each in json.loads(done.stdout)["findings"] if each["level"] == "error"]
    assert "refuse DELETE" in error


@pytest.mark.slow
def test_a_missing_trigger_waits_until_no_hub_runs(here: WorkingFolder) -> None:
    here.up()
    drop_trigger(here)
    (skipped, error) = doctor(here, "--repair", code=1)
    assert skipped.startswith("skipped: the database, the writer lock and server.json were left alone: a hub serves")
    assert error.startswith("error: the trigger on events is missing")
    assert (here.folder / "server.json").exists()
    assert here.run("down").returncode == 0
    assert "made the trigger on events again" in doctor(here, "--repair")[0]
    assert doctor(here) == []
    assert not here.lock.exists()


@pytest.mark.slow
def test_what_a_killed_hub_leaves_is_removed(here: WorkingFolder) -> None:
    here.up()
    assert here.call("POST", "/api/v1/channels", {"name": "general"}).status_code == 201
    pids = [here.server["pid"], *here.workers()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    found = doctor(here)
    assert len(found) == 2
    assert found[0].startswith(f"warning: the writer lock {here.lock} is stale")
    assert found[1].startswith("warning: server.json is stale")
    assert here.lock.exists()
    done = doctor(here, "--repair")
    assert done[:2] == ["repaired: removed the stale writer lock", "repaired: removed the stale server.json"]
    assert "repaired: moved the WAL" in done[2]
    assert doctor(here) == []
    assert here.up()
    assert [channel["name"] for channel in here.call("GET", "/api/v1/channels").json()["channels"]] == ["general"]


@pytest.mark.slow
def test_a_hub_that_holds_the_lock_and_does_not_answer_is_an_error(here: WorkingFolder) -> None:
    here.up()
    server = here.server
    write_server_file(here.folder, server | {"instance_id": "another"})
    assert doctor(here, code=1)[0].startswith("error: the writer lock is held, but its hub does not answer")
    assert "left alone: another hub" in doctor(here, "--repair", code=1)[0]
    write_server_file(here.folder, server)


def test_files_that_others_may_use_are_closed_to_them(here: WorkingFolder) -> None:
    files = {here.folder: 0o755, here.folder / "auth_token": 0o644, here.folder / "db.sqlite3": 0o640}
    for path, mode in files.items():
        path.chmod(mode)
    found = doctor(here, code=1)
    assert [line.partition(":")[0] for line in found] == ["warning", "error", "warning"]
    assert "auth_token (mode 0644), which holds the token" in found[1]
    assert all(line.startswith("repaired: set the mode of ") for line in doctor(here, "--repair"))
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o700, 0o600, 0o600]
    assert doctor(here) == []


def test_the_mode_of_a_folder_that_is_not_the_workspaces_own_is_let_be(here: WorkingFolder, tmp_path: Path) -> None:
    other = tmp_path / "srv"
    other.mkdir(mode=0o755)
    (here.folder / "db.sqlite3").rename(other / "hub.db")
    done = here.run("doctor", "--repair", DB=other / "hub.db")
    assert done.returncode == 0, done.stdout + done.stderr
    assert stat.S_IMODE(other.stat().st_mode) == 0o755


def test_leftovers_are_found_and_removed_when_they_are_old(
    here: WorkingFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = here.folder / "db.sqlite3-peers"
    peers.mkdir(mode=0o700)
    sockets = {pid: peers / f"{pid}-00000000.new" for pid in (gone(), os.getpid())}
    with monkeypatch.context() as inside:
        inside.chdir(peers)  # the whole path may be too long for a socket's address
        for path in sockets.values():
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
                bound.bind(path.name)
            make_old(path)
    temporaries = [here.folder / f".{name}.0123456789abcdef" for name in ("auth_token", "server.json")]
    for path in temporaries:
        path.touch(0o600)
    make_old(temporaries[0])
    expected = [temporaries[0], next(path for pid, path in sockets.items() if pid != os.getpid())]
    assert [line.split()[1] for line in doctor(here)] == [str(path) for path in expected]
    assert doctor(here, "--repair")[:2] == [f"repaired: removed {path}" for path in expected]
    assert temporaries[1].exists()
    assert sockets[os.getpid()].exists()


def test_a_damaged_token_file_is_an_error(here: WorkingFolder) -> None:
    (here.folder / "auth_token").write_text("short")
    assert "holds no token" in doctor(here, code=1)[0]
    (here.folder / "auth_token").unlink()
    assert doctor(here) == []
    assert not (here.folder / "auth_token").exists()


def test_a_large_wal_is_a_warning(here: WorkingFolder) -> None:
    with closing(sqlite3.connect(here.folder / "db.sqlite3")) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("SELECT * FROM meta").fetchall()
        with (here.folder / "db.sqlite3-wal").open("r+b") as wal:
            wal.truncate(65 * 1024 * 1024)
        assert "the WAL has 65 MiB, after a burst of writes" in doctor(here)[0]


def test_a_file_that_is_no_database_is_one_error(here: WorkingFolder) -> None:
    (here.folder / "db.sqlite3").write_bytes(b"no database " * 1000)
    done = here.run("doctor")
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.startswith("error")] == [
        f"error: cannot read {here.folder / 'db.sqlite3'}: file is not a database; restore a backup (docs/upkeep.md)"
    ]


def test_without_a_workspace_there_is_one_line(here: WorkingFolder, tmp_path: Path) -> None:
    (here.folder / "db.sqlite3").unlink()
    done = here.run("--workspace", tmp_path, "doctor")
    assert done.returncode == 1
    assert "is not a workspace" in words_of(done)


@pytest.mark.parametrize(
    ("free", "database", "level"),
    [(2**40, 2**30, "ok"), (2**29, 2**30, "warning"), (2**27, 0, "warning"), (2**20, 0, "error")],
)
def test_room_on_the_disk_is_judged_by_what_is_needed(free: int, database: int, level: str) -> None:
    assert room(free, database).level == level


@pytest.mark.parametrize("name", ["db.sqlite3-lock", "db.sqlite3-peers", "locks", "locks/writer.lock"])
def test_a_link_that_no_hub_follows_is_found(here: WorkingFolder, tmp_path: Path, name: str) -> None:
    path = here.folder / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tmp_path / "elsewhere")
    found = f"error: {path} is a symbolic link, which no hub follows; remove it: the next hub makes a new one"
    assert doctor(here, code=1) == [found]
    path.unlink()
    assert doctor(here) == []
