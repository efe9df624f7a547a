"""Closed, full and foreign standard files, and arguments that are no text: one line and a documented code."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..running_hub import eventually
from .test_talking import done, message, topic_in
from .working_folder import PROGRAM, WorkingFolder, working_folder

pytestmark = pytest.mark.slow  # programs are run again and again


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path_factory.mktemp("odd")) as folder:
        folder.up(RATE_LIMITS="off")
        topic_in(folder, "odd", "t", "snow \N{SNOWMAN}", "x")
        yield folder


def shell(hub: WorkingFolder, line: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run `agentlip LINE` in a shell, with its redirections."""
    program = " ".join(PROGRAM)
    return subprocess.run(("sh", "-c", f"{program} {line}"), cwd=hub.root, env=hub.environment() | env,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60)  # fmt: skip


FULL = b"agentlip: cannot write to standard output: No space left on device\n"
CLOSED = b"agentlip: cannot write to standard output: Bad file descriptor\n"
PRINTING = [
    "--help", "--version", "msg send --help", "channel list", "channel list --json", "msg tail odd/t", "search x",
    "events", "events --json", "listen --since 0", "tail --no-follow", "tail", "status", "doctor", "token show",
    "msg send odd/t y", "channel list --offline", "backup copy --force", "init", "status --json",
]  # fmt: skip


@pytest.mark.parametrize("line", PRINTING)
def test_output_that_can_not_be_written_is_one_line_and_code_1(hub: WorkingFolder, line: str) -> None:
    for redirection, words in (("> /dev/full", FULL), (">&-", CLOSED), ("<&- > /dev/full", FULL), ("<&- >&-", CLOSED)):
        ended = shell(hub, f"{line} {redirection}")
        notes = [note for note in ended.stderr.splitlines(keepends=True) if b"connected, at event" not in note]
        assert (ended.returncode, notes) == (1, [words]), redirection


@pytest.mark.parametrize("line", ["bogus", "channel list --bogus", "topic list nope", "msg", "msg edit msg_a x"])
def test_an_error_that_can_not_be_told_has_its_code_all_the_same(hub: WorkingFolder, line: str) -> None:
    for redirection in ("2> /dev/full", "2>&-", "> /dev/full 2>&1", ">&- 2>&- <&-"):
        ended = shell(hub, f"{line} {redirection}")
        assert (ended.returncode, ended.stdout, ended.stderr) == (1, b"", b""), redirection
    ended = shell(hub, f"--json {line} > /dev/full")
    assert (ended.returncode, ended.stderr.count(b"\n")) == (1, 1)


def test_notes_that_can_not_be_told_change_nothing(hub: WorkingFolder) -> None:
    for redirection in ("2> /dev/full", "2>&-"):
        ended = shell(hub, f"events --limit 1 {redirection}")
        assert (ended.returncode, ended.stdout.count(b"\n")) == (0, 1)


@pytest.mark.parametrize("line", ["--help", "channel list", "events", "msg send --help", "tail"])
def test_nobody_who_reads_is_no_failure(hub: WorkingFolder, line: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run((*PROGRAM, *line.split()), cwd=hub.root, env=hub.environment(), stdin=subprocess.DEVNULL,
                             stdout=writer, stderr=subprocess.PIPE, timeout=60)  # fmt: skip
    os.close(writer)
    assert (process.returncode, process.stderr) == (0, b"")


@pytest.mark.parametrize("line", ["msg send odd/t", "msg send odd/t -", "msg send odd/t --stdin", "msg edit msg_a"])
def test_input_that_can_not_be_read_is_one_line(hub: WorkingFolder, line: str) -> None:
    ended = shell(hub, f"{line} <&-")
    assert (ended.returncode, ended.stderr) == (1, b"agentlip: cannot read standard input: Bad file descriptor\n")


def test_input_is_read_when_output_is_closed(hub: WorkingFolder) -> None:
    sent = message(hub, done(hub, "msg", "tail", "odd/t", "-n", 1).split("\t")[0])["id"]
    assert shell(hub, "msg send odd/t here >&-").returncode == 1
    last = message(hub, done(hub, "msg", "tail", "odd/t", "-n", 1).split("\t")[0])
    assert (last["content_raw"], last["id"] > sent) == ("here", True)


ODD = b"caf\xe9"
TEXTS = [
    (b"msg", b"send", b"odd/t", ODD), (b"msg", b"send", ODD, b"x"), (b"msg", b"send", b"odd/t", b"x", b"--sender", ODD),
    (b"channel", b"create", ODD), (b"channel", b"create", b"a", b"--description", ODD), (b"topic", b"list", ODD),
    (b"search", ODD), (b"search", b"x", b"--channel", ODD), (b"events", b"--topic", ODD), (b"msg", b"edit", b"m", ODD),
    (b"msg", b"delete", ODD), (b"attachment", b"add", b"odd/t", b"--url", b"https://example.com/" + ODD),
    (b"attachment", b"add", b"odd/t", b"--kind", ODD, b"--value", b"{}"), (b"listen", b"--channel", ODD),
    (b"attachment", b"list", b"odd/t", b"--kind", ODD), (b"tail", ODD), (b"msg", b"page", b"--before", ODD, b"odd/t"),
    (b"--url", b"http://" + ODD, b"channel", b"list"), (b"--token", ODD, b"--url", b"http://127.0.0.1:1", b"events"),
    (ODD,), (b"--" + ODD,), (b"up", b"--host", ODD), (b"topic", b"list", b"odd", b"--limit", ODD),
]  # fmt: skip


@pytest.mark.parametrize("words", TEXTS, ids=lambda words: b" ".join(words).decode("ascii", "replace"))
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_arguments_that_are_no_text_are_one_line(hub: WorkingFolder, words: tuple[bytes, ...], locale: str) -> None:
    process = subprocess.run((*PROGRAM, *words), cwd=hub.root, env=hub.environment() | {"LC_ALL": locale},
                             stdin=subprocess.DEVNULL, capture_output=True, timeout=60)  # fmt: skip
    assert (process.returncode, process.stdout, process.stderr.count(b"\n")) == (1, b"", 1), process.stderr
    assert process.stderr.startswith(b"agentlip: ")
    assert b"Traceback" not in process.stderr


def test_paths_of_any_bytes_are_told_in_one_line(hub: WorkingFolder, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/" + ODD
    for words in ((b"backup", odd), (b"listen", b"--cursor-file", odd + b"/missing"), (b"doctor",)):
        line = (*PROGRAM, b"--workspace", hub.root if words[0] != b"doctor" else odd, *words)
        process = subprocess.run(line, env=hub.environment(), capture_output=True, timeout=60)
        assert process.returncode == (0 if words[0] == b"backup" else 1), words
        assert process.stderr.count(b"\n") == (0 if words[0] == b"backup" else 1), words


@pytest.mark.parametrize(
    ("encoding", "snowman"),
    [("latin-1", b"\\u2603"), ("cp1252", b"\\u2603"), ("ascii", "\N{SNOWMAN}".encode())],  # ascii counts as UTF-8
)
def test_a_terminal_of_few_characters_gets_escapes(hub: WorkingFolder, encoding: str, snowman: bytes) -> None:
    ended = shell(hub, "msg page odd/t --limit 100", PYTHONIOENCODING=encoding)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"snow " + snowman + b"\n" in ended.stdout
    ended = shell(hub, "topic list \N{SNOWMAN}", PYTHONIOENCODING=encoding)
    assert (ended.returncode, ended.stderr.count(b"\n")) == (1, 1)


@pytest.mark.parametrize(
    "env", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=str
)
def test_the_c_locale_is_no_failure(hub: WorkingFolder, env: dict[str, str]) -> None:
    for line in ("msg tail odd/t", "events", "tail --no-follow", "search x", "channel list --json"):
        ended = shell(hub, line, **env)
        assert (ended.returncode, ended.stderr) == (0, b""), line


@pytest.mark.parametrize("value", ["[" * 100_000, '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', "9" * 5000])
def test_values_that_are_no_json_are_one_line(hub: WorkingFolder, value: str) -> None:
    done = hub.run("attachment", "add", "odd/t", "--kind", "k", "--value", value)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr


def test_a_working_folder_that_is_gone_is_one_line(
    hub: WorkingFolder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    gone = tmp_path_factory.mktemp("gone")
    script = f"rmdir {gone}; exec {' '.join(PROGRAM)} channel list"
    ended = subprocess.run(("sh", "-c", script), cwd=gone, env=hub.environment(), capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr.count(b"\n")) == (1, 1)
    assert ended.stderr.startswith(b"agentlip: ")


def catches_interruptions(pid: int) -> bool:
    caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) & 1 << signal.SIGINT - 1)


def test_an_interruption_at_the_start_has_no_words(hub: WorkingFolder) -> None:
    for pause in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4):
        process = hub.start("tail", "odd")
        # Until `agentlip` is reached Python's own handler stands, and an interruption has words.
        eventually(lambda: catches_interruptions(process.pid), what="Python has started")  # noqa: B023
        eventually(lambda: not catches_interruptions(process.pid), what="the program begins")  # noqa: B023
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(pause)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[1].strip() == ""
        assert process.returncode in (-signal.SIGINT, 130)  # while its modules are loaded, and afterwards


def test_an_interruption_is_code_130(hub: WorkingFolder) -> None:
    process = hub.start("tail", "odd")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(2)
    assert (process.wait(20), process.communicate()[1].strip()) == (130, "")
