"""A hub on a read-only file system, of which only the workspace can be written to; as containers have it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..running_hub import eventually
from ..small_disk import small_disk
from .working_folder import PROGRAM, WorkingFolder, working_folder

# Every place for temporary files, and the one of the program, becomes a read-only mount; the process ID stays.
READ_ONLY = """
mount --make-rprivate / || exit 77
for place in /tmp /var/tmp /dev/shm /usr "$PACKAGES"; do
    [ -d "$place" ] || continue
    mount --rbind "$place" "$place" && mount -o remount,bind,ro "$place" || exit 77
done
mount -o remount,"$MODE" "$DISK" || exit 77
cd "$WHERE" && exec "$@"
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with small_disk(tmp_path, 16 * 1024) as disk, working_folder(disk) as folder:
        yield folder


def start(here: WorkingFolder, mode: str) -> subprocess.Popen[str]:
    where = {
        "DISK": str(here.root),
        "MODE": mode,
        "WHERE": str(here.root),
        "PACKAGES": here.environment()["PYTHONPATH"],
    }
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", *PROGRAM, "up"], env=here.environment() | where, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0,
    )  # fmt: skip
    here.processes.append(process)
    return process


def skip_where_it_is_not_allowed(process: subprocess.Popen[str]) -> None:
    if process.poll() == 77:
        pytest.skip("no mounts can be made here")


@pytest.mark.slow
def test_a_writable_workspace_is_all_that_a_hub_needs(here: WorkingFolder) -> None:
    process = start(here, "rw")
    eventually(lambda: process.poll() is not None or here.run("status").returncode == 0, 20, "the hub")
    skip_where_it_is_not_allowed(process)
    assert here.call("POST", "/api/v1/channels", {"name": "general"}).status_code == 201
    process.terminate()
    _out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    left = {name for name in os.listdir(here.folder) if name not in ("locks", "db.sqlite3-peers", "db.sqlite3-lock")}
    assert left == {"auth_token", "db.sqlite3"}


def test_a_workspace_that_can_not_be_written_to_is_one_line(here: WorkingFolder) -> None:
    here.make_workspace()
    process = start(here, "ro")
    _out, err = process.communicate(timeout=30)
    skip_where_it_is_not_allowed(process)
    assert (process.returncode, err) == (1, f"agentlip: cannot write to {here.folder}: Read-only file system\n")
    assert not (here.folder / "server.json").exists()
