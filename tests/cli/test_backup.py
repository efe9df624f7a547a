"""`agentlip backup`: copies beside a running hub, and a hub on a restored copy."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..small_disk import small_disk
from .working_folder import WorkingFolder, json_of, words_of, working_folder


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    (tmp_path / "old").mkdir()
    with working_folder(tmp_path / "old") as folder:
        assert folder.run("init").returncode == 0
        yield folder


def make_topic(here: WorkingFolder) -> str:
    channel = here.call("POST", "/api/v1/channels", {"name": "general"}).json()["channel"]["id"]
    answer = here.call("POST", "/api/v1/topics", {"channel_id": channel, "title": "t"})
    return str(answer.json()["topic"]["id"])


def post(here: WorkingFolder, topic: str) -> int:
    answer = here.call("POST", "/api/v1/messages", {"topic_id": topic, "sender": "s", "content_raw": "x" * 1000})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["event_id"])


@pytest.mark.slow
def test_a_copy_beside_a_busy_hub_is_restored_in_a_new_workspace(here: WorkingFolder, tmp_path: Path) -> None:
    here.up(RATE_LIMITS="off")
    topic = make_topic(here)
    before, stop, posted = post(here, topic), threading.Event(), list[int]()

    def write() -> None:
        while not stop.is_set():
            posted.append(post(here, topic))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        done = here.run("--json", "backup", "copy", DB="")
    finally:
        stop.set()
        writer.join()
    assert (done.returncode, done.stderr) == (0, "")
    made, copy = json_of(done), here.root / "copy"
    assert made == {"status": "ok", "path": str(copy), "size": copy.stat().st_size, "db_id": here.server["db_id"],
                    "head": made["head"]}  # fmt: skip
    assert before <= made["head"] <= posted[-1]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600

    with working_folder(tmp_path / "new") as new:
        new.folder.mkdir(mode=0o700, parents=True)
        shutil.copy(copy, new.folder / "db.sqlite3")
        assert new.run("doctor").returncode == 0
        new.up()
        assert new.server["db_id"] == made["db_id"]
        assert new.call("GET", "/api/v1/events?tail=1").json()["replay_until"] == made["head"]
        assert post(new, topic) == made["head"] + 1


def test_without_a_hub_and_without_a_token(here: WorkingFolder) -> None:
    (here.folder / "auth_token").unlink()
    done = here.run("backup", "copy")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(here.root / "copy") in done.stdout
    assert not (here.folder / "auth_token").exists()


@pytest.mark.slow
def test_an_existing_file_needs_force(here: WorkingFolder) -> None:
    (here.root / "copy").write_text("precious")
    done = here.run("backup", "copy")
    assert done.returncode == 1
    assert words_of(done) == "copy exists; use --force to replace it"
    assert (here.root / "copy").read_text() == "precious"
    assert here.run("backup", "--force", "copy").returncode == 0
    assert here.run("--workspace", here.root, "backup", "copy", "--force").returncode == 0


def test_a_folder_that_is_missing_is_one_line(here: WorkingFolder) -> None:
    done = here.run("backup", "missing/copy")
    assert done.returncode == 1
    assert words_of(done) == "cannot write missing/copy: No such file or directory"


def test_a_small_disk_is_one_line_and_stays_empty(here: WorkingFolder, tmp_path: Path) -> None:
    with small_disk(tmp_path, 64) as disk:
        done = here.run("backup", disk / "copy")
        assert done.returncode == 1
        assert words_of(done).startswith(f"not enough space in {disk}")
        assert os.listdir(disk) == []
