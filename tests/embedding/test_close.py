"""`close()`: nothing of a hub is left in the process that had it; and a hub that cannot be started leaves nothing."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from agentlip import Agentlip, StorageError
from agentlip.errors import ShuttingDown
from agentlip.store.database import Database

from ..running_hub import ROOT, eventually
from ..side_by_side import Script


def make_app(folder: Path, **settings: Any) -> Flask:
    app = Flask(__name__)
    app.config["AGENTLIP_DB"] = str(folder / "db.sqlite3")
    app.config.update({f"AGENTLIP_{name}": value for name, value in settings.items()})
    Agentlip(app, url_prefix="/hub")
    return app


def left_open() -> tuple[int, int]:
    """Threads, native ones too, and descriptors of this process."""
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    before = left_open()
    yield
    eventually(lambda: left_open() == before, 5, f"{before} threads and descriptors")


def use(app: Flask) -> Any:
    """Have every part of a hub started: writer, readers of two threads, tailer, long reads, a listener."""
    hub = app.extensions["agentlip"]
    heard = threading.Event()
    hub.subscribe(lambda _event: heard.set())
    topic = hub.create_topic(hub.create_channel("general").channel.id, "t").topic
    hub.post_message(topic.id, "me", "words")
    hub.search("words")
    thread = threading.Thread(target=hub.channels)
    thread.start()
    thread.join()
    assert app.test_client().get("/hub/health").status_code == 200
    assert heard.wait(5)
    return hub


@pytest.mark.usefixtures("nothing_is_left")
def test_a_closed_hub_leaves_no_thread_and_no_descriptor(tmp_path: Path) -> None:
    hub = use(make_app(tmp_path))
    hub.close()
    assert not list(tmp_path.glob("db.sqlite3-peers/*"))
    assert not (tmp_path / "db.sqlite3-wal").exists()


@pytest.mark.usefixtures("nothing_is_left")
def test_a_closed_hub_stays_closed_and_says_so(tmp_path: Path) -> None:
    app = make_app(tmp_path, AUTH_TOKEN="t" * 16)
    hub = use(app)
    follower = hub.subscribe()
    hub.close()
    hub.close()
    with pytest.raises(ShuttingDown):
        hub.create_channel("late")
    with pytest.raises(ShuttingDown):
        hub.channels()
    with pytest.raises(ShuttingDown):
        hub.start()
    assert list(follower) == []
    assert hub.connection_count() == 0
    hub.close_all()
    answer = app.test_client().get("/hub/api/v1/channels", headers={"Authorization": "Bearer " + "t" * 16})
    assert (answer.status_code, answer.json["code"]) == (503, "SHUTTING_DOWN")


@pytest.mark.usefixtures("nothing_is_left")
def test_closing_before_the_start_opens_nothing(tmp_path: Path) -> None:
    make_app(tmp_path).extensions["agentlip"].close()
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("nothing_is_left")
def test_the_extension_and_the_hub_are_context_managers(tmp_path: Path) -> None:
    with Agentlip() as agentlip:
        for name in ("a", "b"):
            app = Flask(__name__)
            app.config["AGENTLIP_DB"] = str(tmp_path / name / "db.sqlite3")
            agentlip.init_app(app)
            use_of(app)
    with make_app(tmp_path).extensions["agentlip"] as hub:
        hub.create_channel("general")


def use_of(app: Flask) -> None:
    app.extensions["agentlip"].create_channel("general")


@pytest.mark.usefixtures("nothing_is_left")
def test_a_listener_may_close_the_hub_that_calls_it(tmp_path: Path) -> None:
    hub = make_app(tmp_path).extensions["agentlip"]
    closed = threading.Event()

    def close(_event: object) -> None:
        hub.close()
        closed.set()

    hub.subscribe(close)
    hub.create_channel("general")
    assert closed.wait(4), "it waited for itself"


@pytest.mark.usefixtures("nothing_is_left")
def test_a_reader_that_is_at_work_while_the_hub_is_closed_ends_well(tmp_path: Path) -> None:
    hub = make_app(tmp_path).extensions["agentlip"]
    hub.create_channel("general")
    store, inside, go_on, read = hub.store, threading.Event(), threading.Event(), []

    def slowly(connection: Any) -> list[tuple[int]]:
        inside.set()
        go_on.wait(10)
        return list(connection.execute("SELECT count(*) FROM channels").fetchall())

    thread = threading.Thread(target=lambda: read.append(store.read(slowly)))
    thread.start()
    inside.wait(10)
    hub.close()
    go_on.set()
    thread.join(10)
    assert read == [[(1,)]]


MANY = """
import gc, os, resource, threading
from pathlib import Path
from flask import Flask
from agentlip import Agentlip

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
how, folder = sys.argv[1], Path(sys.argv[2])
agentlip = Agentlip(url_prefix="/hub")

def left():
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

def one(number):
    app = Flask(__name__)
    app.config["AGENTLIP_DB"] = str(folder / str(number % 3) / "db.sqlite3")
    agentlip.init_app(app)
    hub = app.extensions["agentlip"]
    hub.subscribe(lambda event: None)
    hub.create_channel(str(number))
    assert app.test_client().get("/hub/health").status_code == 200
    if how == "close":
        hub.close()

def run():
    one(0)
    settle()
    before = left()
    for number in range(1, 150):
        one(number)
        if how == "garbage" and number % 5 == 0:
            settle()
    settle()
    for _ in range(300):
        if left() == before:
            break
        time.sleep(0.01)
    print(how, left() == before, before, left(), flush=True)

def settle():
    gc.collect()
    time.sleep(0.1 if how == "garbage" else 0)

run()
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["close", "garbage"])
@pytest.mark.parametrize("imports", ["", "from gevent import monkey; monkey.patch_all()"], ids=["threads", "gevent"])
def test_many_applications_of_one_process_leave_nothing(tmp_path: Path, how: str, imports: str) -> None:
    script = Script(imports + "\nimport sys, time", MANY, how, tmp_path)
    script.ready()
    script.go()
    out, err = script.process.communicate(timeout=120)
    assert out.startswith(f"{how} True"), out + err
    assert "Traceback" not in err


@pytest.mark.usefixtures("nothing_is_left")
def test_a_hub_that_is_closed_while_it_starts_does_not_start(tmp_path: Path) -> None:
    hub = make_app(tmp_path).extensions["agentlip"]
    raised: list[BaseException] = []

    def start() -> None:
        try:
            hub.start()
        except ShuttingDown as error:
            raised.append(error)

    other = Database(tmp_path / "db.sqlite3")
    with other.locked(time.monotonic() + 5):
        thread = threading.Thread(target=start)
        thread.start()
        eventually(hub._lock.locked)
        started = time.monotonic()
        hub.close(0.2)
        assert time.monotonic() - started < 2
    other.close_lock()
    thread.join(10)
    assert len(raised) == 1


UNUSABLE: dict[str, Callable[[Path], Any]] = {
    "no database": lambda path: path.write_bytes(b"this is no database" * 1000),
    "a folder": lambda path: path.mkdir(),
    "a newer schema": lambda path: newer(path),
}


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE meta (key TEXT, value TEXT)")
        connection.execute("INSERT INTO meta VALUES ('schema_version', '99')")
        connection.commit()


@pytest.mark.parametrize("spoil", UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.usefixtures("nothing_is_left")
def test_an_unusable_database_is_503_and_leaves_nothing_open(
    tmp_path: Path, spoil: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    spoil(tmp_path / "db.sqlite3")
    app = make_app(tmp_path, AUTH_TOKEN="t" * 16)
    client = app.test_client()
    before = left_open()
    for path in ("/hub/health", "/hub/api/v1/channels", "/hub/ui/session", "/hub/ws") * 5:
        answer = client.get(path, headers={"Authorization": "Bearer " + "t" * 16})
        assert (answer.status_code, answer.json) == (503, {
            "error": "Service unavailable", "code": "SERVICE_UNAVAILABLE", "details": {"reason": "database unusable"},
        })  # fmt: skip
        assert answer.headers["Retry-After"] == "1"
    assert left_open() == before
    assert [record.levelname for record in caplog.records if record.name == "agentlip.state"] == ["ERROR"]
    assert "Traceback" not in caplog.text
    with pytest.raises(StorageError):
        app.extensions["agentlip"].channels()


@pytest.mark.usefixtures("nothing_is_left")
def test_a_failed_start_is_remembered_for_a_second_and_then_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "db.sqlite3"
    path.mkdir()
    hub = make_app(tmp_path).extensions["agentlip"]
    for _ in range(2):
        with pytest.raises(StorageError, match="it is a folder"):
            hub.channels()
        if path.exists():
            path.rmdir()  # mended, but nobody looks yet
    assert eventually(lambda: started(hub), 5, "the second try")
    hub.close()


def started(hub: Any) -> bool:
    try:
        hub.start()
    except StorageError:
        return False
    return True


@pytest.mark.usefixtures("nothing_is_left")
def test_a_start_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread can be had, for the first, the second, ... of those that a hub needs."""
    real = threading.Thread.start
    for allowed in range(4):
        left = [allowed]

        def start(thread: threading.Thread, left: list[int] = left) -> None:
            if not left[0]:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
            real(thread)

        app = make_app(tmp_path)
        before = left_open()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            if allowed < 3:
                with pytest.raises(StorageError, match="no thread can be started"):
                    app.extensions["agentlip"].start()
            else:
                app.extensions["agentlip"].start()  # without wake-ups between processes
        if allowed < 3:
            eventually(lambda before=before: left_open() == before, 5, f"nothing left with {allowed} threads")
        app.extensions["agentlip"].close()


AT_EXIT = """
from pathlib import Path
from agentlip.server.app import create_app
hub = create_app({"AGENTLIP_DB": sys.argv[1]}).extensions["agentlip"]
hub.subscribe(lambda event: None)
hub.create_channel("general")
"""


@pytest.mark.parametrize("imports", ["", "from gevent import monkey; monkey.patch_all()"], ids=["threads", "gevent"])
def test_the_end_of_the_process_closes_the_hub(tmp_path: Path, imports: str) -> None:
    script = Script(imports + "\nimport sys", AT_EXIT, tmp_path / "db.sqlite3")
    script.ready()
    script.go()
    _out, err = script.process.communicate(timeout=30)
    assert (script.process.returncode, err) == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["auth_token", "db.sqlite3", "db.sqlite3-lock", "db.sqlite3-peers"]
    assert os.listdir(tmp_path / "db.sqlite3-peers") == []


MYAPP = """
from flask import Flask
from agentlip import Agentlip

agentlip = Agentlip(url_prefix="/hub")


def create_app(config):
    app = Flask(__name__)
    app.config.update(config)
    agentlip.init_app(app)
    return app
"""
TEST = """
import os, resource
import pytest

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


@pytest.mark.parametrize("number", range(150))
def test_one(client, app, number):
    assert client.get("/hub/health").status_code == 200
    app.extensions["agentlip"].create_channel(str(number))


def test_nothing_is_left():
    assert len(os.listdir("/proc/self/task")) == 1
    assert not [name for name in map(link, os.listdir("/proc/self/fd")) if "sqlite3" in name or "socket" in name]


def link(name):
    try:
        return os.readlink("/proc/self/fd/" + name)
    except OSError:
        return ""
"""


@pytest.mark.slow
def test_the_recipe_for_pytest_leaves_nothing(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "embedding.md").read_text()
    recipe = next(part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "import pytest" in part)
    for name, content in (("myapp.py", MYAPP), ("conftest.py", recipe), ("test_it.py", TEST)):
        (tmp_path / name).write_text(content)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "151 passed" in done.stdout, done.stdout + done.stderr
