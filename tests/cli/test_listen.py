"""`agentlip listen` and `agentlip msg tail -f`: every event once, whatever happens to the hub and to the listener."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.sync.client import connect

from agentlip.workspace import writer_lock

from ..running_hub import eventually
from ..small_disk import fill, small_disk
from .working_folder import PROGRAM, WorkingFolder, words_of, working_folder

pytestmark = pytest.mark.slow  # programs are run again and again

KEYS = ["type", "event_id", "ts", "name", "scope", "entity", "data"]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path) as folder:
        folder.make_workspace()
        yield folder


class Reader:
    """Collects the lines that a started process prints; the part of a line that a kill leaves is none."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.notes: list[str] = []
        self._threads = []
        for file, to in (process.stdout, self.lines), (process.stderr, self.notes):
            assert file is not None
            with file:
                descriptor = os.dup(file.fileno())
            self._threads.append(threading.Thread(target=self._read, args=(descriptor, to)))
            self._threads[-1].start()

    @staticmethod
    def _read(descriptor: int, to: list[str]) -> None:
        with open(descriptor, encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    to.append(line[:-1])

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in list(self.lines)]

    @property
    def ids(self) -> list[int]:
        return [event["event_id"] for event in self.events]

    def connected(self) -> Reader:
        return self.noted("connected, at event")

    def noted(self, words: str, times: int = 1) -> Reader:
        """Wait until standard error has as many lines with these words."""
        eventually(lambda: sum(words in note for note in list(self.notes)) >= times, 20, f"{times} times {words!r}")
        return self

    def printed(self, count: int) -> Reader:
        eventually(lambda: len(self.lines) >= count, 20, f"the line {count}")
        return self

    def reached(self, event_id: int) -> Reader:
        eventually(lambda: event_id in self.ids, 20, f"event {event_id}")
        return self

    def ended(self, how: int = 0) -> int:
        """Send the signal, if any; the exit code. What it printed is complete then, and nothing of it a traceback."""
        self.process.send_signal(how)
        code = self.process.wait(10)
        for thread in self._threads:
            thread.join(10)
        assert all(note.startswith("agentlip: ") or not note for note in self.notes), self.notes
        return code


def listen(here: WorkingFolder, *args: object) -> Reader:
    return Reader(here.start("listen", *args))


def topic_of(here: WorkingFolder, title: str = "t", channel: str = "a") -> str:
    """A new topic in a new channel, two events; its id."""
    made = here.call("POST", "/api/v1/channels", {"name": channel}).json()["channel"]["id"]
    return str(here.call("POST", "/api/v1/topics", {"channel_id": made, "title": title}).json()["topic"]["id"])


def post(here: WorkingFolder, topic: str, *contents: str) -> int:
    """The event id of the last one."""
    for content in contents:
        answer = here.call("POST", "/api/v1/messages", {"topic_id": topic, "sender": "s", "content_raw": content})
        assert answer.status_code == 201, answer.text
    return int(answer.json()["event_id"])


@contextlib.contextmanager
def posting(here: WorkingFolder, topic: str) -> Iterator[None]:
    """Post all the time, also while there is no hub."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.005):
            with contextlib.suppress(requests.RequestException, AssertionError):
                post(here, topic, "more")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


def log_of(here: WorkingFolder) -> list[dict[str, Any]]:
    """All events, page by page, as envelopes."""
    found: list[dict[str, Any]] = []
    while page := here.call("GET", f"/api/v1/events?after={len(found)}&limit=1000").json()["events"]:
        found += [{"type": "event", **event, "data": event["data_json"]} for event in page]
    return [{key: event[key] for key in KEYS} for event in found]


def crash(here: WorkingFolder) -> None:
    for pid in writer_lock.users(here.folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not writer_lock.users(here.folder), 10, "the end of the hub")


def wait_for_cursor(here: WorkingFolder, file: Path, after: int) -> None:
    cursor = {"db_id": here.call("GET", "/health").json()["db_id"], "after_event_id": after}
    eventually(lambda: file.exists() and json.loads(file.read_text()) == cursor, 5, f"{cursor} in {file}")


def unread(process: subprocess.Popen[str]) -> int:
    """How many bytes wait in the pipe that is its output."""
    assert process.stdout is not None
    return int.from_bytes(fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4)), sys.byteorder)


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


def test_a_cursor_file_says_where_to_go_on(here: WorkingFolder) -> None:
    here.up()
    topic, file, last = topic_of(here), here.root / "cursor", 2
    for args, printed in ((), []), ((), [3]), (("--since", 0), [4]):  # the file goes before --since
        listener = listen(here, "--cursor-file", file, *args).connected()
        wait_for_cursor(here, file, last)
        assert listener.ended(signal.SIGTERM) == 0
        assert listener.ids == printed
        last = post(here, topic, "while nobody listens")
    assert sorted(os.listdir(here.root)) == [".agentlip", "cursor"]


def test_a_listener_killed_amid_many_events_has_lost_none(here: WorkingFolder) -> None:
    here.up(RATE_LIMITS="off")
    topic = topic_of(here)
    backlog, args = post(here, topic, *["x" * 4000] * 60), ("--since", 0, "--cursor-file", here.root / "cursor")
    blocked = here.start("listen", *args)
    eventually(lambda: unread(blocked) > 30_000, 10, "a full pipe")
    blocked.kill()  # while nobody takes what it writes
    runs = [Reader(blocked)]
    assert (runs[0].ended(), 3 < len(runs[0].lines) < backlog) == (-signal.SIGKILL, True)
    with posting(here, topic):
        for _ in range(3):
            runs.append(listen(here, *args).printed(20))
            runs[-1].ended(signal.SIGKILL)
    last = post(here, topic, "the end")
    runs.append(listen(here, *args).reached(last))
    seen: list[int] = []
    for ids in (run.ids for run in runs):
        seen += ids[1:] if seen and ids[0] == seen[-1] else ids  # the last one may be told again
    assert seen == list(range(1, last + 1))


def mounted(target: Path, source: Path) -> tuple[str, ...]:
    """What runs a program with `source` mounted on the file `target`; skips where that is forbidden."""
    command = ("unshare", "-m", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"', str(source), str(target))
    if subprocess.run((*command, "true"), capture_output=True).returncode:
        pytest.skip("no mounts here")
    return command


def test_a_cursor_file_that_is_mounted_is_written_in_place(here: WorkingFolder, tmp_path: Path) -> None:
    here.up(RATE_LIMITS="off")
    topic, place, file = topic_of(here), here.root / "place", here.root / "file"
    file.write_text("0")
    place.touch()
    for _ in range(2):
        process = subprocess.Popen(
            (*mounted(place, file), *PROGRAM, "listen", "--cursor-file", str(place)), cwd=here.root, text=True,
            env=here.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        here.processes.append(process)
        listener = Reader(process).connected()
        last = post(here, topic, *"ab")
        listener.reached(last)
        wait_for_cursor(here, file, last)
        assert listener.ended(signal.SIGTERM) == 0
    assert listener.ids == [last - 1, last]
    assert (place.read_text(), sorted(os.listdir(here.root))) == ("", [".agentlip", "file", "place"])


def test_a_cursor_file_in_a_folder_that_can_not_be_written_is_written_in_place(here: WorkingFolder) -> None:
    here.up()
    topic, folder = topic_of(here), here.root / "folder"
    folder.mkdir()
    (folder / "cursor").write_text(json.dumps({"db_id": "x" * 60, "after_event_id": 0}))
    folder.chmod(0o555)
    without = ("setpriv", "--inh-caps=-all", "--bounding-set=-all") if os.geteuid() == 0 else ()
    process = subprocess.Popen(
        (*without, *PROGRAM, "listen", "--cursor-file", "folder/cursor"), cwd=here.root, text=True,
        env=here.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    here.processes.append(process)
    listener = Reader(process).connected()
    last = post(here, topic, "a")
    listener.reached(last)
    wait_for_cursor(here, folder / "cursor", last)
    assert listener.ended(signal.SIGTERM) == 0
    assert os.listdir(folder) == ["cursor"]


def test_a_cursor_file_that_is_a_link_stays_one_and_keeps_its_mode(here: WorkingFolder, tmp_path: Path) -> None:
    here.up()
    topic_of(here)
    (here.root / "real").mkdir()
    file = here.root / "real" / "cursor"
    file.write_text("0")
    file.chmod(0o600)
    (here.root / "link").symlink_to(file)
    listener = listen(here, "--cursor-file", "link").reached(2)
    wait_for_cursor(here, file, 2)
    assert listener.ended(signal.SIGTERM) == 0
    assert ((here.root / "link").is_symlink(), file.stat().st_mode & 0o777, os.listdir(file.parent)) == (
        True, 0o600, ["cursor"],
    )  # fmt: skip


def test_a_cursor_file_that_is_no_file_is_refused(here: WorkingFolder) -> None:
    os.mkfifo(here.root / "pipe")
    for name in ("pipe", "/dev/null"):
        done = here.run("listen", "--cursor-file", name)
        assert (done.returncode, words_of(done)) == (1, f"{name} is not a regular file")


def test_the_start_without_a_cursor_says_nothing_about_one(here: WorkingFolder) -> None:
    here.up()
    topic, port = topic_of(here), here.server["port"]
    listener = listen(here).connected()
    assert listener.notes == ["agentlip: connected, at event 2 of 2"]
    crash(here)
    here.up(PORT=port)
    listener.noted("connected", 2)
    assert listener.reached(post(here, topic, "x")).ended(signal.SIGTERM) == 0
    assert not any("before the cursor" in note for note in listener.notes)
    told = listen(here, "--since", 99).connected()
    assert told.notes[0] == "agentlip: the log ends at event 3, before the cursor; going on from there"
    assert told.ended(signal.SIGTERM) == 0


@pytest.mark.parametrize("content", ["", "nonsense", "{}", '{"after_event_id": -1}'])
def test_a_damaged_cursor_file_is_refused(here: WorkingFolder, content: str) -> None:
    (here.root / "cursor").write_text(content)
    done = here.run("listen", "--cursor-file", "cursor")
    assert done.returncode == 1
    assert words_of(done).startswith("cursor ")


def test_a_cursor_file_that_can_not_be_written_ends_it(here: WorkingFolder) -> None:
    here.up()
    done = here.run("listen", "--since", 0, "--cursor-file", here.root / "missing" / "cursor")
    assert done.returncode == 1
    assert "missing/cursor" in words_of(done)


def test_a_full_disk_ends_it_and_leaves_the_cursor_file_whole(here: WorkingFolder, tmp_path: Path) -> None:
    here.up()
    topic = topic_of(here)
    with small_disk(tmp_path, 64) as disk:
        listener = listen(here, "--since", 0, "--cursor-file", disk / "cursor")
        wait_for_cursor(here, disk / "cursor", 2)
        fill(disk)
        post(here, topic, "no room")
        assert listener.ended() == 1
        assert listener.notes[1:] == [f"agentlip: cannot write {disk / 'cursor'}: No space left on device"]
        wait_for_cursor(here, disk / "cursor", 2)


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
