"""The database is gone or empty, but the workspace is not new: none is made unless that is wanted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..running_hub import ROOT
from .working_folder import WorkingFolder, words_of, working_folder


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path) as folder:
        folder.make_workspace()
        yield folder


def lose(here: WorkingFolder, how: str) -> None:
    database = here.folder / "db.sqlite3"
    for path in here.folder.glob("db.sqlite3*"):
        if path.is_file():
            path.unlink()
    if how == "empty":
        database.touch()


@pytest.mark.parametrize("how", ["gone", "empty"])
@pytest.mark.parametrize("command", ["up", "init"])
def test_it_is_refused_without_new(here: WorkingFolder, how: str, command: str) -> None:
    lose(here, how)
    token = (here.folder / "auth_token").read_text()
    done = here.run(command, *(["--detach"] if command == "up" else []))
    assert done.returncode == 1
    assert f"the database {here.folder / 'db.sqlite3'} is gone or empty, but auth_token beside it is not" in words_of(
        done
    )
    assert "--new" in words_of(done)
    assert (here.folder / "db.sqlite3").exists() == (how == "empty")
    done = here.run(command, "--new", *(["--detach"] if command == "up" else []))
    assert (done.returncode, done.stderr) == (0, "")
    assert (here.folder / "db.sqlite3").stat().st_size > 0
    assert (here.folder / "auth_token").read_text() == token


def test_gunicorn_itself_refuses(here: WorkingFolder) -> None:
    lose(here, "gone")
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"], cwd=ROOT, text=True,
        env=here.environment(DB=here.folder / "db.sqlite3"), capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "is gone or empty, but auth_token beside it is not" in done.stderr
    assert not (here.folder / "db.sqlite3").exists()
    assert not here.lock.exists()


def test_a_wal_that_is_left_counts_too(here: WorkingFolder) -> None:
    lose(here, "gone")
    os.unlink(here.folder / "auth_token")
    (here.folder / "db.sqlite3-wal").write_bytes(b"committed, and not yet in the database")
    assert "db.sqlite3-wal beside it is not" in words_of(here.run("up", "--detach"))


def test_other_commands_say_so_as_well(here: WorkingFolder) -> None:
    lose(here, "gone")
    for command in (("doctor",), ("status",), ("--workspace", here.root, "channel", "list")):
        done = here.run(*command)
        assert done.returncode == 1
        assert "is gone or empty" in words_of(done)


def test_doctor_finds_an_empty_database(here: WorkingFolder) -> None:
    lose(here, "empty")
    done = here.run("doctor")
    assert done.returncode == 1
    assert "error: " in done.stdout
    assert "is gone or empty" in done.stdout


def test_a_new_folder_and_a_half_made_one_need_no_new(here: WorkingFolder, tmp_path: Path) -> None:
    (tmp_path / "half" / ".agentlip").mkdir(parents=True, mode=0o700)
    (tmp_path / "half" / ".agentlip" / "db.sqlite3").touch()
    for name in ("half", "whole"):
        assert here.run("init", tmp_path / name).returncode == 0
