"""What a person sees on a terminal, and what a program reads from a pipe."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator

import pytest

from agentlip.client import HubClient
from agentlip.store import mutations
from agentlip.store.store import Store

from .working_folder import PROGRAM, WorkingFolder, json_of, working_folder

NASTY = "\x1b[31mred\x1b[0m \x07 \u202eback\ttab\nnext \\ line \x9b2J"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkingFolder]:
    """A hub with a channel, a topic and a message, as nasty as another hub may have left them in the file."""
    with working_folder(tmp_path_factory.mktemp("output")) as folder:
        folder.up()
        store = Store(folder.root / ".agentlip/db.sqlite3", "NORMAL", 5.0)
        channel, _ = store.write(mutations.create_channel, "general", NASTY)
        topic, _ = store.write(mutations.create_topic, channel.id, NASTY)
        store.write(mutations.post_message, topic.id, NASTY, NASTY)
        store.write(mutations.add_attachment, topic.id, "x", None, {"a": NASTY}, None, None)
        store.close()
        yield folder


def on_terminal(here: WorkingFolder, *args: str, columns: int = 80, **variables: str) -> tuple[int, str]:
    """Run a command with a terminal as its output; the exit code, and what the terminal got."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    env = {key: value for key, value in here.environment().items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        (*PROGRAM, *args), cwd=here.root, env=env | {"TERM": "xterm"} | variables,
        stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    here.processes.append(process)
    os.close(slave)
    got = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while data := os.read(master, 65536):
            got += data
    os.close(master)
    return process.wait(30), got.decode().replace("\r\n", "\n")


def topic_of(here: WorkingFolder) -> str:
    channel = here.call("GET", "/api/v1/channels").json()["channels"][0]["id"]
    return str(here.call("GET", f"/api/v1/channels/{channel}/topics").json()["topics"][0]["id"])


LISTS = [
    ("channel", "list"), ("topic", "list", "general"), ("msg", "tail"), ("msg", "page", "--channel", "general"),
    ("attachment", "list"), ("search", "tab"), ("events",),
]  # fmt: skip


def with_topic(here: WorkingFolder, command: tuple[str, ...]) -> tuple[str, ...]:
    return (*command, topic_of(here)) if command in (("msg", "tail"), ("attachment", "list")) else command


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_strangers_do_not_write_to_the_terminal(here: WorkingFolder, command: tuple[str, ...]) -> None:
    code, text = on_terminal(here, *with_topic(here, command))
    assert code == 0
    left = COLOUR.sub("", text.replace("\x1b[31m", "<red>"))
    assert "<red>" not in left, "a colour of the message, not of ours"
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", left)


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_a_pipe_gets_one_line_each_without_colour(here: WorkingFolder, command: tuple[str, ...]) -> None:
    done = here.run(*with_topic(here, command))
    assert (done.returncode, done.stderr) == (0, "")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", done.stdout)
    assert len(done.stdout.splitlines()) == (4 if command == ("events",) else 1)


def test_a_terminal_gets_a_table(here: WorkingFolder) -> None:
    _, text = on_terminal(here, "events")
    assert COLOUR.search(text)
    header, *rows = COLOUR.sub("", text).splitlines()
    assert header.split() == ["EVENT", "TIME", "WHERE", "WHAT"]
    assert [row.split()[0] for row in rows if row[0] != " "] == ["1", "2", "3", "4"]
    assert re.search(r" \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d\d:\d\d  general +new channel: ", rows[0])
    assert max(map(len, rows)) <= 80


def test_a_narrow_terminal_loses_nothing(here: WorkingFolder) -> None:
    _, text = on_terminal(here, "channel", "list", columns=40)
    assert max(map(len, COLOUR.sub("", text).splitlines())) <= 40
    identifier = here.call("GET", "/api/v1/channels").json()["channels"][0]["id"]
    assert identifier in "".join(line.split(" ")[0] for line in COLOUR.sub("", text).splitlines()[1:])


@pytest.mark.slow
def test_no_color_is_respected(here: WorkingFolder) -> None:
    for command in (("events",), ("status",), ("doctor",), ("msg", "page", "--channel", "general")):
        _, text = on_terminal(here, *command, NO_COLOR="1")
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]", text), command


def test_what_is_made_is_a_sentence_for_people_and_an_id_for_programs(here: WorkingFolder) -> None:
    assert re.fullmatch(r"Created channel spoken: ch_\w+\n", on_terminal(here, "channel", "create", "spoken")[1])
    assert re.fullmatch(r"ch_\w+\n", here.run("channel", "create", "piped").stdout)


def test_a_conversation_keeps_its_lines_on_a_terminal(here: WorkingFolder) -> None:
    _, text = on_terminal(here, "msg", "tail", topic_of(here))
    assert any(line.startswith("next \\ line") for line in text.splitlines())
    assert here.run("msg", "tail", topic_of(here)).stdout.count("\\n") == 2, "sender and content"


def test_json_is_the_answer_of_the_hub(here: WorkingFolder) -> None:
    expected = here.call("GET", "/api/v1/channels").json()
    expected = {"status": "ok", "count": len(expected["channels"]), **expected}
    assert json_of(here.run("--json", "channel", "list")) == expected
    code, text = on_terminal(here, "--json", "channel", "list")
    assert code == 0
    assert json.loads(text) == expected
    assert text.startswith('{\n  "status": "ok",\n  "count"')


def test_agentlip_db_names_the_hub_from_anywhere(
    here: WorkingFolder, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = here.run("channel", "list", cwd=elsewhere, DB=here.folder / "db.sqlite3")
    assert done.returncode == 0, done.stderr
    assert "general" in done.stdout
    assert here.run("channel", "list", cwd=elsewhere).returncode == 1
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("AGENTLIP_DB", str(here.folder / "db.sqlite3"))
    with HubClient.discover() as client:
        assert client.url == here.url
