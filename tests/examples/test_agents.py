"""The agents of examples/agents/, run as their README says, against a real hub in a real workspace."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ..running_hub import ROOT, Hub, eventually

AGENTS = ROOT / "examples" / "agents"


@pytest.fixture
def hub(start_hub: Callable[..., Hub], tmp_path: Path) -> Hub:
    folder = tmp_path / ".agentlip"
    folder.mkdir()
    return start_hub(folder=folder)


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start an agent with the arguments, in the workspace; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(AGENTS / name), *arguments],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def said(hub: Hub) -> list[str]:
    """All messages of the hub, the oldest first."""
    events = hub.call("GET", "/api/v1/events?limit=1000").json()["events"]
    return [event["data_json"]["message"]["content_raw"] for event in events if event["name"] == "message.created"]


@pytest.mark.parametrize("roles", [("pick", "guess"), ("guess", "pick")], ids=" first, then ".join)
def test_the_two_hold_a_conversation_to_its_end(
    hub: Hub, run: Callable[..., subprocess.Popen[str]], roles: tuple[str, str]
) -> None:
    first = run("conversation.py", roles[0])
    if roles[0] == "pick":
        eventually(lambda: said(hub), 20, "the opening")
    second = run("conversation.py", roles[1])
    outputs = [process.communicate(timeout=30)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    words = said(hub)
    assert words[0] == "I have a number from 1 to 100."
    assert words[-1] == "Yes!"
    assert all(re.fullmatch(r"Is it \d+\?", question) for question in words[1::2])
    assert "Yes!" in outputs[0]
    assert "Yes!" in outputs[1]


@pytest.mark.slow
def test_a_killed_guesser_goes_on_and_a_second_game_starts_anew(
    hub: Hub, run: Callable[..., subprocess.Popen[str]]
) -> None:
    for _ in range(2):
        before = len(said(hub))
        picker = run("conversation.py", "pick")
        killed = run("conversation.py", "guess")
        eventually(lambda before=before: len(said(hub)) > before + 1, 20, "a guess")
        killed.kill()
        guesser = run("conversation.py", "guess") if picker.poll() is None else killed
        assert picker.wait(30) == 0
        if guesser is not killed:
            eventually(lambda guesser=guesser: guesser.poll() is not None or said(hub)[-1] == "Yes!", 20, "the end")
            guesser.kill()
    assert said(hub).count("Yes!") == 2
    assert said(hub).count("I have a number from 1 to 100.") == 2


def counted(file: Path) -> int:
    try:
        with closing(sqlite3.connect(file, timeout=10)) as state:
            return int(state.execute("SELECT coalesce(sum(messages), 0) FROM counts").fetchone()[0])
    except sqlite3.OperationalError:  # not made yet
        return 0


@pytest.mark.slow
def test_the_checkpointing_agent_counts_each_message_once_however_often_it_is_killed(
    hub: Hub, run: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    _, topic_id = hub.make_topic()
    file, total = tmp_path / "counts.sqlite3", 0
    for turn in range(6):
        agent = run("checkpoint.py", str(file))
        for number in range(40):
            hub.post(topic_id, "two words", f"sender-{number % 3}")
            total += 1
        goal = total if turn == 5 else total - 20  # killed in the middle of its work
        eventually(lambda goal=goal: counted(file) >= goal, 20, f"{goal} counted messages")
        if turn < 5:
            agent.send_signal(signal.SIGKILL)
            agent.wait(10)
    shown = run("checkpoint.py", str(file), "--show").communicate(timeout=20)[0]
    assert shown.splitlines() == [
        "sender-0: 84 messages, 168 words",
        "sender-1: 78 messages, 156 words",
        "sender-2: 78 messages, 156 words",
    ]


def test_without_a_hub_an_agent_says_so_in_one_line(run: Callable[..., subprocess.Popen[str]], hub: Hub) -> None:
    hub.stop()
    for command in (("conversation.py", "pick"), ("checkpoint.py", "counts.sqlite3")):
        agent = run(*command)
        output = agent.communicate(timeout=20)[0]
        assert agent.returncode == 1
        assert len(output.splitlines()) == 1, output
