"""The cursor file of `agentlip listen`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..running_hub import eventually
from ..small_disk import fill, small_disk
from .listeners import Reader, crash, listen, post, posting, topic_of, unread, wait_for_cursor
from .working_folder import PROGRAM, WorkingFolder, words_of, working_folder

pytestmark = pytest.mark.slow  # programs are run again and again


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path) as folder:
        folder.make_workspace()
        yield folder


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
