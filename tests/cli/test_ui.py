"""`agentlip ui`: a link that signs one person in."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from agentlip.cli.support import exits
from agentlip.workspace.finding import LOGIN_CODES

from .working_folder import WorkingFolder, json_of, words_of, working_folder


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path) as folder:
        folder.make_workspace()
        yield folder


@pytest.mark.slow
def test_the_link_is_of_the_running_hub_and_its_code_signs_in_once(here: WorkingFolder) -> None:
    here.up()
    done = here.run("ui")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    page, _, code = done.stdout.strip().partition("#")
    assert page == f"{here.url}/ui/login"
    assert requests.get(page, timeout=20).status_code == 200
    answers = [requests.post(f"{here.url}/ui/session", json={"code": code}, timeout=20) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 401]
    assert here.server["auth_token"] not in done.stdout
    assert list(json_of(here.run("--json", "ui"))) == ["status", "url"]
    folder = here.folder / LOGIN_CODES
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert code not in [path.name for path in folder.iterdir()]


def test_it_needs_a_hub_that_runs_here(here: WorkingFolder) -> None:
    done = here.run("ui")
    assert done.returncode == exits.NOT_RUNNING
    assert words_of(done) == f"No hub is running in {here.root}; start one with `agentlip up`"
    assert not (here.folder / LOGIN_CODES).exists()
