"""`--offline`: the workspace's file is read as the hub reads it, with a hub and without one, and nothing is changed."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from .test_talking import done, message, refused, topic_in
from .working_folder import PROGRAM, WorkingFolder, json_of, words_of, working_folder

pytestmark = pytest.mark.slow  # programs are run again and again

Filled = tuple[WorkingFolder, list[tuple[str, ...]], list[str]]


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[WorkingFolder, list[tuple[str, ...]], list[str]]]:
    """A workspace without a hub, reading commands, and what they printed while there was one."""
    with working_folder(tmp_path_factory.mktemp("offline")) as here:
        here.up(RATE_LIMITS="off")
        topic, ids = topic_in(here, "general", "First steps", "Hello https://example.com/", "two words", "three")
        commands = [
            ("channel", "list"), ("topic", "list", "general"), ("attachment", "list", "general/First steps"),
            ("msg", "tail", topic), ("msg", "tail", topic, "-n", "1"), ("msg", "page", "--channel", "general"),
            ("msg", "page", topic, "--after", ids[0]), ("msg", "show", ids[1]), ("search", "two"),
            ("search", "two", "--channel", "general"), ("events",), ("events", "--tail", "2"),
            ("events", "--topic", topic, "--after", "2"), ("tail", "--no-follow"), ("tail", "general", "--no-follow"),
        ]  # fmt: skip
        printed = [done(here, *command, *json) for command in commands for json in ((), ("--json",))]
        assert done(here, "--offline", "channel", "list") == printed[0], "beside a hub"
        assert here.run("down").returncode == 0
        yield here, commands, printed


def test_the_same_is_printed_without_a_hub(filled: Filled) -> None:
    here, commands, printed = filled
    before = hashlib.sha256((here.folder / "db.sqlite3").read_bytes()).hexdigest()
    assert [done(here, *command, *json, "--offline") for command in commands for json in ((), ("--json",))] == printed
    assert hashlib.sha256((here.folder / "db.sqlite3").read_bytes()).hexdigest() == before
    for number in (0, 3, 10):
        assert here.run(*commands[number]).returncode == 3


def test_tail_does_not_wait_for_what_can_not_come(filled: Filled) -> None:
    assert len(done(filled[0], "tail", "--offline").splitlines()) == 6


def test_what_changes_something_is_refused(filled: Filled) -> None:
    here = filled[0]
    for line in (("channel", "create", "x"), ("msg", "send", "general/First steps", "x"), ("listen",),
                 ("msg", "tail", "general/First steps", "-f"), ("topic", "rename", "general/t", "x")):  # fmt: skip
        assert refused(here, 1, *line, "--offline") == "--offline only reads; this needs a hub"


def test_a_hub_that_is_named_is_not_asked(filled: Filled) -> None:
    here, _, printed = filled
    assert done(here, "channel", "list", "--offline", URL="http://127.0.0.1:1") == printed[0]
    assert done(here, "--url", "http://127.0.0.1:1", "channel", "list", "--offline") == printed[0]


def test_what_is_not_there_is_not_found(filled: Filled) -> None:
    here = filled[0]
    refused(here, 1, "msg", "show", "msg_nope", "--offline")
    assert "Did you mean general?" in refused(here, 1, "topic", "list", "genral", "--offline")
    assert json_of(here.run("msg", "show", "msg_nope", "--offline", "--json"))["code"] == "NOT_FOUND"


def test_without_a_workspace_it_is_one_line(tmp_path: Path) -> None:
    here = WorkingFolder(tmp_path)
    assert refused(here, 1, "channel", "list", "--offline").startswith("no workspace here or above; make one with")
    assert "is not a workspace" in refused(here, 1, "events", "--offline", "--workspace", tmp_path)
    assert os.listdir(tmp_path) == []
    gone = tmp_path / "gone.sqlite3"
    assert str(gone) in refused(here, 1, "events", "--offline", DB=gone)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no database at all" * 99, "file is not a database"), (b"", "is empty")],
)  # fmt: skip
def test_a_file_that_is_none_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    with working_folder(tmp_path) as here:
        here.folder.mkdir()
        (here.folder / "db.sqlite3").write_bytes(content)
        assert words in refused(here, 1, "channel", "list", "--offline")
        assert (here.folder / "db.sqlite3").read_bytes() == content


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    with working_folder(tmp_path) as here:
        here.make_workspace()
        with closing(sqlite3.connect(here.folder / "db.sqlite3", isolation_level=None)) as connection:
            connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
        assert "newer" in refused(here, 1, "channel", "list", "--offline")


def test_a_busy_hub_is_not_disturbed(tmp_path: Path) -> None:
    with working_folder(tmp_path) as here:
        here.up(RATE_LIMITS="off")
        topic, _ = topic_in(here, "busy")
        for number in range(5):
            sent = done(here, "msg", "send", topic, str(number))
            assert done(here, "msg", "tail", topic, "-n", 1, "--offline").split("\t")[0] == sent
            assert message(here, sent)["content_raw"] == str(number)


def test_a_folder_that_can_not_be_written_is_read_or_told_in_one_line(tmp_path: Path) -> None:
    """As a user without rights there: root's right to write everywhere is given up."""
    with working_folder(tmp_path) as here:
        here.make_workspace()
        for path, mode in ((here.folder / "db.sqlite3", 0o444), (here.folder, 0o555)):
            path.chmod(mode)
        without = ("setpriv", "--inh-caps=-all", "--bounding-set=-all") if os.geteuid() == 0 else ()
        ended = subprocess.run((*without, *PROGRAM, "channel", "list", "--offline"), cwd=here.root,
                               env=here.environment(), capture_output=True, text=True, timeout=60)  # fmt: skip
        here.folder.chmod(0o755)
    assert ended.returncode == 1
    assert words_of(ended).endswith("its folder must be writable, as no hub has it open")
