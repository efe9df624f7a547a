"""`agentlip listen` and `agentlip msg tail -f`: every event once, whatever happens to the hub and to the listener."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from ..running_hub import eventually
from .listeners import Reader, crash, listen, post, posting, topic_of, unread, wait_for_cursor
from .working_folder import WorkingFolder, words_of, working_folder

pytestmark = pytest.mark.slow  # programs are run again and again


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path) as folder:
        folder.make_workspace()
        yield folder


KEYS = ["type", "event_id", "ts", "name", "scope", "entity", "data"]


def log_of(here: WorkingFolder) -> list[dict[str, Any]]:
    """All events, page by page, as envelopes."""
    found: list[dict[str, Any]] = []
    while page := here.call("GET", f"/api/v1/events?after={len(found)}&limit=1000").json()["events"]:
        found += [{"type": "event", **event, "data": event["data_json"]} for event in page]
    return [{key: event[key] for key in KEYS} for event in found]


def test_all_events_come_as_the_lines_that_a_websocket_gets(here: WorkingFolder) -> None:
    here.up()
    topic = topic_of(here)
    post(here, topic, "one", "zwei: \u00e4\u2028\n", '"three"')
    everything, new = listen(here, "--since", 0).printed(5), listen(here).connected()
    some = listen(here, "--since", 3).printed(2)
    last = post(here, topic, "four", "five")
    with connect(f"ws{here.url[4:]}/ws?token={here.server['auth_token']}") as web_socket:
        web_socket.send(json.dumps({"type": "hello", "after_event_id": 0}))
        web_socket.recv(timeout=10)
        frames = [str(web_socket.recv(timeout=10)) for _ in range(last)]
    events = everything.reached(last).events
    assert list(events[0]) == KEYS
    assert [line.rstrip("\n") for line in everything.lines] == frames
    assert events == log_of(here)
    assert (some.reached(last).events, new.reached(last).events) == (events[3:], events[5:])


def test_nothing_is_lost_or_told_twice_over_ten_restarts_of_the_hub(here: WorkingFolder) -> None:
    here.up(RATE_LIMITS="off")
    topic, port = topic_of(here), here.server["port"]
    listener = listen(here, "--since", 0).connected()
    with posting(here, topic):
        for number in range(10):
            here.run("down") if number % 5 == 1 else crash(here)
            seen = len(listener.lines)
            here.up(RATE_LIMITS="off", PORT=port)
            listener.printed(seen + 3)
    log = log_of(here)
    assert listener.reached(log[-1]["event_id"]).noted("connected", 11).ended(signal.SIGTERM) == 0
    assert listener.events == log


def test_another_log_is_told_from_its_first_event(here: WorkingFolder) -> None:
    here.up()
    port, files = here.server["port"], [here.root / "running", here.root / "resumed"]
    last = post(here, topic_of(here, "old"), "1", "2", "3")
    running, ended = (listen(here, "--since", 0, "--cursor-file", file).reached(last) for file in files)
    wait_for_cursor(here, files[1], last)
    ended.ended(signal.SIGTERM)
    here.run("down")
    for path in here.folder.glob("db.sqlite3*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert here.run("init", "--new").returncode == 0
    here.up(PORT=port)
    last = post(here, topic_of(here, "new"), "4")
    resumed = listen(here, "--since", 0, "--cursor-file", files[1])
    assert resumed.noted("the hub has another log").reached(last).events == log_of(here)
    assert running.noted("the hub has another log").printed(5 + last).events[5:] == log_of(here)
    for file in files:
        wait_for_cursor(here, file, last)


def test_it_ends_when_nobody_reads_on(here: WorkingFolder) -> None:
    here.up(RATE_LIMITS="off")
    last = post(here, topic_of(here), *["x" * 4000] * 30)
    listeners = [here.start("listen", "--since", since) for since in (last - 1, 2, 2, 2, 2)]  # first: nothing follows
    for listener in listeners:
        full = 4000 if listener is listeners[0] else 40_000
        eventually(lambda: unread(listener) >= full, 10, "output")  # noqa: B023
        with subprocess.Popen(["head", "-1"], stdin=listener.stdout, stdout=subprocess.PIPE, text=True) as head:
            assert listener.stdout is not None
            listener.stdout.close()  # the pipe is that of head alone
            assert json.loads(head.communicate(timeout=10)[0])
        notes = listener.communicate(timeout=5)[1]
        assert (head.returncode, listener.returncode, notes.count("\n")) == (0, 0, 1)


def test_signals_end_it_also_without_a_hub(here: WorkingFolder) -> None:
    here.up()
    listeners = [listen(here).connected() for _ in range(4)]
    assert (listeners[0].ended(signal.SIGTERM), listeners[1].ended(signal.SIGINT)) == (0, 130)
    crash(here)
    for listener in listeners[2:]:
        listener.noted("trying again")
    assert (listeners[2].ended(signal.SIGTERM), listeners[3].ended(signal.SIGINT)) == (0, 130)
    assert not any(listener.lines for listener in listeners)


def test_without_a_hub_or_its_token_it_ends_or_waits(here: WorkingFolder) -> None:
    done = here.run("listen")
    assert done.returncode == 3
    assert "No hub is running" in words_of(done)
    waiting = listen(here, "--wait", "--since", 0)
    here.up()
    topic_of(here)
    assert waiting.reached(2).ids == [1, 2]
    assert waiting.ended(signal.SIGTERM) == 0
    assert words_of(done := here.run("--url", here.url, "--token", "wrong", "listen", "--wait"))
    assert done.returncode == 4


def test_a_token_changed_meanwhile_is_found(here: WorkingFolder) -> None:
    here.up()
    topic, listener, old = topic_of(here), listen(here, "--since", 0).reached(2), here.server["auth_token"]
    assert here.run("token", "rotate").returncode == 0
    listener.noted("connected", 2)
    assert here.server["auth_token"] != old
    post(here, topic, "for those who know the new token")
    assert listener.reached(3).ids == [1, 2, 3]


def test_channels_and_topics_choose_the_events(here: WorkingFolder) -> None:
    here.up()
    topics = {channel: topic_of(here, "t", channel) for channel in "abc"}
    second = {"channel_id": log_of(here)[0]["scope"]["channel_id"], "title": "second"}
    topics["second"] = here.call("POST", "/api/v1/topics", second).json()["topic"]["id"]
    chosen = {  # the event ids: channel and topic of a, b and c, the second topic of a
        "--channel a": [1, 2, 7, 8, 11, 12],
        "--channel a --channel b": [1, 2, 3, 4, 7, 8, 9, 11, 12],
        "--topic a/t": [2, 8, 12],
        f"--topic {topics['c']} --topic a/t": [2, 6, 8, 10, 12],
        "--channel c --topic a/t": [2, 5, 6, 8, 10, 12],
    }
    listeners = {choice: listen(here, "--since", 0, *choice.split()).connected() for choice in chosen}
    for name in ("a", "b", "c", "second", "a"):
        last = post(here, topics[name], "m")
    assert {choice: listener.reached(last).ids for choice, listener in listeners.items()} == chosen


def test_tail_goes_on_with_new_messages_over_a_restart(here: WorkingFolder) -> None:
    here.up()
    topic, other, port = topic_of(here), topic_of(here, "t", "b"), here.server["port"]
    post(here, topic, "0", "1", "2")
    tail = Reader(here.start("msg", "tail", "a/t", "-n", 2, "-f")).printed(2)
    post(here, other, "not this")
    post(here, topic, "3")
    tail.printed(3)
    crash(here)
    here.up(PORT=port)
    post(here, topic, "4", "5")
    assert tail.printed(5).ended(signal.SIGINT) == 130
    assert [line.split("\t")[-1] for line in tail.lines] == ["1", "2", "3", "4", "5"]
