"""Command lines: options at any place, things by position or by name, what scripts for other hubs say, and typos."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_cli_docs import section
from .test_talking import done, message, refused, topic_in
from .working_folder import PROGRAM, WorkingFolder, json_of, words_of, working_folder

DAEMON = (sys.executable, "-P", "-c", "from agentlip.__main__ import run_daemon; run_daemon()")
ROWS = re.findall(r"^\| `(agentlipd? [^|]*)` \| (.*) \|$", section("Command lines of other hubs"), re.MULTILINE)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path_factory.mktemp("lines")) as folder:
        folder.up(RATE_LIMITS="off")
        yield folder


def run_as_others_do(hub: WorkingFolder, line: list[str]) -> subprocess.CompletedProcess[str]:
    program = DAEMON if line[0] == "agentlipd" else PROGRAM
    return subprocess.run((*program, *line[1:], "--json"), cwd=hub.root, env=hub.environment(), input="from a pipe\n",
                          capture_output=True, text=True, timeout=60)  # fmt: skip


@pytest.mark.slow
def test_command_lines_of_other_hubs_work_as_documented(hub: WorkingFolder) -> None:
    topic, (_, second, _) = topic_in(hub, "documented", "t", "a", "b", "c")
    channel = message(hub, second)["channel_id"]
    values = {
        "CHANNEL_ID": channel, "OTHER_TOPIC_ID": done(hub, "topic", "create", channel, "other"), "TOPIC_ID": topic,
        "MESSAGE_ID": second, "JSON": '{"a": 1}', "NEW_TITLE": "new",
    }  # fmt: skip
    assert len(ROWS) > 20
    for line, keys in ROWS:
        ended = run_as_others_do(hub, [values.get(word, word) for word in shlex.split(line)])
        assert (ended.returncode, ended.stderr) == (0, ""), line
        shown = json_of(ended)
        assert shown.pop("status") == ("running" if "status" in line else "ok"), line
        assert set(re.findall(r"`(\w+)`", keys)) <= set(shown), line
        for name, value in shown.items():
            assert not isinstance(value, list) or name == "event_ids" or shown["count"] == len(value) > 0, line


def test_the_daemon_is_the_same_program(hub: WorkingFolder) -> None:
    ended = subprocess.run((*DAEMON, "bogus"), env=hub.environment(), cwd=hub.root, capture_output=True, text=True)
    assert (ended.returncode, words_of(ended)) == (1, "No such command 'bogus'; see `agentlipd --help`")


@pytest.mark.parametrize("place", range(5))
def test_the_global_options_stand_anywhere(hub: WorkingFolder, tmp_path: Path, place: int) -> None:
    line = ["msg", "page", "anywhere/t", "--limit", "3"]
    if place == 0:
        topic_in(hub, "anywhere", "t", "x")
    place = place if place != 4 else 5  # not between an option and its value
    line[place:place] = ["--json", "--url", hub.url, "--token", hub.server["auth_token"]]
    ended = hub.run(*line, cwd=tmp_path)
    assert (ended.returncode, ended.stderr, json_of(ended)["count"]) == (0, "", 1)


@pytest.mark.parametrize(
    "line",
    ["--workspace W channel list", "channel --workspace W list", "channel list --workspace W", "status --workspace W",
     "doctor --workspace W", "token show --workspace W"],
)  # fmt: skip
def test_the_workspace_is_named_anywhere(hub: WorkingFolder, tmp_path: Path, line: str) -> None:
    words = [str(hub.root) if word == "W" else word for word in line.split()]
    ended = hub.run(*words, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.slow
def test_the_later_option_counts_and_an_own_option_is_not_the_global_one(hub: WorkingFolder) -> None:
    topic_in(hub, "own", "t")
    here = ("--url", "http://127.0.0.1:1", "channel", "list", "--url", hub.url, "--token", hub.server["auth_token"])
    assert hub.run(*here).returncode == 0
    added = hub.run("attachment", "add", "own/t", "--url", "https://example.com/", "--json")
    assert json_of(added)["attachment"]["value_json"] == {"url": "https://example.com/"}
    remote = ("--url", hub.url, "--token", hub.server["auth_token"], "attachment", "add", "own/t")
    assert hub.run(*remote, "--url", "https://example.com/").returncode == 0


@pytest.mark.slow
def test_the_arguments_fill_what_options_do_not_give(hub: WorkingFolder) -> None:
    topic, _ = topic_in(hub, "fill", "t")
    for line in (("fill/t", "x"), ("--topic", "fill/t", "x"), ("--content", "x", "fill/t"),
                 ("--topic-id", topic, "--content", "x"), ("x", "--topic-id", topic)):  # fmt: skip
        given = message(hub, done(hub, "msg", "send", *line, "--sender", "s"))
        assert (given["topic_id"], given["content_raw"]) == (topic, "x"), line
    assert "unexpected extra argument (y)" in refused(hub, 1, "msg", "send", "x", "y", "--topic-id", topic)
    assert refused(hub, 1, "topic", "create", "--title", "x").startswith("Missing argument 'CHANNEL'")
    assert "either CONTENT or --stdin" in refused(hub, 1, "msg", "send", topic, "x", "--stdin")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("chanel list", "`agentlip channel`"), ("channel lst", "`agentlip channel list`"),
        ("msg sned x y", "`agentlip msg send`"), ("send x", "`agentlip msg send`"), ("statsu", "`agentlip status`"),
        ("token rotat", "`agentlip token rotate`"), ("events --limt 3", "--limit"), ("--jsno status", "--json"),
        ("msg tail x --jsno", "--json"), ("up --prot 1", "--port"), ("retopic x", "`agentlip msg retopic`"),
    ],
)  # fmt: skip
def test_typos_are_answered_with_what_was_meant(hub: WorkingFolder, line: str, meant: str) -> None:
    words = refused(hub, 1, *line.split())
    assert "Did you mean" in words
    assert meant in words


@pytest.mark.slow
def test_a_mistyped_name_is_answered_with_what_was_meant(hub: WorkingFolder) -> None:
    topic_in(hub, "typography", "First steps")
    assert refused(hub, 1, "topic", "list", "typografy") == "There is no channel typografy. Did you mean typography?"
    for place in ("typography/Fist steps", "typografy/First steps", "TYPOGRAPHY/FIRST STEPS"):
        for command in (("msg", "tail"), ("tail",), ("attachment", "list")):
            assert refused(hub, 1, *command, place) == (
                f"There is no topic {place}. Did you mean typography/First steps?"
            )
    assert refused(hub, 1, "msg", "tail", "typografy/x") == "There is no channel typografy. Did you mean typography?"
    assert refused(hub, 1, "msg", "tail", "zzz/x") == "There is no channel zzz"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("channel", "create", " "), "NAME must"), (("channel", "create", "--name", "\n"), "--name must"),
        (("topic", "rename", "topic_a", " "), "TITLE must"), (("msg", "send", "topic_a", ""), "CONTENT must"),
        (("topic", "rename", "topic_a", "--new-title= "), "--new-title must"), (("search", '"'), "QUERY must"),
        (("search", "--query", '"'), "--query must"),
        (("msg", "send", "topic_a", "x", "--sender", " "), "--sender must"),
        (("msg", "edit", "msg_a", "x", "--expected-version", "0"), "--expected-version must"),
        (("msg", "delete", "msg_a", "--sender", "\u200b"), "--sender must"),
        (("msg", "retopic", "msg_a", "topic_" + "a" * 70), "TO must"),
        (("msg", "page", "topic_a", "--before", "?"), "--before must"),
        (("msg", "send", "topic_a", "a" * 65_537), "CONTENT is over 65536 bytes"),
        (("attachment", "add", "topic_a", "--kind", "url", "--value-json", '{"url": 1}'), "url in --value-json must"),
        (("attachment", "add", "topic_a", "--url", "ftp:x"), "--url must"),
        (("attachment", "add", "topic_a", "--url", "http://a/", "--dedupe-key="), "--dedupe-key must"),
    ],
)  # fmt: skip
def test_errors_name_what_was_typed(hub: WorkingFolder, line: tuple[str, ...], words: str) -> None:
    assert refused(hub, 1, *line).startswith(words)


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_has_a_short_option(hub: WorkingFolder, option: str) -> None:
    ended = hub.run(option)
    assert (ended.returncode, ended.stdout.split()[:2]) == (0, ["agentlip,", "version"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "exit_code", "code"),
    [
        ("channel list --bogus", 1, "INVALID_INPUT"), ("bogus", 1, "INVALID_INPUT"), ("msg", 1, "INVALID_INPUT"),
        ("topic create general", 1, "INVALID_INPUT"), ("topic list nope", 1, "NOT_FOUND"),
        ("msg edit msg_nope x", 1, "NOT_FOUND"), ("--workspace /nonexistent channel list", 1, "CONFIG_ERROR"),
        ("--url http://127.0.0.1:1 channel list", 3, "HUB_UNREACHABLE"),
        ("--token wrong --url U events", 4, "INVALID_AUTH"),
        ("--url U events", 4, "MISSING_AUTH"), ("backup /nonexistent/copy", 1, "STORAGE_ERROR"),
    ],
)  # fmt: skip
def test_errors_are_json_on_demand(hub: WorkingFolder, line: str, exit_code: int, code: str) -> None:
    words = [hub.url if word == "U" else word for word in line.split()]
    for options in (["--json", *words], [*words, "--json"]):
        ended = hub.run(*options)
        assert (ended.returncode, ended.stderr) == (exit_code, ""), options
        shown = json_of(ended)
        assert list(shown) == ["status", "error", "code", "details"]
        assert (shown["status"], shown["code"]) == ("error", code)
        assert shown["error"]


def test_a_conflict_is_json_with_its_versions(hub: WorkingFolder) -> None:
    _, (identifier,) = topic_in(hub, "conflict", "t", "x")
    ended = hub.run("msg", "edit", identifier, "y", "--expected-version", 7, "--json")
    assert (ended.returncode, json_of(ended)["code"]) == (2, "VERSION_CONFLICT")
    assert json_of(ended)["details"] == {"current": 1, "expected": 7}


def test_json_as_content_is_no_option(hub: WorkingFolder) -> None:
    topic, _ = topic_in(hub, "content", "t")
    assert message(hub, done(hub, "msg", "send", topic, "--", "--json"))["content_raw"] == "--json"
    assert words_of(hub.run("msg", "send", "topic_nope", "--", "--json"))


@pytest.mark.slow
def test_what_is_there_is_not_made_again(hub: WorkingFolder) -> None:
    channel = done(hub, "channel", "create", "once", "--if-missing")
    assert done(hub, "channel", "create", "once", "--if-missing") == channel
    again = json_of(hub.run("channel", "create", "once", "--if-missing", "--json"))
    assert (again["channel"]["id"], again["event_id"]) == (channel, None)
    topic = done(hub, "topic", "create", "once", "t", "--if-missing")
    assert done(hub, "topic", "create", channel, "t", "--if-missing") == topic
    refused(hub, 1, "channel", "create", " ", "--if-missing")
    refused(hub, 1, "topic", "create", "once", "t")
    assert json_of(hub.run("topic", "list", "once", "--json"))["count"] == 1


@pytest.mark.slow
def test_a_message_makes_its_topic_when_told_to(hub: WorkingFolder) -> None:
    refused(hub, 1, "msg", "send", "made/up/here", "x")
    first, second = (done(hub, "msg", "send", "made/up/here", word, "--create") for word in "xy")
    assert message(hub, first)["topic_id"] == message(hub, second)["topic_id"]
    topics = json_of(hub.run("topic", "list", "made", "--json"))["topics"]
    assert [each["title"] for each in topics] == ["up/here"]
    assert (
        message(hub, done(hub, "msg", "send", "made/second", "z", "--create"))["channel_id"] == topics[0]["channel_id"]
    )
    for place in ("made", "/t", "made/"):
        refused(hub, 1, "msg", "send", place, "x", "--create")


def test_several_may_make_it_at_once(hub: WorkingFolder) -> None:
    command = ("msg", "send", "race/t", "x", "--create", "--sender", "s")
    processes = [hub.start(*command) for _ in range(4)]
    ids = [process.communicate(timeout=30)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len({message(hub, each)["topic_id"] for each in ids}) == 1


def test_names_are_the_same_however_they_are_composed(hub: WorkingFolder) -> None:
    topic, _ = topic_in(hub, "caf\u00e9", "\u00e4")
    assert message(hub, done(hub, "msg", "send", "cafe\u0301/a\u0308", "x"))["topic_id"] == topic


@pytest.mark.slow
@pytest.mark.parametrize("written", ["{}", " {} ", "{}\u200b", "\ufeff{}", "{}\u00a0"])
def test_names_are_compared_as_the_hub_does(hub: WorkingFolder, written: str) -> None:
    topic = done(
        hub, "topic", "create", done(hub, "channel", "create", "alike", "--if-missing"), "same", "--if-missing"
    )
    name, title = written.format("alike"), written.format("same")
    place = f"{name}/{title}"
    channel = done(hub, "channel", "create", name, "--if-missing")
    assert done(hub, "topic", "create", name, title, "--if-missing") == topic
    assert message(hub, done(hub, "msg", "send", place, "x", "--create"))["topic_id"] == topic
    assert message(hub, done(hub, "msg", "send", place, "x"))["topic_id"] == topic
    for line in (("topic", "list"), ("topic", "list", "--offline")):
        assert json_of(hub.run(*line, name, "--json"))["channel_id"] == channel
    assert json_of(hub.run("msg", "tail", place, "--offline", "--json"))["topic_id"] == topic


def test_completion_knows_the_commands(hub: WorkingFolder) -> None:
    env = hub.environment() | {
        "_AGENTLIP_COMPLETE": "bash_complete",
        "COMP_WORDS": "agentlip msg sh",
        "COMP_CWORD": "2",
    }
    ended = subprocess.run(PROGRAM, env=env, cwd=hub.root, capture_output=True, text=True)
    assert ended.stdout.split() == ["plain,show"]


@pytest.mark.slow
def test_up_and_down_speak_json(tmp_path: Path) -> None:
    with working_folder(tmp_path) as here:
        up = json_of(here.run("up", "--detach", "--json"))
        assert up["status"] == "ok"
        second = here.run("up", "--detach", "--json")
        assert (second.returncode, json_of(second)["code"], second.stderr) == (10, "LOCK_HELD", "")
        assert json_of(here.run("down", "--json")) == {"status": "ok", "pid": up["pid"], "killed": False}
        gone = here.run("down", "--json")
        assert (gone.returncode, json_of(gone)["code"], gone.stderr) == (3, "HUB_UNREACHABLE", "")
        failed = here.run("up", "--detach", "--json", HOST="192.0.2.1", ALLOW_NETWORK="on")
        assert (failed.returncode, json_of(failed)["status"]) == (1, "error")


def test_the_daemon_is_installed() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert 'agentlipd = "agentlip.__main__:run_daemon"' in text
