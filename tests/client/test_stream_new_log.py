"""The stream when the hub's log is not the one that the cursor is of."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from agentlip.client import HubClient, LogChanged

from ..running_hub import TOKEN, Hub


@pytest.fixture
def changed_hub(start_hub: Callable[..., Hub], request: pytest.FixtureRequest) -> tuple[Hub, int, str | None]:
    """A hub whose log is another (`epoch`) or shorter (`ahead`) than a cursor was; the cursor, and its db_id."""
    hub = start_hub()
    topic = hub.make_topic()[1]
    backup = hub.db.with_name("backup")
    with closing(sqlite3.connect(hub.db)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    for number in range(5):
        hub.post(topic, str(number))
    with HubClient(hub.url, TOKEN) as client, client.stream() as events:
        cursor = [next(events).event_id for _ in range(7)][-1]
        db_id = events.db_id
    hub.stop(signal.SIGKILL)
    for path in hub.folder.glob("db.sqlite3*"):
        if path.is_file():
            path.unlink()
    if request.param == "ahead":
        shutil.copy(backup, hub.db)
    hub.start()
    if request.param == "epoch":
        hub.make_topic("new")
    return hub, cursor, db_id


def log_changed(client: HubClient, cursor: int, db_id: str | None) -> LogChanged:
    """What a stream from this cursor raises; the cursor stays."""
    stream = client.stream(cursor, db_id=db_id, on_connect=lambda _: stream.close())
    with pytest.raises(LogChanged) as caught:
        next(stream)
    assert stream.cursor == cursor
    return caught.value


@pytest.mark.parametrize("changed_hub", ["epoch"], indirect=True)
def test_another_log(changed_hub: tuple[Hub, int, str]) -> None:
    hub, cursor, db_id = changed_hub
    with HubClient(hub.url, TOKEN) as client:
        now = client.health()["db_id"]
        error = log_changed(client, cursor, db_id)
        assert (error.reason, error.db_id, error.replay_until) == ("epoch", now, 2)
        with client.stream(cursor, db_id=db_id, on_new_log="restart") as events:
            assert [next(events).event_id for _ in range(2)] == [1, 2]
            assert events.db_id == now
            client.create_channel("later")
            assert next(events).event_id == 3


@pytest.mark.parametrize("changed_hub", ["ahead"], indirect=True)
def test_a_log_that_was_restored(changed_hub: tuple[Hub, int, str]) -> None:
    hub, cursor, db_id = changed_hub
    with HubClient(hub.url, TOKEN) as client:
        for known in (db_id, None):
            error = log_changed(client, cursor, known)
            assert (error.reason, error.db_id, error.replay_until) == ("ahead", db_id, 2)
        connected = threading.Event()
        going_on = client.stream(cursor, db_id=db_id, on_new_log="restart", on_connect=lambda _: connected.set())
        with ThreadPoolExecutor(1) as pool, going_on:
            first = pool.submit(next, going_on)
            assert connected.wait(5)
            client.create_channel("later")
            assert first.result(5).event_id == 3
