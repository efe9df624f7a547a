"""A client that starts the hub of its workspace when none runs: one hub, however many want it at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentlip.client import HubClient, HubUnreachable
from agentlip.workspace import writer_lock

from ..cli.working_folder import WorkingFolder
from ..running_hub import ROOT, TOKEN, Hub, eventually

_PROGRAM = "from agentlip.client import HubClient; print(HubClient.connect_or_start().health()['instance_id'])"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkingFolder]:
    for name in ("URL", "TOKEN", "DB", "AUTH_TOKEN"):
        monkeypatch.delenv(f"AGENTLIP_{name}", raising=False)
    folder = WorkingFolder(tmp_path)
    yield folder
    if writer_lock.holder(folder.folder):
        assert folder.run("down").returncode == 0


@pytest.mark.slow
def test_it_starts_the_hub_and_leaves_it_running(place: WorkingFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.run("init").returncode == 0
    below = place.root / "a"
    below.mkdir()
    with HubClient.connect_or_start(below) as client:
        assert client.ping()["pong"] is True
        pid = writer_lock.holder(place.folder)
    monkeypatch.chdir(below)
    with HubClient.connect_or_start() as client:
        assert client.ping()["pong"] is True
    assert writer_lock.holder(place.folder) == pid
    assert list(below.iterdir()) == []


@pytest.mark.slow
def test_many_programs_at_once_get_one_hub(place: WorkingFolder) -> None:
    def run(_number: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _PROGRAM], cwd=place.root, env=place.environment(),
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(run, range(4)))
    assert [each.stderr for each in ended] == [""] * 4
    assert len({each.stdout for each in ended}) == 1


@pytest.mark.slow
def test_after_a_kill_it_starts_again(place: WorkingFolder) -> None:
    place.up()
    with HubClient.connect_or_start(place.root) as client:
        first = client.health()["instance_id"]
    place.kill()
    with HubClient.connect_or_start(place.root) as client:
        assert client.health()["instance_id"] != first


@pytest.mark.slow
def test_a_hub_that_can_not_run_says_why(place: WorkingFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    place.folder.mkdir()
    (place.folder / "db.sqlite3").write_bytes(b"no database at all, but text" * 100)
    with pytest.raises(HubUnreachable, match=r"No hub could be started: .*database"):
        HubClient.connect_or_start(place.root)
    assert eventually(lambda: not writer_lock.holder(place.folder))


def test_a_hub_that_is_named_is_not_started(place: WorkingFolder, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.root)
    monkeypatch.setenv("AGENTLIP_URL", hub.url)
    monkeypatch.setenv("AGENTLIP_TOKEN", TOKEN)
    with HubClient.connect_or_start() as client:
        assert client.url == hub.url
    assert list(place.root.iterdir()) == []


def test_modules_of_the_working_folder_are_not_run(place: WorkingFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("agentlip.py", "gunicorn.py", "click.py", "json.py"):
        (place.root / name).write_text("raise SystemExit('wrong module')")
    monkeypatch.chdir(place.root)
    with HubClient.connect_or_start() as client:
        assert client.ping()["pong"] is True
    assert ROOT not in place.root.parents
