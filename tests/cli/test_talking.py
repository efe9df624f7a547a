"""The commands that talk to a hub: what they do, what they print, and how they fail."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentlip.cli.support import exits

from .working_folder import PROGRAM, WorkingFolder, json_of, words_of, working_folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path_factory.mktemp("talking")) as folder:
        folder.up(RATE_LIMITS="off")
        yield folder


def done(hub: WorkingFolder, *args: object, **settings: object) -> str:
    """What a command printed that did its work, without its last line end."""
    ended = hub.run(*args, **settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.removesuffix("\n")


def refused(hub: WorkingFolder, code: int, *args: object, **settings: object) -> str:
    ended = hub.run(*args, **settings)
    assert ended.returncode == code, ended.stderr
    return words_of(ended)


def get(hub: WorkingFolder, path: str) -> dict[str, Any]:
    answer = hub.call("GET", path)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def topic_in(hub: WorkingFolder, channel: str, title: str = "t", *contents: str) -> tuple[str, list[str]]:
    """A new channel with a topic and messages: the topic's id and theirs."""
    made = hub.call("POST", "/api/v1/channels", {"name": channel}).json()["channel"]["id"]
    topic = hub.call("POST", "/api/v1/topics", {"channel_id": made, "title": title}).json()["topic"]["id"]
    body = {"topic_id": topic, "sender": "s"}
    sent = [hub.call("POST", "/api/v1/messages", body | {"content_raw": each}).json() for each in contents]
    return topic, [each["message"]["id"] for each in sent]


def message(hub: WorkingFolder, identifier: str) -> dict[str, Any]:
    return dict(get(hub, f"/api/v1/messages/{identifier}")["message"])


def rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


@pytest.mark.slow
def test_channels_are_created_and_listed(hub: WorkingFolder) -> None:
    identifier = done(hub, "channel", "create", "zoo", "--description", "Animals")
    assert [identifier, "zoo", "Animals"] in rows(done(hub, "channel", "list"))
    exists = f"A channel with this name already exists (reason ALREADY_EXISTS, id {identifier})"
    assert refused(hub, 1, "channel", "create", "zoo") == exists
    assert refused(hub, 1, "channel", "create", " ") == "NAME must be a non-blank string"


@pytest.mark.slow
def test_topics_are_created_listed_and_renamed(hub: WorkingFolder) -> None:
    done(hub, "channel", "create", "topics")
    first, second = (done(hub, "topic", "create", "topics", title) for title in ("one", "two"))
    assert [row[:2] for row in rows(done(hub, "topic", "list", "topics"))] == [[second, "two"], [first, "one"]]
    assert done(hub, "topic", "rename", "topics/one", "uno") == first
    page = hub.run("topic", "list", "topics", "--limit", 1)
    assert [row[:2] for row in rows(page.stdout)] == [[first, "uno"]]
    assert page.stderr == "agentlip: there are more: --offset 1\n"
    assert [row[0] for row in rows(done(hub, "topic", "list", "topics", "--offset", 1))] == [second]


@pytest.mark.slow
@pytest.mark.parametrize("content", ["Hello", "grüße \N{SNOWMAN}", "two\nlines\n", "-dash", '{"a": 1}'])
def test_a_message_is_sent_as_it_is(hub: WorkingFolder, content: str) -> None:
    topic, _ = topic_in(hub, f"send {content!a}")
    given = message(hub, done(hub, "msg", "send", topic, "--sender", "alice", "--", content))
    assert (given["content_raw"], given["sender"]) == (content, "alice")
    for dash in ([], ["-"]):
        command = (*PROGRAM, "msg", "send", topic, *dash)
        piped = subprocess.run(
            command, cwd=hub.root, env=hub.environment(SENDER="bob"), input=f"{content}\n".encode(), capture_output=True
        )
        assert piped.returncode == 0, piped.stderr
        given = message(hub, piped.stdout.decode().strip())
        assert (given["content_raw"], given["sender"]) == (content, "bob")


def test_input_that_is_no_text_is_refused(hub: WorkingFolder) -> None:
    topic, _ = topic_in(hub, "bytes")
    command = (*PROGRAM, "msg", "send", topic)
    ended = subprocess.run(command, cwd=hub.root, env=hub.environment(), input=b"\xff", capture_output=True)
    assert (ended.returncode, ended.stderr.count(b"\n")) == (1, 1)


def test_the_latest_messages_come_newest_last(hub: WorkingFolder) -> None:
    topic, ids = topic_in(hub, "tail", "t", *"abcd")
    assert [row[0] for row in rows(done(hub, "msg", "tail", "tail/t", "-n", 3))] == ids[1:]
    assert rows(done(hub, "msg", "tail", topic, "-n", 1))[0][2:] == ["s", "d"]


@pytest.mark.slow
def test_pages_go_both_ways_and_say_how(hub: WorkingFolder) -> None:
    topic, ids = topic_in(hub, "page", "t", *"abcde")
    newest = hub.run("msg", "page", topic, "--limit", 2)
    assert [row[0] for row in rows(newest.stdout)] == [ids[4], ids[3]]
    assert newest.stderr == f"agentlip: there are more: --before {ids[3]}\n"
    older = hub.run("msg", "page", "--channel", "page", "--limit", 2, "--before", ids[3])
    assert [row[0] for row in rows(older.stdout)] == [ids[2], ids[1]]
    newer = hub.run("msg", "page", topic, "--limit", 2, "--after", ids[0])
    assert [row[0] for row in rows(newer.stdout)] == [ids[2], ids[1]]
    assert newer.stderr == f"agentlip: there are more: --after {ids[2]}\n"
    assert "either" in refused(hub, 1, "msg", "page")
    assert "either" in refused(hub, 1, "msg", "page", topic, "--channel", "page")


def test_a_message_is_edited_and_a_conflict_changes_nothing(hub: WorkingFolder) -> None:
    _, (identifier,) = topic_in(hub, "edit", "t", "old")
    assert done(hub, "msg", "edit", identifier, "new", "--expected-version", 1) == identifier
    assert refused(hub, exits.CONFLICT, "msg", "edit", identifier, "newer", "--expected-version", 1).endswith(
        "(current 2, expected 1)"
    )
    assert (message(hub, identifier)["content_raw"], message(hub, identifier)["version"]) == ("new", 2)
    assert done(hub, "msg", "edit", identifier, "newest") == identifier


def test_a_message_is_deleted_once(hub: WorkingFolder) -> None:
    _, (identifier,) = topic_in(hub, "delete", "t", "secret")
    refused(hub, exits.CONFLICT, "msg", "delete", identifier, "--expected-version", 7)
    assert message(hub, identifier)["deleted_at"] is None
    assert done(hub, "msg", "delete", identifier, "--actor", "alice") == identifier
    assert (message(hub, identifier)["content_raw"], message(hub, identifier)["deleted_by"]) == ("[deleted]", "alice")
    assert done(hub, "msg", "delete", identifier, "--actor", "bob") == identifier
    assert message(hub, identifier)["deleted_by"] == "alice"


@pytest.mark.parametrize(("mode", "moved"), [("one", [1]), ("later", [1, 2, 3]), ("all", [0, 1, 2, 3])])
def test_messages_are_moved(hub: WorkingFolder, mode: str, moved: list[int]) -> None:
    channel = f"move {mode}"
    _, ids = topic_in(hub, channel, "from", *"abcd")
    to = done(hub, "topic", "create", channel, "to")
    refused(hub, exits.CONFLICT, "msg", "retopic", ids[1], "--to", to, "--mode", mode, "--expected-version", 2)
    assert done(hub, "msg", "retopic", ids[1], "--to", f"{channel}/to", "--mode", mode) == str(len(moved))
    assert [number for number, each in enumerate(ids) if message(hub, each)["topic_id"] == to] == moved


def test_a_message_does_not_leave_its_channel(hub: WorkingFolder) -> None:
    _, (identifier,) = topic_in(hub, "here", "t", "a")
    elsewhere, _ = topic_in(hub, "elsewhere")
    assert "channel" in refused(hub, 1, "msg", "retopic", identifier, "--to", elsewhere)


@pytest.mark.slow
def test_attachments_are_added_once_and_listed(hub: WorkingFolder) -> None:
    topic, (source,) = topic_in(hub, "attach", "t", "see there")
    link = done(hub, "attachment", "add", topic, "--url", "https://example.com/", "--source-message", source)
    assert done(hub, "attachment", "add", topic, "--url", "https://example.com/") == link
    other = done(hub, "attachment", "add", topic, "--kind", "file", "--value", '{"path": "/ä"}', "--key", "k")
    assert rows(done(hub, "attachment", "list", topic)) == [
        [other, "file", "k", '{"path": "/ä"}'], [link, "url", "", '{"url": "https://example.com/"}'],
    ]  # fmt: skip
    assert [row[0] for row in rows(done(hub, "attachment", "list", "attach/t", "--kind", "url"))] == [link]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Give either --url or --value"),
        (["--url", "https://example.com/", "--value", "{}"], "Give either --url or --value"),
        (["--value", "{}"], "Say what kind it is: --kind"),
        (["--kind", "x", "--value", "[1]"], "--value must be a JSON object"),
        (["--kind", "x", "--value", "{"], "--value must be a JSON object"),
        (["--url", "javascript:alert(1)"], ""),
    ],
)
def test_what_is_no_attachment_is_refused(hub: WorkingFolder, options: list[str], words: str) -> None:
    topics = get(hub, "/api/v1/channels")["channels"]
    channel = "no attachments"
    if channel not in [each["name"] for each in topics]:
        topic_in(hub, channel)
    assert refused(hub, 1, "attachment", "add", f"{channel}/t", *options).startswith(words)
    assert done(hub, "attachment", "list", f"{channel}/t") == ""


@pytest.mark.slow
def test_messages_are_found(hub: WorkingFolder) -> None:
    topic, ids = topic_in(hub, "search", "t", "the quick brown fox", "brown and quick", "nothing")
    other, (far,) = topic_in(hub, "search elsewhere", "t", "Quick brown too")
    found = [row[0] for row in rows(done(hub, "search", "quick brown"))]
    assert found == [far, ids[1], ids[0]]
    assert [row[0] for row in rows(done(hub, "search", '"quick brown"', "--channel", "search"))] == [ids[0]]
    assert [row[0] for row in rows(done(hub, "search", "quick", "--topic", other))] == [far]
    limited = hub.run("search", "quick", "--topic", topic, "--limit", 1)
    assert (len(rows(limited.stdout)), limited.stderr.startswith("agentlip: there are more")) == (1, True)
    assert done(hub, "search", "unheard-of") == ""


@pytest.mark.slow
def test_a_page_of_events_is_printed(hub: WorkingFolder) -> None:
    topic, ids = topic_in(hub, "events", "t", "a", "b")
    last = rows(done(hub, "events", "--tail", 2))
    assert [row[2:] for row in last] == [["message.created", each] for each in ids]
    assert [row[2] for row in rows(done(hub, "events", "--channel", "events"))] == [
        "channel.created", "topic.created", "message.created", "message.created",
    ]  # fmt: skip
    assert len(rows(done(hub, "events", "--topic", topic, "--topic", "search/t"))) >= 3
    page = hub.run("events", "--after", int(last[0][0]) - 1, "--limit", 1)
    assert [row[0] for row in rows(page.stdout)] == [last[0][0]]
    assert page.stderr == f"agentlip: there are more: --after {last[0][0]}\n"
    assert "either" in refused(hub, 1, "events", "--after", 1, "--tail", 1)


@pytest.mark.slow
def test_json_is_what_the_api_answers(hub: WorkingFolder) -> None:
    topic, (first, _) = topic_in(hub, "json", "t", "https://example.com/ a", "b")
    channel = message(hub, first)["channel_id"]
    for command, path in (
        (("channel", "list"), "/api/v1/channels"),
        (("topic", "list", "json"), f"/api/v1/channels/{channel}/topics"),
        (("msg", "page", topic), f"/api/v1/messages?topic_id={topic}"),
        (("attachment", "list", topic), f"/api/v1/topics/{topic}/attachments"),
        (("events", "--topic", topic), f"/api/v1/events?topic_id={topic}"),
        (("search", "b", "--topic", topic), f"/api/v1/search?q=b&topic_id={topic}"),
    ):
        expected = get(hub, path)
        if command[0] in ("channel", "attachment"):
            assert expected.pop("has_more") is False  # the command prints all there are
        shown = json_of(hub.run("--json", *command))
        rows_of = next(name for name, value in expected.items() if isinstance(value, list))
        assert (shown["status"], shown["count"]) == ("ok", len(expected[rows_of])), command
        names = list(expected[rows_of][0])
        shown[rows_of] = [{name: row[name] for name in names} for row in shown[rows_of]]  # some tell more
        assert {name: shown[name] for name in expected} == expected, command
    for command, keys in (
        (("channel", "create", "json 2"), ["channel_id", "channel", "event_id"]),
        (("topic", "create", "json", "t2"), ["topic_id", "topic", "event_id"]),
        (("topic", "rename", "json/t2", "t3"), ["topic_id", "topic", "event_id"]),
        (("msg", "send", topic, "x"), ["message_id", "message", "event_id"]),
        (("msg", "edit", first, "y"), ["message_id", "message", "event_id"]),
        (("msg", "retopic", first, "--to", "json/t3"), ["message_id", "affected_count", "event_ids"]),
        (("msg", "delete", first), ["message_id", "message", "event_id"]),
        (
            ("attachment", "add", topic, "--url", "https://example.com/b"),
            ["attachment_id", "deduplicated", "attachment", "event_id"],
        ),
    ):
        assert list(json_of(hub.run("--json", *command))) == ["status", *keys], command


@pytest.mark.slow
def test_things_are_named_as_people_call_them(hub: WorkingFolder) -> None:
    topic, _ = topic_in(hub, "a/b", "c/d")
    channel = next(each["id"] for each in get(hub, "/api/v1/channels")["channels"] if each["name"] == "a/b")
    for name in (topic, "a/b/c/d", f"{channel}/c/d"):
        assert message(hub, done(hub, "msg", "send", name, "x"))["topic_id"] == topic
    for name in (channel, "a/b"):
        assert rows(done(hub, "topic", "list", name))[0][0] == topic
    for name in ("nope", "a/b/nope", "a/b", "topic_nope"):
        refused(hub, 1, "msg", "send", name, "x")
    refused(hub, 1, "topic", "list", "nope")


COMMANDS = [
    ("channel", "list"), ("channel", "create", "x"), ("topic", "list", "c"), ("topic", "create", "c", "x"),
    ("topic", "rename", "c/t", "x"), ("msg", "send", "c/t", "x"), ("msg", "tail", "c/t"), ("msg", "page", "c/t"),
    ("msg", "edit", "msg_a", "x"), ("msg", "delete", "msg_a"), ("msg", "retopic", "msg_a", "--to", "topic_a"),
    ("attachment", "list", "c/t"), ("attachment", "add", "c/t", "--url", "https://example.com/"), ("search", "x"),
    ("events",), ("listen",),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_a_hub_that_can_not_be_used_is_one_line_and_a_code(
    hub: WorkingFolder, tmp_path: Path, command: tuple[str, ...]
) -> None:
    with working_folder(tmp_path) as here:
        here.make_workspace()
        words = refused(here, exits.NOT_RUNNING, *command)
        assert words == f"No hub is running in {here.root}; start one with `agentlip up`"
        assert "token" in refused(here, exits.NOT_AUTHORISED, "--url", hub.url, "--token", "wrong", *command).lower()


def test_a_place_without_a_hub_is_one_line_and_a_code(hub: WorkingFolder, tmp_path: Path) -> None:
    here = WorkingFolder(tmp_path)
    assert refused(here, exits.ERROR, "events").startswith("no workspace here or above")
    assert refused(here, exits.NOT_RUNNING, "--url", "http://127.0.0.1:1", "events").startswith("No hub answers")
    refused(here, exits.NOT_AUTHORISED, "--url", hub.url, "events")


@pytest.mark.slow
def test_a_remote_hub_is_named_by_options_variables_or_a_file(hub: WorkingFolder, tmp_path: Path) -> None:
    token, file = hub.server["auth_token"], tmp_path / "token"
    file.write_text(f"{token}\n")
    here = WorkingFolder(tmp_path)
    expected = done(hub, "channel", "list")
    assert done(here, "--url", hub.url, "--token", token, "channel", "list") == expected
    assert done(here, "channel", "list", URL=f"{hub.url}/", TOKEN=token) == expected
    assert done(here, "--token", f"@{file}", "channel", "list", URL=hub.url) == expected
    assert "cannot read the token" in refused(here, 1, "--token", "@missing", "channel", "list", URL=hub.url)
    assert "a hub's URL looks like" in refused(here, 1, "channel", "list", URL="hub.example", TOKEN=token)
    assert token not in hub.run("--url", "http://127.0.0.1:1", "--token", token, "channel", "list").stderr
