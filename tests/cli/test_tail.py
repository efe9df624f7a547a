"""`agentlip tail`, `msg tail -f`, `msg show`, `search` and long lists: everything is told, and where it is."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentlip.model import KNOWN_EVENTS, Entity, Scope
from agentlip.store import log, mutations
from agentlip.store.store import Store
from agentlip.store.writer import Transaction

from .test_listen import Reader, crash, post
from .test_output import COLOUR, on_terminal
from .test_talking import done, get, message, rows, topic_in
from .working_folder import PROGRAM, WorkingFolder, json_of, working_folder

pytestmark = pytest.mark.slow  # programs are run again and again


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path_factory.mktemp("tail")) as folder:
        folder.up(RATE_LIMITS="off")
        yield folder


def change_everything(hub: WorkingFolder, channel: str) -> tuple[str, list[str]]:
    """A channel with every kind of event in its first topic; the other's id, and the messages'."""
    _, ids = topic_in(hub, channel, "t", "one\nline", "two")
    other = done(hub, "topic", "create", channel, "other")
    done(hub, "msg", "edit", ids[0], "uno")
    done(hub, "msg", "retopic", ids[1], "--to", other)
    done(hub, "msg", "delete", ids[0], "--actor", "alice")
    done(hub, "attachment", "add", f"{channel}/t", "--url", "https://example.com/")
    done(hub, "topic", "rename", f"{channel}/t", "new")
    return other, ids


def told(channel: str) -> list[tuple[str, str]]:
    return [
        (channel, "new channel"), (f"{channel}/new", "new topic"), (f"{channel}/new", "s: one\\nline"),
        (f"{channel}/new", "s: two"), (f"{channel}/other", "new topic"),
        (f"{channel}/new", "edited, now version 2: uno"),
        (f"{channel}/other", f"moved from {channel}/new to {channel}/other"), (f"{channel}/new", "deleted by alice"),
        (f"{channel}/new", "attached url: https://example.com/"), (f"{channel}/new", "topic renamed from t to new"),
    ]  # fmt: skip


def test_everything_that_happens_is_told_in_lines(hub: WorkingFolder) -> None:
    _, ids = change_everything(hub, "all")
    lines = rows(done(hub, "tail", "all", "-n", 50, "--no-follow"))
    assert [(place, what) for _, place, what, _ in lines] == told("all")
    assert all(re.fullmatch(r"\d{4}-.*Z", line[0]) for line in lines)
    assert [line[3] for line in lines if "deleted" in line[2]] == [ids[0]]
    assert [line[2] for line in rows(done(hub, "tail", "all", "-n", 1, "--no-follow"))] == [
        "topic renamed from t to new"
    ]
    everything = rows(done(hub, "tail", "-n", 1000, "--no-follow"))
    assert [line for line in everything if line[1].startswith("all")] == lines
    assert done(hub, "tail", "--no-follow", "-n", 0) == ""


def test_what_comes_is_told_too(hub: WorkingFolder) -> None:
    topic_in(hub, "past")
    listener = Reader(hub.start("tail", "-n", 1)).printed(1)
    quiet = Reader(hub.start("tail", "--channel", "elsewhere or not at all"))
    assert quiet.ended() == 1
    topic_in(hub, "ready")
    listener.printed(2)
    change_everything(hub, "live")
    while not any("renamed" in line for line in listener.lines):
        listener.printed(len(listener.lines) + 1)
    assert listener.ended(signal.SIGTERM) == 0
    lines = [line.split("\t") for line in listener.lines]
    seen = [(line[1].replace("live/t", "live/new"), line[2].replace("live/t", "live/new")) for line in lines]
    assert [each for each in seen if each[0].startswith("live")] == told("live")
    assert listener.notes == []


def test_a_topic_is_told_with_what_is_moved_in_and_away(hub: WorkingFolder) -> None:
    _, (mine, theirs) = topic_in(hub, "moves2", "a", "mine", "x")
    other = done(hub, "topic", "create", "moves2", "b")
    watching = Reader(hub.start("tail", "moves2/b", "-n", 1)).printed(1)
    done(hub, "msg", "retopic", mine, "--to", other)
    done(hub, "msg", "retopic", mine, "--to", "moves2/a")
    done(hub, "msg", "edit", theirs, "not here")
    done(hub, "msg", "send", other, "here")
    watching.printed(4)
    assert watching.ended(signal.SIGINT) == 130
    assert [line.split("\t")[2] for line in watching.lines][1:3] == [
        "moved from moves2/a to moves2/b", "moved from moves2/b to moves2/a",
    ]  # fmt: skip
    assert watching.lines[3].split("\t")[2].endswith(": here")


def test_json_is_what_listen_prints(hub: WorkingFolder) -> None:
    topic_in(hub, "json")
    lines = hub.run("tail", "json", "--no-follow", "--json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["channel.created", "topic.created"]


@pytest.mark.parametrize("command", [("tail", "shown", "--no-follow"), ("events", "--channel", "shown")], ids=" ".join)
def test_a_terminal_gets_words_in_its_own_time(hub: WorkingFolder, command: tuple[str, ...]) -> None:
    if ["shown"] not in [[each["name"]] for each in get(hub, "/api/v1/channels")["channels"]]:
        topic_in(hub, "shown", "t", "hello \x1b[31m")
    moment = get(hub, "/api/v1/events?tail=1")["events"][0]["ts"]
    code, text = on_terminal(hub, *command, columns=200, TZ="XYZ-5:30")
    assert code == 0
    lines = COLOUR.sub("", text).splitlines()
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+05:30 +shown/t +s: hello \ufffd\[31m", lines[-1])
    assert moment[11:16] not in lines[-1]
    assert on_terminal(hub, *command, columns=200, TZ="UTC")[1].count("+00:00") == 3


def test_listen_on_a_terminal_is_for_people_and_json_on_demand(hub: WorkingFolder) -> None:
    topic_in(hub, "listened", "t", "hello")
    for options, words in ((), r"\+00:00  listened/t  s: hello"), (("--json",), r'"name":"message.created"'):
        text = listened(hub, *options)
        assert re.search(words, COLOUR.sub("", text)), text


def listened(hub: WorkingFolder, *options: str) -> str:
    """What a terminal gets of the channel `listened`, until the last event is there."""
    master, slave = pty.openpty()
    env = hub.environment() | {"TERM": "xterm", "TZ": "UTC"}
    process = subprocess.Popen((*PROGRAM, "listen", "--since", "0", "--channel", "listened", *options), cwd=hub.root,
                               env=env, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    hub.processes.append(process)
    os.close(slave)
    got = b""
    while b"hello" not in got:
        got += os.read(master, 65536)
    process.terminate()
    assert process.wait(20) == 0
    os.close(master)
    return got.decode()


def test_tail_of_messages_follows_their_changes(hub: WorkingFolder) -> None:
    topic, ids = topic_in(hub, "followed", "t", "one", "two")
    away = done(hub, "topic", "create", "followed", "away")
    outside = done(hub, "msg", "send", away, "three", "--sender", "s")
    tail = Reader(hub.start("msg", "tail", topic, "-f")).printed(2)
    done(hub, "msg", "edit", ids[0], "uno")
    tail.printed(3)
    done(hub, "msg", "retopic", outside, "--to", topic)
    tail.printed(4)
    done(hub, "msg", "delete", ids[1])
    tail.printed(5)
    done(hub, "msg", "retopic", ids[0], "--to", away)
    tail.noted(f"{ids[0]} was moved to followed/away")
    done(hub, "msg", "edit", outside, "tres")
    tail.printed(6)
    assert tail.ended(signal.SIGINT) == 130
    shown = [line.split("\t") for line in tail.lines]
    assert [(line[0], line[3]) for line in shown] == [
        (ids[0], "one"), (ids[1], "two"), (ids[0], "uno"), (outside, "three"), (ids[1], "[deleted]"), (outside, "tres"),
    ]  # fmt: skip


def test_one_message_is_shown_with_its_place(hub: WorkingFolder) -> None:
    _, (identifier,) = topic_in(hub, "show", "a b", "words")
    assert rows(done(hub, "msg", "show", identifier)) == [
        [identifier, message(hub, identifier)["created_at"], "s", "words", "show/a b"]
    ]
    assert json_of(hub.run("msg", "show", "--message-id", identifier, "--json"))["message"] == message(hub, identifier)
    assert "show/a b" in on_terminal(hub, "msg", "show", identifier)[1]
    assert hub.run("msg", "show", "msg_nope").returncode == 1


def test_search_says_where_each_hit_is(hub: WorkingFolder) -> None:
    topic_in(hub, "place", "a", "sought")
    topic_in(hub, "place 2", "b", "sought too")
    assert [row[-1] for row in rows(done(hub, "search", "sought"))] == ["place 2/b", "place/a"]
    assert "place 2/b" in on_terminal(hub, "search", "sought")[1]
    found = json_of(hub.run("search", "sought", "--json"))["messages"]
    assert [(each["channel"], each["topic"]) for each in found] == [("place 2", "b"), ("place", "a")]


@pytest.fixture(scope="module")
def long_topic(hub: WorkingFolder) -> str:
    """A topic with 1,502 messages."""
    topic, _ = topic_in(hub, "long")

    def post_all(transaction: Transaction) -> None:
        for number in range(1502):
            mutations.post_message(transaction, topic, "s", f"m{number}")

    with closing(Store(hub.folder / "db.sqlite3", "NORMAL", 30.0, lambda _entries: None)) as store:
        store.write(post_all, heavy=True)
    return topic


def test_long_lists_are_whole_or_say_so(hub: WorkingFolder, long_topic: str) -> None:
    contents = [f"m{number}" for number in range(1502)]
    for line in (("msg", "tail", long_topic, "-n", 1400), ("msg", "tail", long_topic, "-n", 1502)):
        assert [row[3] for row in rows(done(hub, *line))] == contents[-int(line[-1]) :]
    assert [row[3] for row in rows(done(hub, "msg", "page", long_topic, "--limit", 5000))] == contents[::-1]
    first = json_of(hub.run("msg", "page", long_topic, "--limit", 5000, "--json"))["messages"][-1]["id"]
    after = hub.run("msg", "page", long_topic, "--after", first, "--limit", 1200)
    assert [row[3] for row in rows(after.stdout)] == contents[1:1201][::-1]
    assert after.stderr.startswith("agentlip: there are more: --after msg_")
    less = hub.run("msg", "page", long_topic, "--limit", 1200)
    assert [row[3] for row in rows(less.stdout)] == contents[:-1201:-1]
    assert less.stderr.startswith("agentlip: there are more: --before msg_")


def test_long_parts_of_the_log_are_whole_or_say_so(hub: WorkingFolder, long_topic: str) -> None:
    assert len(rows(done(hub, "events", "--topic", long_topic, "--limit", 5000))) == 1503
    assert len(rows(done(hub, "events", "--topic", long_topic, "--tail", 1502))) == 1502
    everything = rows(done(hub, "events", "--limit", 50_000))
    assert [int(row[0]) for row in everything] == list(range(1, len(everything) + 1))
    assert len(everything) > 1503
    assert rows(done(hub, "events", "--tail", 1400)) == everything[-1400:]
    assert rows(done(hub, "events", "--tail", 50_000)) == everything
    some = hub.run("events", "--limit", 1200)
    assert (len(rows(some.stdout)), some.stderr) == (1200, "agentlip: there are more: --after 1200\n")
    assert json_of(hub.run("events", "--limit", 1200, "--json"))["has_more"] is True
    assert hub.run("events", "--limit", len(everything)).stderr == ""
    assert len(rows(done(hub, "tail", "--no-follow", "-n", 1400))) == 1400


def test_a_long_search_is_whole_or_says_so(hub: WorkingFolder, long_topic: str) -> None:
    assert len(rows(done(hub, "search", "m", "--topic", long_topic, "--limit", 5000))) == 1502
    found = hub.run("search", "m", "--topic", long_topic, "--limit", 1200)
    assert [row[3] for row in rows(found.stdout)] == [f"m{number}" for number in range(1501, 301, -1)]
    assert found.stderr == "agentlip: there are more; raise --limit or narrow the search\n"


def test_long_lists_of_channels_and_attachments_are_whole(hub: WorkingFolder) -> None:
    topic, _ = topic_in(hub, "wide")

    def make_all(transaction: Transaction) -> None:
        for number in range(1100):
            mutations.create_channel(transaction, f"wide {number}", None)
            mutations.add_attachment(transaction, topic, "k", None, {"n": number}, str(number), None)

    with closing(Store(hub.folder / "db.sqlite3", "NORMAL", 30.0, lambda _entries: None)) as store:
        store.write(make_all, heavy=True)
    for options in ((), ("--offline",)):
        assert sum(row[1].startswith("wide ") for row in rows(done(hub, "channel", "list", *options))) == 1100
        assert len(rows(done(hub, "attachment", "list", topic, *options))) == 1100
    assert json_of(hub.run("attachment", "list", topic, "--json"))["count"] == 1100


@pytest.mark.parametrize("line", ["events --limit 0", "events --tail 0", "msg tail x -n 0", "msg page x --limit -1",
                                  "topic list x --limit 0", "search x --limit 0", "tail -n -1"])  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(hub: WorkingFolder, line: str) -> None:
    ended = hub.run(*line.split())
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "is not in the range" in ended.stderr


def test_an_event_of_any_shape_is_told(hub: WorkingFolder) -> None:
    """Hosts and other programs write to the log as well."""
    topic, _ = topic_in(hub, "shapes")
    channel = json_of(hub.run("channel", "list", "--json"))["channels"]
    scope = Scope(next(each["id"] for each in channel if each["name"] == "shapes"), topic, topic)
    shapes = ("null", "[]", "{}", '{"message": 3, "attachment": [1], "channel": "x"}', '{"message": null}', "7")

    def append_all(transaction: Transaction) -> None:
        for name in (*KNOWN_EVENTS, "host.thing"):
            for data in shapes:
                log.append(transaction.connection, "no time", name, scope, Entity("message", "msg_a"), data)

    with closing(Store(hub.folder / "db.sqlite3", "NORMAL", 30.0, lambda _entries: None)) as store:
        store.write(append_all)
    count = (len(KNOWN_EVENTS) + 1) * len(shapes)
    assert len(rows(done(hub, "tail", "shapes", "-n", count, "--no-follow"))) == count
    assert on_terminal(hub, "events", "--tail", str(count))[0] == 0


def test_a_hub_that_ends_before_what_is_looked_up_is_waited_for(tmp_path: Path) -> None:
    """Each event waits in its reader's connection, which stands still, until there is no hub to ask about it."""
    with working_folder(tmp_path) as here:
        here.make_workspace()
        here.up(RATE_LIMITS="off")
        topic, (identifier,) = topic_in(here, "c", "t", "one")
        tail, messages = Reader(here.start("tail", "-n", 1)), Reader(here.start("msg", "tail", topic, "-f"))
        for each in tail, messages:
            each.printed(1)
        post(here, topic, "two")
        for each in tail, messages:
            each.printed(2)  # it is connected
        for each in tail, messages:
            each.process.send_signal(signal.SIGSTOP)
        done(here, "msg", "edit", identifier, "uno")
        done(here, "topic", "create", "c", "new")
        crash(here)
        for each in tail, messages:
            each.process.send_signal(signal.SIGCONT)
            each.noted("trying again")
        here.up(RATE_LIMITS="off")
        messages.printed(3).noted("connected, at event")
        tail.printed(4).noted("connected, at event")
        assert (tail.ended(signal.SIGTERM), messages.ended(signal.SIGTERM)) == (0, 0)
        assert messages.lines[2].split("\t")[3] == "uno"
        assert tail.lines[3].split("\t")[1:3] == ["c/new", "new topic"]


@pytest.mark.parametrize("line", ["msg tail head/t -f", "tail -n 1 head", "listen --since 0"])
@pytest.mark.parametrize("is_there", [True, False])
def test_following_ends_with_its_reader(tmp_path: Path, line: str, is_there: bool) -> None:
    with working_folder(tmp_path) as here:
        here.make_workspace()
        here.up(RATE_LIMITS="off")
        topic_in(here, "head", "t", "one")
        process = here.start(*line.split())
        assert process.stdout is not None
        assert process.stdout.readline()
        if not is_there:
            crash(here)
        process.stdout.close()
        assert process.wait(10) == 0


def test_waiting_for_a_hub_ends_with_its_reader(tmp_path: Path) -> None:
    with working_folder(tmp_path) as here:
        here.make_workspace()
        process = here.start("listen", "--wait")
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(10) == 0
