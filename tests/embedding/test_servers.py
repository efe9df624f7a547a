"""The hub in a host application under each kind of server: all of it works, and nothing of the host has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from agentlip.client import HubClient

from ..running_hub import TOKEN, eventually
from ..server.event_stream import EventReader
from ..server.raw_http import dial, head, is_over, json_head, parked, read_answer
from ..side_by_side import in_threads
from .servers import SERVERS, Host


@pytest.fixture(scope="module", params=SERVERS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with Host(request.param, tmp_path_factory.mktemp("host"), AGENTLIP_MAX_CONNECTIONS="5") as running:
        yield running


def test_the_host_is_as_it_was(host: Host) -> None:
    assert host.call("GET", "/").headers["X-Host"] == "was here"
    missing = host.call("GET", "/nothing/here")
    assert (missing.status_code, missing.text) == (404, "the host's 404 page")
    assert host.call("POST", "/form").text == "the host's error page: CSRFError"
    assert requests.post(f"{host.url}/say", data=b"x" * 1001, timeout=20).status_code == 413


def test_the_hub_answers_below_its_prefix_and_in_its_own_way(host: Host) -> None:
    assert host.call("GET", "/hub/health", token=None).json()["status"] == "ok"
    for method, path, status, code in (
        ("GET", "/hub/api/v1/nothing", 404, "NOT_FOUND"),
        ("DELETE", "/hub/api/v1/channels", 405, "NOT_FOUND"),
        ("POST", "/hub/api/v1/channels", 415, "INVALID_INPUT"),
    ):
        answer = host.call(method, path)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert host.call("POST", "/hub/api/v1/channels", {"name": "x"}, token=None).status_code == 401


def test_hooks_limits_and_csrf_protection_of_the_host_break_nothing(host: Host) -> None:
    made = host.call("POST", "/hub/api/v1/channels", {"name": "hooks"}, X_Read="1")
    assert made.status_code == 201
    assert made.headers["X-Host"] == "was here"
    topic = host.call("POST", "/hub/api/v1/topics", {"channel_id": made.json()["channel"]["id"], "title": "t"})
    body = {"topic_id": topic.json()["topic"]["id"], "sender": "me", "content_raw": "x" * 60_000}
    assert host.call("POST", "/hub/api/v1/messages", body).status_code == 201  # the host's limit is 1,000


def test_calls_with_a_key_and_without_at_the_same_time(host: Host) -> None:
    channel = host.call("POST", "/hub/api/v1/channels", {"name": "keys"}).json()["channel"]["id"]

    def ask(number: int) -> tuple[int, bytes, str | None]:
        headers = {} if number % 2 else {"Idempotency_Key": f"key-{number % 4}"}
        title = f"topic {number}" if number % 2 else f"topic {number % 4}"
        body = {"channel_id": channel, "title": title}
        answer = host.call("POST", "/hub/api/v1/topics", body, **headers)
        return answer.status_code, answer.content, answer.headers.get("Idempotency-Replayed")

    answers = in_threads(12, ask)
    assert [answer[0] for answer in answers] == [201] * 12
    for same in (answers[0::4], answers[2::4]):
        assert len({answer[1] for answer in same}) == 1
        assert sorted(answer[2] or "" for answer in same) == ["", "true", "true"]
    assert len({answer[1] for answer in answers}) == 8


def test_a_message_of_a_view_is_replayed_and_live_and_seen_by_a_thread(host: Host) -> None:
    with HubClient(f"{host.url}/hub", TOKEN) as client, client.stream(client.events(tail=1).replay_until) as stream:
        said = host.call("POST", "/say", {"some": "body"}, X_Name=f"say-{host.server}").json()
        names = [next(stream).name for _ in range(3)]
        assert names == ["channel.created", "topic.created", "message.created"]
        assert stream.cursor < said["event_id"] == said["head"]
        assert client.messages(topic_id=said["topic_id"]).messages[0].content_raw == '{"some": "body"}'
    with HubClient(f"{host.url}/hub", TOKEN) as client, client.stream(0) as again:
        ids = [next(again).event_id for _ in range(said["head"])]
    assert ids == list(range(1, said["head"] + 1))
    eventually(lambda: len(host.call("GET", "/seen").json()) >= said["head"], 10, "the host's thread")


@pytest.mark.slow
def test_the_hosts_own_websocket_keeps_its_options(host: Host) -> None:
    with connect(f"{host.ws_url}/echo", compression=None) as socket:
        socket.send("hello")
        assert socket.recv(10) == "7 hello"


def test_an_after_request_function_that_fails_costs_no_slot_and_writes_nothing_into_a_socket(host: Host) -> None:
    for _ in range(6):  # one more than there are slots
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{host.ws_url}/hub/ws?token={TOKEN}", additional_headers={"X-Fail-After": "1"}).close()
        assert refused.value.response.status_code == 500
    with connect(f"{host.ws_url}/hub/ws?token={TOKEN}", compression=None) as socket:
        socket.send(json.dumps({"type": "hello", "after_event_id": 0, "subscriptions": None}))
        assert json.loads(socket.recv(10))["type"] == "hello_ok"


def test_sockets_are_counted_until_they_are_gone(host: Host) -> None:
    with connect(f"{host.ws_url}/hub/ws?token={TOKEN}", compression=None):
        eventually(lambda: host.call("GET", "/count").json() == 1, 10, "the socket")
    eventually(lambda: host.call("GET", "/count").json() == 0, 10, "its end")


def test_a_call_that_waits_is_woken_and_whoever_hangs_up_gives_the_slot_back(host: Host) -> None:
    cursor = host.call("GET", "/hub/api/v1/events?tail=1").json()["replay_until"]
    path = f"/hub/api/v1/events?after={cursor}&wait="
    with dial(host.port) as sock:
        sock.sendall(head("GET", f"{path}40"))
        parked(sock)
        said = host.call("POST", "/say", {}, X_Name=f"wait-{host.server}").json()
        assert read_answer(sock).json()["replay_until"] in range(cursor + 1, said["head"] + 1)
    path = f"/hub/api/v1/events?after={said['head']}&wait="
    for _ in range(6):  # one more than there are slots
        with dial(host.port) as sock:
            sock.sendall(head("GET", f"{path}40"))
            parked(sock)
        eventually(lambda: host.call("GET", "/waiting").json() is False, 10, "a free slot")


def test_a_stream_of_events_is_replayed_and_live_and_gives_its_slot_back(host: Host) -> None:
    failures = host.log().count("Traceback")
    said = host.call("POST", "/say", {}, X_Name=f"stream-{host.server}").json()
    for _ in range(6):  # one more than there are slots
        with EventReader(host.port, f"after={said['head'] - 3}", prefix="/hub") as stream:
            assert stream.status == "HTTP/1.1 200 OK"
            assert "X-Host: was here" in stream.lines
            assert len(stream.ids(said["head"])) == 3
            eventually(lambda: host.call("GET", "/count").json() == 1, 10, "the stream")
        eventually(lambda: host.call("GET", "/waiting").json() is False, 10, "its end")
    with EventReader(host.port, f"after={said['head']}", prefix="/hub") as stream:
        live = host.call("POST", "/say", {}, X_Name=f"live-{host.server}").json()["head"]
        assert stream.ids(live) == list(range(said["head"] + 1, live + 1))
    eventually(lambda: host.call("GET", "/waiting").json() is False, 10, "its end")
    with dial(host.port) as sock:
        sock.sendall(head("HEAD", "/hub/api/v1/events/stream"))
        answer = read_answer(sock)
        assert (answer.status, answer.headers["Content-Type"].split(";")[0]) == (200, "text/event-stream")
    assert host.log().count("Traceback") == failures


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_the_host_may_end_its_hub_and_goes_on(server: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        Host(server, tmp_path_factory.mktemp("host")) as host,
        connect(f"{host.ws_url}/hub/ws?token={TOKEN}", compression=None) as socket,
    ):
        socket.send(json.dumps({"type": "hello", "after_event_id": 0}))
        assert json.loads(socket.recv(10))["type"] == "hello_ok"
        assert host.call("GET", "/close").json() == []
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(20)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001
        for path in ("/hub/api/v1/channels", "/hub/health", "/hub/ws"):
            answer = host.call("GET", path)
            assert (answer.status_code, answer.json()["code"]) == (503, "SHUTTING_DOWN")
        assert host.call("GET", "/count").json() == 0
        assert host.call("GET", "/").status_code == 200
    assert "Traceback" not in host.log()


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_a_damaged_database_costs_the_host_nothing(server: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("host")
    (folder / "hub.sqlite3").write_bytes(b"no database at all" * 1000)
    with Host(server, folder, HOST_FOLLOWS="no", GUNICORN_CMD_ARGS="-c /dev/null") as host:  # as hosts run it
        for _ in range(60):
            answer = host.call("GET", "/hub/api/v1/channels")
            assert (answer.status_code, answer.json()["details"]) == (503, {"reason": "database unusable"})
        assert host.call("GET", "/close").json() == []
    assert "Traceback" not in host.log()


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_it_ends_at_sigterm_with_sockets_open_and_no_traceback(
    server: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        Host(server, tmp_path_factory.mktemp("host")) as host,
        connect(f"{host.ws_url}/hub/ws?token={TOKEN}", compression=None) as socket,
    ):
        socket.send(json.dumps({"type": "hello", "after_event_id": 0}))
        assert json.loads(socket.recv(10))["type"] == "hello_ok"
        eventually(lambda: host.call("GET", "/count").json() == 1, 10, "the socket")
        host.process.terminate()
        with pytest.raises(ConnectionClosed):
            socket.recv(20)
    assert "Traceback" not in host.log()


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity, chunked"])
def test_no_coding_but_chunked_is_taken_for_it(host: Host, coding: str) -> None:
    body = json_head("/hub/api/v1/channels", None).replace(b"chunked", coding.encode()) + b"2\r\n{}\r\n0\r\n\r\n"
    with dial(host.port) as sock:
        sock.sendall(body + head("GET", "/hub/health"))
        answer = read_answer(sock)
        assert (answer.status, answer.code) == (501, "INVALID_INPUT")
        assert is_over(sock)


@pytest.mark.parametrize("length", ["+2", "-2", "2,2", "x", pytest.param("1_0", marks=pytest.mark.slow), "0x2"])
@pytest.mark.parametrize("path", ["/hub/api/v1/_ping", "/hub/api/v1/channels"])
def test_a_length_that_is_none_is_not_taken_for_no_body(host: Host, length: str, path: str) -> None:
    with dial(host.port) as sock:
        sock.sendall(head("POST", path, "Content-Type: application/json", f"Content-Length: {length}") + b"{}")
        assert read_answer(sock).status == 400
        assert is_over(sock)


def test_a_length_and_chunks_are_one_too_many(host: Host) -> None:
    with dial(host.port) as sock:
        sock.sendall(json_head("/hub/api/v1/_ping", None, "Content-Length: 2") + b"2\r\n{}\r\n0\r\n\r\n")
        if host.server == "pywsgi":  # goes by the chunks, and tells nobody of the length
            assert read_answer(sock).status == 200
        else:
            assert read_answer(sock).status == 400
            assert is_over(sock)
