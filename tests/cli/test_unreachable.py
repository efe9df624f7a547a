"""A hub that cannot be reached: which of the ways it is, and what to do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentlip.workspace import writer_lock

from .test_talking import refused
from .working_folder import WorkingFolder, json_of, working_folder

HUNG = (
    "does not answer in time; it is busy, stopped or hung: see its log; where it runs, `agentlip down --force` ends it"
)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path) as folder:
        folder.make_workspace()
        yield folder


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, notes = process.communicate(timeout=60)
    assert out == ""
    assert notes.count("\n") == 1
    return process.returncode, notes.removeprefix("agentlip: ").strip()


@pytest.mark.slow
def test_a_hung_hub_is_not_called_gone(here: WorkingFolder) -> None:
    here.up()
    processes = writer_lock.users(here.folder)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it has a queue, and never accepts
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        try:
            lines = [("channel", "list"), ("--url", url, "channel", "list"),
                     ("--url", url, "--token", "x", "msg", "send", "topic_a", "x")]  # fmt: skip
            own, remote, change = [here.start(*line) for line in lines]
            assert ended(own) == (3, f"The hub of {here.root} {HUNG}")
            assert ended(remote) == (3, f"The hub at {url} {HUNG}")
            assert ended(change)[1] == f"The hub at {url} does not answer in time; the change may or may not be made"
        finally:
            for pid in processes:
                os.kill(pid, signal.SIGCONT)
    assert here.run("channel", "list").returncode == 0


def test_a_hub_that_has_gone_is(here: WorkingFolder) -> None:
    here.up()
    here.kill()
    words = refused(here, 3, "channel", "list")
    assert words == f"The hub of {here.root} has gone; its server.json is left over; start it again with `agentlip up`"


def test_where_nothing_listens(here: WorkingFolder) -> None:
    words = refused(here, 3, "--url", "http://127.0.0.1:1", "channel", "list")
    assert (
        words == "No hub answers at http://127.0.0.1:1; nothing listens there; is the URL right, and does the hub run?"
    )


def test_a_name_that_can_not_be_resolved(here: WorkingFolder) -> None:
    words = refused(here, 3, "channel", "list", URL="http://no-such-host.invalid:8787")
    assert words == "The name no-such-host.invalid cannot be resolved; is the URL right, and the network up?"


@pytest.mark.slow
def test_a_rate_limit_is_waited_for(here: WorkingFolder) -> None:
    here.up(RATE_LIMIT_PER_CLIENT=1)
    processes = [here.start("channel", "create", f"c{number}") for number in range(4)]
    for process in processes:
        assert process.communicate(timeout=60)[1] == ""
    assert [process.returncode for process in processes] == [0] * 4


@pytest.mark.slow
@pytest.mark.parametrize("token", [None, "wrong"])
def test_a_wrong_token_has_a_hint(here: WorkingFolder, token: str | None) -> None:
    here.up()
    options = () if token is None else ("--token", token)
    words = refused(here, 4, "--url", here.url, *options, "channel", "list")
    assert words.endswith(
        "`agentlip token show` where the hub runs prints it; give it as AGENTLIP_TOKEN, or with --token @FILE"
    )
    shown = json_of(here.run("--url", here.url, *options, "channel", "list", "--json"))
    assert shown["details"]["hint"].startswith("`agentlip token show`")
