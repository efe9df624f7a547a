"""`agentlip token`: shown to scripts, and replaced while a hub runs."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from agentlip.workspace.server_file import write_server_file
from agentlip.workspace.writer_lock import WriterLock

from ..running_hub import TOKEN, eventually
from ..server.raw_socket import close_of
from .working_folder import WorkingFolder, json_of, words_of, working_folder


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path) as folder:
        folder.make_workspace()
        yield folder


def kept(here: WorkingFolder) -> str:
    return (here.folder / "auth_token").read_text().strip()


def ping(here: WorkingFolder, token: str) -> int:
    return here.call("POST", "/api/v1/_ping", {}, token).status_code


@pytest.mark.slow
def test_the_token_is_printed_and_nothing_else(here: WorkingFolder) -> None:
    done = here.run("token", "show")
    assert (done.returncode, done.stdout, done.stderr) == (0, kept(here) + "\n", "")
    assert json_of(here.run("--json", "token", "show")) == {"status": "ok", "token": kept(here)}


@pytest.mark.slow
def test_without_a_hub_there_is_a_new_token_for_the_next_one(here: WorkingFolder) -> None:
    old = kept(here)
    done = here.run("token", "rotate")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(bytes.fromhex(kept(here))) == 32
    assert kept(here) != old
    assert stat.S_IMODE((here.folder / "auth_token").stat().st_mode) == 0o600
    assert "which the next hub will use" in done.stdout
    assert old not in done.stdout
    assert kept(here) not in done.stdout
    (here.folder / "auth_token").write_text("damaged")
    assert here.run("token", "show").returncode == 1
    assert json_of(here.run("--json", "token", "rotate")) == {"status": "ok", "rotated": True, "hub_pid": None}
    assert here.run("token", "show").returncode == 0


@pytest.mark.slow
def test_a_running_hub_takes_the_new_token_and_refuses_the_old_one(here: WorkingFolder) -> None:
    pid, old = here.up("--workers", 2), kept(here)
    before = here.server
    with connect(f"ws{here.url[4:]}/ws?token={old}", compression=None) as socket:
        socket.send(json.dumps({"type": "hello", "after_event_id": 0}))
        socket.recv(timeout=10)
        done = here.run("token", "rotate")
        assert close_of(socket) == (1001, "Server shutting down")
    new = kept(here)
    assert new != old
    assert [ping(here, old) for _ in range(10)] == [401] * 10
    assert ping(here, new) == 200
    assert here.server == before | {"auth_token": new}
    assert (done.returncode, done.stderr) == (0, "")
    assert f"the hub, process {pid}, refuses the old one" in done.stdout
    assert "closed with 1001" in done.stdout
    assert old not in done.stdout
    assert new not in done.stdout
    assert here.run("token", "show").stdout == f"{new}\n"


def test_a_token_that_is_configured_here_is_shown_and_not_replaced(here: WorkingFolder) -> None:
    before = kept(here)
    done = here.run("token", "show", AUTH_TOKEN=TOKEN)
    assert (done.returncode, done.stdout) == (0, f"{TOKEN}\n")
    assert "the file auth_token is not used" in done.stderr
    done = here.run("token", "rotate", AUTH_TOKEN=TOKEN)
    assert done.returncode == 1
    assert words_of(done).startswith("AGENTLIP_AUTH_TOKEN gives the token, the file auth_token is not used")
    done = here.run("token", "show", AUTH_TOKEN="")
    assert done.returncode == 1
    assert words_of(done).startswith("AGENTLIP_AUTH_TOKEN is empty: no token is configured")
    assert kept(here) == before


@pytest.mark.slow
def test_the_token_of_a_hub_that_was_given_one_is_shown_and_not_replaced(here: WorkingFolder) -> None:
    here.up(AUTH_TOKEN=TOKEN)
    before = kept(here)
    done = here.run("token", "show")
    assert (done.returncode, done.stdout) == (0, f"{TOKEN}\n")
    assert "the file auth_token is not used" in done.stderr
    done = here.run("token", "rotate")
    assert done.returncode == 1
    assert "the running hub has another token than the file auth_token" in words_of(done)
    assert kept(here) == before
    assert ping(here, TOKEN) == 200


def test_a_hub_that_can_not_be_told_keeps_the_old_token_and_that_is_said(here: WorkingFolder) -> None:
    here.up()
    old = kept(here)
    here.lock.write_text("1\n")  # as if from another container
    write_server_file(here.folder, here.server | {"pid": 1})
    done = here.run("token", "rotate")
    assert done.returncode == 1
    assert words_of(done) == f"the new token is made, but the hub at {here.url} keeps the old one: start it again"
    assert kept(here) != old
    assert ping(here, old) == 200


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_told_and_takes_it_when_it_can(here: WorkingFolder) -> None:
    pid, old = here.up(), kept(here)
    stopped = [pid, *here.workers()]
    for process in stopped:
        os.kill(process, signal.SIGSTOP)
    try:
        done = here.run("token", "rotate")
        assert done.returncode == 1
        assert words_of(done) == f"the new token is made, but the hub, process {pid}, has not taken it yet"
    finally:
        for process in stopped:
            os.kill(process, signal.SIGCONT)
    assert kept(here) != old
    eventually(lambda: here.server["auth_token"] == kept(here), 20, "the new token in server.json")
    eventually(lambda: ping(here, old) == 401, 20, "the refusal of the old one")
    assert ping(here, kept(here)) == 200


def test_a_process_that_does_not_answer_and_may_be_no_hub_changes_nothing(here: WorkingFolder) -> None:
    old = kept(here)
    lock = WriterLock(here.folder)
    lock.acquire()
    try:
        done = here.run("token", "rotate")
    finally:
        lock.release()
    assert done.returncode == 1
    assert f"process {os.getpid()} has the workspace, but does not answer" in words_of(done)
    assert kept(here) == old


def test_a_token_that_can_not_be_written_is_one_line(here: WorkingFolder) -> None:
    os.unlink(here.folder / "auth_token")
    (here.folder / "auth_token").mkdir()
    done = here.run("token", "rotate")
    assert done.returncode == 1
    assert words_of(done).startswith("cannot write the token file")
