"""docs/cli.md is true: its commands, its exit codes, and everything it tells people to paste."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from agentlip.cli.main import main
from agentlip.cli.support import exits

from ..running_hub import ROOT, eventually
from .working_folder import WorkingFolder, words_of, working_folder

PAGE = (ROOT / "docs" / "cli.md").read_text()


def section(title: str) -> str:
    return re.split(r"\n##+ ", PAGE.partition(f"## {title}\n")[2])[0]


def blocks(title: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", section(title), re.DOTALL)


def commands(group: click.Group, path: str = "agentlip") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(main))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    """A folder with an `agentlip` of its own in bin/."""
    program = tmp_path / "bin" / "agentlip"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m agentlip "$@"\n')
    program.chmod(0o755)
    (tmp_path / "work").mkdir()
    with working_folder(tmp_path / "work") as folder:
        yield folder


def environment(here: WorkingFolder) -> dict[str, str]:
    return here.environment() | {"PATH": f"{here.root.parent / 'bin'}:/usr/local/bin:/usr/bin:/bin"}


def bash(here: WorkingFolder, script: str) -> subprocess.CompletedProcess[str]:
    command = ("bash", "-euo", "pipefail", "-c", script)
    return subprocess.run(command, cwd=here.root, env=environment(here), capture_output=True, text=True, timeout=120)


def test_every_command_is_listed() -> None:
    assert set(re.findall(r"^\| `(agentlip [a-z ]+)` \|", PAGE, re.MULTILINE)) == set(COMMANDS)


def test_the_exit_codes_are_listed() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)} == codes | {130}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_fits_a_terminal(name: str) -> None:
    command = COMMANDS[name]
    assert not command.get_short_help_str(62).endswith("..."), "the list of commands would show half of it"
    with click.Context(command, info_name=name) as context:
        text = command.get_help(context)
    assert max(map(len, text.splitlines())) <= 80
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, option.name


def test_the_help_is_a_success_and_a_lone_group_is_not(here: WorkingFolder) -> None:
    for command in ((), ("msg",), ("msg", "send")):
        done = here.run(*command, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(" ".join(("Usage: agentlip", *command)))
    done = here.run("msg")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Usage: agentlip msg")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("bogus",), "No such command 'bogus'; see `agentlip --help`"),
        (("msg", "send"), "Missing argument 'TOPIC'; see `agentlip msg send --help`"),
        (("listen", "--since", "x"), "Invalid value for '--since': 'x' is not a valid integer range"),
        (("up", "--workers", "0"), "Invalid value for '--workers': 0 is not in the range 1<=x<=256"),
    ],
)
def test_wrong_usage_is_one_line(here: WorkingFolder, command: tuple[str, ...], words: str) -> None:
    done = here.run(*command)
    assert done.returncode == 1
    assert words_of(done).startswith(words)


def test_the_version_is_told(here: WorkingFolder) -> None:
    done = here.run("--version")
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["agentlip,", "version"])


@pytest.mark.slow
def test_a_hub_is_run_as_told(here: WorkingFolder) -> None:
    foreground, background = blocks("Running a hub")
    assert foreground.endswith("agentlip up\n")
    done = bash(here, foreground.removesuffix("agentlip up\n") + background)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Made a workspace" in done.stdout
    assert "Stopped the hub" in done.stdout
    assert here.run("down").returncode == exits.NOT_RUNNING


@pytest.mark.slow
def test_a_hub_is_talked_to_as_told(here: WorkingFolder) -> None:
    here.up()
    first, second, third = blocks("Talking to a hub")
    subprocess.run(("git", "init", "-q"), cwd=here.root, check=True)
    commit = (
        "git",
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.com",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "One",
    )
    subprocess.run(commit, cwd=here.root, check=True)
    done = bash(here, first + second)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Hello, hub" in done.stdout
    last = here.call("GET", "/api/v1/events?tail=5").json()["events"]
    assert [event["name"] for event in last] == [
        "topic.created", "message.created", "message.edited", "message.moved_topic", "message.deleted",
    ]  # fmt: skip
    (offline,) = blocks("Without a hub")
    assert "All green" in bash(here, third).stdout
    assert here.run("down").returncode == 0
    done = bash(here, offline)
    assert (done.returncode, done.stderr) == (0, "")
    assert "All green" in done.stdout


@pytest.mark.slow
def test_the_log_is_followed_as_told(here: WorkingFolder) -> None:
    here.up()
    here.call("POST", "/api/v1/channels", {"name": "c"})
    (command,) = [block for block in blocks("Following the log") if "cursor" in block]
    (here.root / "events.jsonl").touch()
    for _run in range(2):
        process = subprocess.Popen(
            ("bash", "-c", f"exec {command}"), cwd=here.root, env=environment(here), text=True, stderr=subprocess.PIPE
        )
        here.processes.append(process)
        assert process.stderr is not None
        eventually(lambda: (here.root / "events.jsonl").read_text(), 20, "a line")
        assert "connected, at event" in process.stderr.readline()
        process.terminate()
        assert process.wait(20) == 0
    assert len((here.root / "events.jsonl").read_text().splitlines()) == 1
    assert '"after_event_id": 1' in (here.root / "seen.json").read_text()


def test_bash_completes_as_told(here: WorkingFolder) -> None:
    line = blocks("Shell completion")[0].splitlines()[0]
    done = bash(
        here,
        f"{line}\nCOMP_WORDS=(agentlip msg ''); COMP_CWORD=2; _agentlip_completion agentlip\necho ${{COMPREPLY[*]}}",
    )
    assert done.stdout.split() == ["delete", "edit", "move", "page", "retopic", "send", "show", "tail"]
