"""The ends of a hub: stop, reload, interrupt, a log that cannot be read; and the life of server.json."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from ..running_hub import TOKEN, Hub, eventually, receive_until
from .raw_socket import RawSocket, append_events, close_of, ids, plain_sqlite

# On a busy machine; far below the patience of gunicorn in these tests, so the hub must end by itself.
SOON = 15
SHUTTING_DOWN = (1001, "Server shutting down")
REPLAY_FAILED = (1011, "Internal error during replay")


def send(hub: Hub, how: int) -> None:
    """Send the signal to the master."""
    assert hub.process is not None
    hub.process.send_signal(how)


@pytest.fixture
def patient_gunicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that do not end are killed late: after a minute instead of some seconds."""
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--graceful-timeout 60")


@contextlib.contextmanager
def raw_sockets(hub: Hub, count: int, receive_buffer: int | None = None) -> Iterator[list[RawSocket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RawSocket(hub, receive_buffer)) for _ in range(count)]


@contextlib.contextmanager
def crowd(hub: Hub) -> Iterator[list[RawSocket]]:
    """Sockets in all states: silent, halfway through hello, subscribed to nothing, live."""
    head = append_events(hub.db, 1)
    with raw_sockets(hub, 24) as sockets:
        for index, raw in enumerate(sockets):
            if index % 4 == 1:
                raw.send(1, b'{"type":', fin=False)
            elif index % 4 == 2:
                raw.hello(head, subscriptions={})
            elif index % 4 == 3:
                raw.hello(head)
        yield sockets


@pytest.mark.usefixtures("patient_gunicorn")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_every_socket_is_told_1001_and_the_master_is_gone_soon(start_hub: Callable[..., Hub], how: int) -> None:
    hub = start_hub()
    assert hub.process is not None
    with crowd(hub) as sockets:
        send(hub, how)
        assert [raw.read_close() for raw in sockets] == [SHUTTING_DOWN] * len(sockets)
        assert hub.process.wait(SOON) == 0
    assert "Traceback" not in hub.log()
    assert not (hub.folder / "server.json").exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", hub.port), 1)


@pytest.mark.slow
@pytest.mark.usefixtures("patient_gunicorn")
def test_clients_that_never_answer_do_not_hold_up_the_end(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    append_events(hub.db, 3000, size=3_000)
    assert hub.process is not None
    with raw_sockets(hub, 6, 4096) as stalled:
        for raw in stalled[:3]:
            raw.say_hello()
        for raw in stalled[:3]:
            raw.read_event()
        send(hub, signal.SIGTERM)
        assert hub.process.wait(SOON) == 0
    assert "Traceback" not in hub.log()


@pytest.mark.usefixtures("patient_gunicorn")
def test_a_hub_stopped_while_its_workers_are_still_starting_is_gone_soon(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(WORKERS=4)
    hub.session.close()
    send(hub, signal.SIGTERM)
    assert hub.process is not None
    assert hub.process.wait(SOON) == 0


def test_what_was_answered_before_the_end_is_there_after_a_restart(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    _channel_id, topic_id = hub.make_topic()
    with hub.listen() as (socket_, _answer):
        receive_until(socket_, 2)
        last = hub.post(topic_id)["event_id"]
        send(hub, signal.SIGTERM)
        assert json.loads(socket_.recv(timeout=5))["event_id"] == last
        assert close_of(socket_) == SHUTTING_DOWN
    hub.session.close()
    hub.stop()
    again = start_hub(folder=hub.folder)
    with again.listen(last - 1) as (socket_, answer):
        assert (answer["replay_until"], answer["recovered"]) == (last, True)
        assert ids(receive_until(socket_, last)) == [last]


def answer_of(hub: Hub, topic_id: str) -> int:
    """Post once; 0 when the connection was lost, else the event's id."""
    body = {"topic_id": topic_id, "sender": "s", "content_raw": "x"}
    headers = {"Authorization": f"Bearer {TOKEN}", "Connection": "close"}
    try:
        answer = requests.post(f"{hub.url}/api/v1/messages", json=body, headers=headers, timeout=10)
    except requests.ConnectionError:
        return 0
    if answer.status_code == 503:
        assert answer.json()["code"] == "SHUTTING_DOWN"
        return 0
    assert answer.status_code == 201, answer.text
    return int(answer.json()["event_id"])


class Posters:
    """Posts over fresh connections until `end`, through a reload."""

    def __init__(self, hub: Hub, topic_id: str) -> None:
        self.answered: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(hub, topic_id))
        self._thread.start()

    def _run(self, hub: Hub, topic_id: str) -> None:
        while not self._over.is_set():
            self.answered.append(answer_of(hub, topic_id))

    def end(self) -> None:
        self._over.set()
        self._thread.join()


class Follower:
    """A good client: it receives, and reconnects with its last id whenever it is closed or told to wait."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.seen = [0]
        self.closes: list[tuple[int, str]] = []
        self._until: int | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_done():
            with (
                contextlib.suppress(InvalidStatus, ConnectionError),
                self.hub.listen(self.seen[-1]) as (client, answer),
            ):
                assert answer["recovered"] is True
                self._receive(client)

    def _receive(self, client: ClientConnection) -> None:
        try:
            while not self._is_done():
                with contextlib.suppress(TimeoutError):
                    self.seen.append(json.loads(client.recv(timeout=0.2))["event_id"])
        except ConnectionClosed as closed:
            if closed.rcvd:
                self.closes.append((closed.rcvd.code, closed.rcvd.reason))

    def _is_done(self) -> bool:
        return self._until is not None and self.seen[-1] >= self._until

    def end(self, last: int) -> list[int]:
        """What it has received up to and including `last`."""
        self._until = last
        self._thread.join(20)
        return self.seen[1:]


def test_a_reload_closes_with_1001_and_a_reconnect_loses_nothing(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    _channel_id, topic_id = hub.make_topic()
    before = hub.call("GET", "/health").json()
    posters, follower = Posters(hub, topic_id), Follower(hub)
    try:
        with crowd(hub) as sockets:
            eventually(lambda: len(posters.answered) > 20, what="some posts")
            send(hub, signal.SIGHUP)
            assert [raw.read_close() for raw in sockets] == [SHUTTING_DOWN] * len(sockets)
        eventually(lambda: hub.call("GET", "/health").json()["pid"] != before["pid"], what="the new worker")
        count = len(posters.answered)
        eventually(lambda: len(posters.answered) > count + 20, what="posts after the reload")
    finally:
        posters.end()
        last = append_events(hub.db, 1)
        seen = follower.end(last)
    assert seen == list(range(1, last + 1))
    assert set(follower.closes) == {SHUTTING_DOWN}
    assert {one for one in posters.answered if one} <= set(seen)
    after = hub.call("GET", "/health").json()
    assert (after["instance_id"], after["db_id"]) == (before["instance_id"], before["db_id"])
    assert (hub.folder / "server.json").exists()
    assert "Traceback" not in hub.log()


def server_file(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "server.json").read_text()))


def test_server_json_says_what_health_says_and_only_its_owner_may_read_it(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    path = hub.folder / "server.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content, health = server_file(hub.folder), hub.call("GET", "/health").json()
    assert set(content) >= {
        "instance_id", "db_id", "port", "host", "auth_token", "pid", "started_at", "protocol_version", "schema_version",
    }  # fmt: skip
    for key in ("instance_id", "db_id", "protocol_version", "schema_version"):
        assert content[key] == health[key]
    assert (content["port"], content["host"], content["auth_token"]) == (hub.port, "127.0.0.1", TOKEN)
    assert hub.process is not None
    assert content["pid"] == hub.process.pid
    assert TOKEN not in hub.log()
    hub.stop()
    assert not path.exists()
    assert [entry.name for entry in hub.folder.iterdir() if "server.json" in entry.name] == []


def test_a_made_token_survives_restarts_in_a_file_of_its_own(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(AUTH_TOKEN=None)
    token = server_file(hub.folder)["auth_token"]
    assert len(token) >= 32
    assert stat.S_IMODE((hub.folder / "auth_token").stat().st_mode) == 0o600
    assert requests.get(f"{hub.url}/ws?token={token}", timeout=5).status_code == 426
    hub.stop()
    again = start_hub(folder=hub.folder, AUTH_TOKEN=None)
    assert server_file(again.folder)["auth_token"] == token
    assert token not in again.log()


def rename_events(db: Path, old: str, new: str) -> None:
    with plain_sqlite(db) as connection:
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")


def test_a_log_that_can_not_be_read_closes_a_replay_with_1011_and_heals(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    last = append_events(hub.db, 1000)
    with hub.listen(last) as (live, _answer):
        rename_events(hub.db, "events", "events_gone")
        with hub.connect() as client:
            client.send('{"type":"hello","after_event_id":0}')
            assert close_of(client) == REPLAY_FAILED
        rename_events(hub.db, "events_gone", "events")
        last = append_events(hub.db, 1)
        assert json.loads(live.recv(timeout=5))["event_id"] == last
    with hub.listen() as (client, _answer):
        assert ids(receive_until(client, last)) == list(range(1, last + 1))


def test_a_log_that_breaks_in_the_middle_of_a_replay_closes_it_with_1011(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    last = append_events(hub.db, 3000, size=3_000)
    with RawSocket(hub, 4096) as raw:
        raw.hello()
        raw.read_event()
        rename_events(hub.db, "events", "events_gone")
        events, close = raw.read_to_close()
    assert close == REPLAY_FAILED
    assert ids(events) == list(range(2, len(events) + 2))
    assert len(events) < last - 1
