"""`agentlip channel`, `topic` and `msg` against a hub: what they do, what they print, and how they fail."""

from __future__ import annotations

import getpass
import json
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from .working_folder import PROGRAM, WorkingFolder, json_of, words_of, working_folder

NOWHERE = "http://127.0.0.1:1"  # no hub listens there
UNSAFE = "red\x1b[31m\r\nnext\ttab\\ \u202eback\x9b"
SAFE = "red\N{REPLACEMENT CHARACTER}[31m\\r\\nnext\\ttab\\\\ \N{REPLACEMENT CHARACTER}back\N{REPLACEMENT CHARACTER}"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path_factory.mktemp("hub")) as folder:
        folder.make_workspace()
        folder.up(RATE_LIMITS="off")
        yield folder


class Place(NamedTuple):
    """A channel of the test's own, and the topic `t` in it."""

    here: WorkingFolder
    channel: str
    channel_id: str
    topic_id: str

    @property
    def topic(self) -> str:
        return f"{self.channel}/t"

    def add_topic(self, title: str) -> str:
        return add_topic(self.here, self.channel_id, title)

    def post(self, content: str, topic: str | None = None, sender: str = "alice") -> str:
        body = {"topic_id": topic or self.topic_id, "sender": sender, "content_raw": content}
        return str(call(self.here, "POST", "/api/v1/messages", body)["message"]["id"])

    def messages(self, topic: str | None = None) -> list[dict[str, Any]]:
        """Those of the topic, the newest first."""
        page = call(self.here, "GET", f"/api/v1/messages?topic_id={topic or self.topic_id}")
        return list(page["messages"])

    def contents(self, topic: str | None = None) -> list[str]:
        """What they say, the oldest first."""
        return [message["content_raw"] for message in reversed(self.messages(topic))]


@pytest.fixture
def place(here: WorkingFolder, request: pytest.FixtureRequest) -> Place:
    channel = add_channel(here, request.node.name)
    return Place(here, request.node.name, channel, add_topic(here, channel, "t"))


def call(here: WorkingFolder, method: str, path: str, body: object = None) -> dict[str, Any]:
    answer = here.call(method, path, body)
    assert answer.ok, answer.text
    return dict(answer.json())


def add_channel(here: WorkingFolder, name: str) -> str:
    return str(call(here, "POST", "/api/v1/channels", {"name": name})["channel"]["id"])


def add_topic(here: WorkingFolder, channel: str, title: str) -> str:
    return str(call(here, "POST", "/api/v1/topics", {"channel_id": channel, "title": title})["topic"]["id"])


def channels_of(here: WorkingFolder) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in call(here, "GET", "/api/v1/channels")["channels"]}


def topics_of(here: WorkingFolder, channel: str) -> dict[str, dict[str, Any]]:
    return {each["title"]: each for each in call(here, "GET", f"/api/v1/channels/{channel}/topics")["topics"]}


def head_of(here: WorkingFolder) -> int:
    return int(call(here, "GET", "/api/v1/events?tail=1")["replay_until"])


def lines_of(done: subprocess.CompletedProcess[str], notes: str = "") -> list[list[str]]:
    """The fields of every line of a command that did well."""
    assert (done.returncode, done.stderr) == (0, notes)
    assert done.stdout == "" or done.stdout.endswith("\n")
    return [line.split("\t") for line in done.stdout.split("\n")[:-1]]


def only_word(done: subprocess.CompletedProcess[str]) -> str:
    """The bare id that a command has printed."""
    [[word]] = lines_of(done)
    return word


def feed(here: WorkingFolder, text: bytes, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a command that finds `text` on its standard input."""
    done = subprocess.run(
        (*PROGRAM, *args), input=text, cwd=here.root, env=here.environment(), capture_output=True, timeout=60
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


# --- channels and topics


def test_channel_create_prints_the_bare_id(here: WorkingFolder) -> None:
    made = only_word(here.run("channel", "create", "made", "--description", "What for"))
    channel = channels_of(here)["made"]
    assert (channel["id"], channel["description"]) == (made, "What for")


def test_a_channel_is_made_once(place: Place) -> None:
    done = place.here.run("channel", "create", place.channel)
    assert done.returncode == 1
    assert "exists" in words_of(done)


def test_channel_create_as_json_is_the_answer_of_the_hub(here: WorkingFolder) -> None:
    answer = json_of(here.run("--json", "channel", "create", "as-json"))
    assert answer == {"channel": channels_of(here)["as-json"], "event_id": head_of(here)}


def test_channel_list_is_by_name_and_safe(here: WorkingFolder) -> None:
    ids = {name: add_channel(here, name) for name in ("by-name-2", "by-name-1", "by-name-3 \x1b[2J\n\\")}
    rows = lines_of(here.run("channel", "list"))
    safe = "by-name-3 \N{REPLACEMENT CHARACTER}[2J\\n\\\\"
    assert [row[:2] for row in rows if row[1].startswith("by-name")] == [
        [ids["by-name-1"], "by-name-1"], [ids["by-name-2"], "by-name-2"], [ids["by-name-3 \x1b[2J\n\\"], safe],
    ]  # fmt: skip
    assert {len(row) for row in rows} == {3}


def test_channel_list_as_json_is_the_answer_of_the_hub(place: Place) -> None:
    assert json_of(place.here.run("--json", "channel", "list")) == call(place.here, "GET", "/api/v1/channels")


def test_topic_create_prints_the_bare_id(place: Place) -> None:
    made = only_word(place.here.run("topic", "create", place.channel, "Première étape ✓"))
    assert topics_of(place.here, place.channel_id)["Première étape ✓"]["id"] == made


def test_topic_create_as_json_is_the_answer_of_the_hub(place: Place) -> None:
    answer = json_of(place.here.run("--json", "topic", "create", place.channel_id, "new"))
    assert answer == {"topic": topics_of(place.here, place.channel_id)["new"], "event_id": head_of(place.here)}


def test_topic_list_begins_with_the_latest_activity(place: Place) -> None:
    second = place.add_topic("line\nend \x1b[1m")
    place.post("the first topic again")
    rows = lines_of(place.here.run("topic", "list", place.channel))
    topics = topics_of(place.here, place.channel_id)
    assert rows == [
        [place.topic_id, "t", topics["t"]["updated_at"]],
        [second, "line\\nend \N{REPLACEMENT CHARACTER}[1m", topics["line\nend \x1b[1m"]["updated_at"]],
    ]


def test_topic_list_tells_where_its_next_page_begins(place: Place) -> None:
    for title in ("u", "v"):
        place.add_topic(title)
    command = ("topic", "list", place.channel, "--limit", 2)
    first = lines_of(place.here.run(*command), notes="agentlip: there are more: --offset 2\n")
    second = lines_of(place.here.run(*command, "--offset", 2))
    assert [len(first), len(second)] == [2, 1]
    assert {row[1] for row in first + second} == {"t", "u", "v"}


def test_topic_list_as_json_is_the_answer_of_the_hub(place: Place) -> None:
    place.add_topic("u")
    done = place.here.run("--json", "topic", "list", place.channel, "--limit", 1)
    assert json_of(done) == call(place.here, "GET", f"/api/v1/channels/{place.channel_id}/topics?limit=1")
    assert done.stderr == ""


def test_topic_rename_prints_the_bare_id(place: Place) -> None:
    assert only_word(place.here.run("topic", "rename", place.topic, "other")) == place.topic_id
    assert list(topics_of(place.here, place.channel_id)) == ["other"]


def test_topic_rename_as_json_is_the_answer_of_the_hub(place: Place) -> None:
    answer = json_of(place.here.run("--json", "topic", "rename", place.topic, "other"))
    assert answer == {"topic": topics_of(place.here, place.channel_id)["other"], "event_id": head_of(place.here)}


def test_a_title_is_unique_in_its_channel(place: Place) -> None:
    other = place.add_topic("u")
    for command in (("create", place.channel, "t"), ("rename", other, "t")):
        done = place.here.run("topic", *command)
        assert done.returncode == 1
        words_of(done)
    assert set(topics_of(place.here, place.channel_id)) == {"t", "u"}


# --- lookup


def test_a_channel_is_found_by_name_and_by_id(place: Place) -> None:
    for wanted in (place.channel, place.channel_id):
        assert [row[0] for row in lines_of(place.here.run("topic", "list", wanted))] == [place.topic_id]


def test_a_topic_is_found_by_id_and_by_title(place: Place) -> None:
    sent = place.post("here I am")
    for wanted in (place.topic_id, f"{place.channel}/t", f"{place.channel_id}/t"):
        assert [row[0] for row in lines_of(place.here.run("msg", "page", wanted))] == [sent]


def test_titles_and_channel_names_may_hold_slashes(here: WorkingFolder) -> None:
    short, long = add_channel(here, "sla"), add_channel(here, "sla/sh")
    topics = {"sla/sh/a/b": add_topic(here, long, "a/b"), "sla/sh/in/sla": add_topic(here, short, "sh/in/sla")}
    for wanted, topic in topics.items():
        answer = json_of(here.run("--json", "msg", "send", wanted, "here", "--sender", "bob"))
        assert answer["message"]["topic_id"] == topic


def test_a_topic_is_found_beyond_a_page_of_topics(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1000):
        place.add_topic(f"later {number}")
    sent = place.post("deep down")
    call(place.here, "PATCH", f"/api/v1/topics/{place.topic_id}", {"title": "deep"})
    assert [row[0] for row in lines_of(place.here.run("msg", "page", f"{place.channel}/deep"))] == [sent]


@pytest.mark.parametrize("command", ["topic list {}", "topic create {} title", "msg page --channel {}", "search x --channel {}", "events --channel {}"])
@pytest.mark.parametrize("wanted", ["nowhere", "ch_nowhere"])
def test_an_unknown_channel_is_an_error(here: WorkingFolder, command: str, wanted: str) -> None:
    done = here.run(*command.format(wanted).split())
    assert done.returncode == 1
    assert wanted in words_of(done)


TOPIC_COMMANDS = (
    "topic rename {} title", "msg send {} hi", "msg tail {}", "msg page {}", "attachment list {}",
    "attachment add {} --url https://e.com/", "search x --topic {}", "events --topic {}",
)  # fmt: skip


@pytest.mark.parametrize("command", TOPIC_COMMANDS)
@pytest.mark.parametrize("wanted", ["{}/nothing", "nowhere/t", "topic_nowhere"])
def test_an_unknown_topic_is_an_error(place: Place, command: str, wanted: str) -> None:
    done = place.here.run(*command.format(wanted.format(place.channel_id)).split())
    assert done.returncode == 1
    words_of(done)


# --- messages


def test_msg_send_prints_the_bare_id(place: Place) -> None:
    sent = only_word(place.here.run("msg", "send", place.topic, "Hello", "--sender", "bob"))
    assert [(each["id"], each["sender"], each["content_raw"]) for each in place.messages()] == [(sent, "bob", "Hello")]


@pytest.mark.parametrize("content", ["Grüße, 世界 🎉 e\u0301", "two\nlines\n", "-", "  spaces\t", UNSAFE.replace("\x9b", "")])
def test_content_is_kept_as_it_is_given(place: Place, content: str) -> None:
    if content == "-":
        only_word(feed(place.here, b"-", "msg", "send", place.topic_id, "-"))
    else:
        only_word(place.here.run("msg", "send", place.topic_id, content))
    assert place.contents() == [content]


@pytest.mark.parametrize("argument", [(), ("-",)])
def test_content_is_read_from_standard_input(place: Place, argument: tuple[str, ...]) -> None:
    text = "Grüße\n\n  zwei 🎉\n\n"
    only_word(feed(place.here, text.encode(), "msg", "send", place.topic_id, *argument))
    assert place.contents() == [text.removesuffix("\n")]


def test_standard_input_that_is_no_text_is_an_error(place: Place) -> None:
    done = feed(place.here, b"\xff\xfe", "msg", "send", place.topic_id)
    assert done.returncode == 1
    assert "UTF-8" in words_of(done)
    assert place.contents() == []


def test_the_sender_is_the_option_or_the_setting_or_the_login_name(place: Place) -> None:
    command = ("msg", "send", place.topic_id, "hi")
    only_word(place.here.run(*command))
    only_word(place.here.run(*command, SENDER="of the setting"))
    only_word(place.here.run(*command, "--sender", "of the option", SENDER="of the setting"))
    senders = [message["sender"] for message in place.messages()]
    assert senders == ["of the option", "of the setting", getpass.getuser()]


def test_msg_send_as_json_is_the_answer_of_the_hub(place: Place) -> None:
    answer = json_of(place.here.run("--json", "msg", "send", place.topic, "hi"))
    assert answer == {"message": place.messages()[0], "event_id": head_of(place.here)}


def test_tail_prints_the_newest_last(place: Place) -> None:
    ids = [place.post(f"{number}") for number in range(4)]
    times = [message["created_at"] for message in reversed(place.messages())]
    rows = lines_of(place.here.run("msg", "tail", place.topic, "-n", 3))
    assert rows == [[ids[each], times[each], "alice", f"{each}"] for each in (1, 2, 3)]


def test_tail_as_json_is_a_line_per_message(place: Place) -> None:
    place.post("1")
    place.post(UNSAFE)
    lines = place.here.run("--json", "msg", "tail", place.topic).stdout.splitlines()
    assert [json.loads(line) for line in lines] == place.messages()[::-1]


@pytest.mark.parametrize("command", ["msg tail {}", "msg page {}", "search next --topic {}"])
def test_nothing_of_a_message_reaches_the_output_raw(place: Place, command: str) -> None:
    place.post(UNSAFE, sender="al\x1b]0;ice\n")
    [row] = lines_of(place.here.run(*command.format(place.topic_id).split()))
    assert row[2:] == ["al\N{REPLACEMENT CHARACTER}]0;ice\\n", SAFE]


def test_page_prints_the_newest_first_and_says_how_to_go_on(place: Place) -> None:
    ids = [place.post(f"{number}") for number in range(3)]
    more = f"agentlip: there are more: --before {ids[1]}\n"
    first = lines_of(place.here.run("msg", "page", place.topic, "--limit", 2), notes=more)
    second = lines_of(place.here.run("msg", "page", place.topic, "--limit", 2, "--before", ids[1]))
    assert [[row[0] for row in page] for page in (first, second)] == [[ids[2], ids[1]], [ids[0]]]


def test_page_goes_on_towards_the_newest_with_after(place: Place) -> None:
    ids = [place.post(f"{number}") for number in range(4)]
    more = f"agentlip: there are more: --after {ids[2]}\n"
    command = ("msg", "page", place.topic, "--limit", 2, "--after")
    first = lines_of(place.here.run(*command, ids[0]), notes=more)
    second = lines_of(place.here.run(*command, ids[2]))
    assert [[row[0] for row in page] for page in (first, second)] == [[ids[2], ids[1]], [ids[3]]]


def test_page_of_a_channel_holds_all_of_its_topics(place: Place) -> None:
    ids = [place.post("in t"), place.post("in u", place.add_topic("u"))]
    assert [row[0] for row in lines_of(place.here.run("msg", "page", "--channel", place.channel))] == ids[::-1]


def test_page_as_json_is_the_answer_of_the_hub(place: Place) -> None:
    for number in range(3):
        place.post(f"{number}")
    done = place.here.run("--json", "msg", "page", place.topic, "--limit", 2)
    path = f"/api/v1/messages?topic_id={place.topic_id}&limit=2"
    assert json_of(done) == call(place.here, "GET", path)
    assert done.stderr == ""


@pytest.mark.parametrize("both", [False, True])
def test_page_is_of_either_a_topic_or_a_channel(place: Place, both: bool) -> None:
    done = place.here.run("msg", "page", *((place.topic, "--channel", place.channel) if both else ()))
    assert done.returncode == 1
    assert "either" in words_of(done)


def test_edit_prints_the_bare_id(place: Place) -> None:
    message = place.post("old")
    done = place.here.run("msg", "edit", message, "new\nwords", "--expected-version", 1)
    assert only_word(done) == message
    assert [(each["content_raw"], each["version"]) for each in place.messages()] == [("new\nwords", 2)]


def test_edit_reads_standard_input(place: Place) -> None:
    message = place.post("old")
    assert only_word(feed(place.here, "neu: ü\n".encode(), "msg", "edit", message, "-")) == message
    assert place.contents() == ["neu: ü"]


@pytest.mark.parametrize("actor", [("--actor", "bob"), ()])
def test_delete_leaves_a_tombstone(place: Place, actor: tuple[str, ...]) -> None:
    message = place.post("secret")
    assert only_word(place.here.run("msg", "delete", message, *actor, SENDER="carol")) == message
    [left] = place.messages()
    assert (left["id"], left["deleted_by"]) == (message, "bob" if actor else "carol")
    assert "secret" not in place.here.run("msg", "tail", place.topic).stdout


@pytest.mark.parametrize("command", ["edit {} new", "delete {}"])
def test_changes_as_json_are_the_answer_of_the_hub(place: Place, command: str) -> None:
    answer = json_of(place.here.run("--json", "msg", *command.format(place.post("old")).split()))
    assert answer == {"message": place.messages()[0], "event_id": head_of(place.here)}
    assert answer["message"]["version"] == 2


@pytest.mark.parametrize(("mode", "left"), [("one", [0, 2]), ("later", [0]), ("all", [])])
def test_retopic_moves_by_its_mode(place: Place, mode: str, left: list[int]) -> None:
    ids, other = [place.post(f"{number}") for number in range(3)], place.add_topic("u")
    command = ("msg", "retopic", ids[1], "--to", f"{place.channel}/u", "--mode", mode)
    assert only_word(place.here.run(*command, "--expected-version", 1)) == str(3 - len(left))
    assert place.contents() == [str(each) for each in left]
    assert place.contents(other) == [str(each) for each in range(3) if each not in left]


def test_retopic_as_json_is_the_answer_of_the_hub(place: Place) -> None:
    ids, other = [place.post(f"{number}") for number in range(2)], place.add_topic("u")
    head = head_of(place.here)
    answer = json_of(place.here.run("--json", "msg", "retopic", ids[0], "--to", other, "--mode", "all"))
    assert answer == {"affected_count": 2, "event_ids": [head + 1, head + 2]}


def test_retopic_stays_in_the_channel(place: Place) -> None:
    message, elsewhere = place.post("stays"), add_topic(place.here, add_channel(place.here, "elsewhere"), "t")
    done = place.here.run("msg", "retopic", message, "--to", elsewhere)
    assert done.returncode == 1
    words_of(done)
    assert place.contents() == ["stays"]


@pytest.mark.parametrize("command", ["edit {} new", "delete {}", "retopic {} --to {}", "retopic {} --to {} --mode all"])
def test_another_version_is_a_conflict_and_changes_nothing(place: Place, command: str) -> None:
    message, other = place.post("old"), place.add_topic("u")
    before, head = place.messages(), head_of(place.here)
    done = place.here.run("msg", *command.format(message, other).split(), "--expected-version", 7)
    assert done.returncode == 2
    assert "version" in words_of(done)
    assert (place.messages(), head_of(place.here)) == (before, head)


@pytest.mark.parametrize("command", ["edit {} new", "delete {}", "retopic {} --to {}"])
def test_an_unknown_message_is_an_error(place: Place, command: str) -> None:
    done = place.here.run("msg", *command.format("msg_nowhere", place.topic_id).split())
    assert done.returncode == 1
    assert "not found" in words_of(done)
