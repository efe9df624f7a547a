"""`agentlip restore`: what a client learns that was ahead of the backup, and who stands in the way."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from .test_backup import make_topic, post
from .working_folder import WorkingFolder, json_of, words_of, working_folder


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path) as folder:
        folder.make_workspace()
        yield folder


def hello_ok(here: WorkingFolder, after: int, db_id: str) -> dict[str, Any]:
    with connect(f"ws{here.url[4:]}/ws?token={here.server['auth_token']}", compression=None) as socket:
        socket.send(json.dumps({"type": "hello", "after_event_id": after, "db_id": db_id}))
        return dict(json.loads(socket.recv(timeout=10)))


@pytest.mark.slow
def test_a_client_that_was_ahead_learns_it_although_the_log_has_grown_past_it(here: WorkingFolder) -> None:
    here.up(RATE_LIMITS="off")
    topic, old = make_topic(here), here.server["db_id"]
    assert here.run("backup", "copy").returncode == 0
    cursor = [post(here, topic) for _ in range(3)][-1]
    assert here.run("down").returncode == 0
    made = json_of(here.run("--json", "restore", "copy"))
    database = here.folder / "db.sqlite3"
    assert made["path"] == str(database)
    assert made["size"] == database.stat().st_size
    assert made["head"] == cursor - 3
    assert made["db_id"] != old
    assert Path(made["kept"]).name.startswith("db.sqlite3.replaced-")
    here.up(RATE_LIMITS="off")
    assert here.server["db_id"] == made["db_id"]
    assert [post(here, topic) for _ in range(5)][-1] > cursor
    answer = hello_ok(here, cursor, old)
    assert (answer["recovered"], answer["reason"], answer["db_id"]) == (False, "epoch", made["db_id"])


@pytest.mark.slow
def test_a_running_hub_refuses(here: WorkingFolder) -> None:
    pid = here.up()
    assert here.run("backup", "copy").returncode == 0
    before = os.stat(here.folder / "db.sqlite3").st_ino
    done = here.run("restore", "copy")
    assert done.returncode == 10
    assert f"process {pid}" in words_of(done)
    assert "agentlip down" in words_of(done)
    assert os.stat(here.folder / "db.sqlite3").st_ino == before
    assert here.lock.exists()


@pytest.mark.slow
def test_a_program_that_has_the_database_open_is_in_the_way(here: WorkingFolder) -> None:
    assert here.run("backup", "copy").returncode == 0
    with closing(sqlite3.connect(here.folder / "db.sqlite3")) as connection:
        connection.execute("SELECT * FROM meta").fetchall()
        done = here.run("restore", "copy")
    assert done.returncode == 10
    assert f"process {os.getpid()} has {here.folder / 'db.sqlite3'} open" in words_of(done)
    assert here.run("restore", "copy").returncode == 0


@pytest.mark.slow
def test_a_new_workspace_is_made_for_it(here: WorkingFolder, tmp_path: Path) -> None:
    assert here.run("backup", "copy").returncode == 0
    (tmp_path / "new").mkdir()
    done = here.run("--workspace", tmp_path / "new", "restore", "copy")
    assert (done.returncode, done.stderr) == (0, "")
    assert stat.S_IMODE((tmp_path / "new" / ".agentlip").stat().st_mode) == 0o700
    assert not list((tmp_path / "new" / ".agentlip" / "locks").iterdir())
    assert here.run("--workspace", tmp_path / "new", "doctor").returncode == 0


def test_a_bad_file_is_one_line(here: WorkingFolder) -> None:
    (here.root / "copy").write_text("no database " * 1000)
    done = here.run("restore", "copy")
    assert done.returncode == 1
    assert words_of(done) == "cannot restore copy: file is not a database"
    assert here.run("doctor").returncode == 0
