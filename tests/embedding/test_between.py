"""WebSockets among what a host puts around its application: failing hooks, middlewares, classes of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidHandshake
from websockets.sync.client import connect

from ..running_hub import TOKEN, eventually
from ..server.raw_socket import CLOSE, RawSocket, upgrade_request
from .servers import SERVERS, SINGLE, THREE_THREADS, Host

SLOTS = 5


@pytest.fixture(scope="module", params=SERVERS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with Host(request.param, tmp_path_factory.mktemp("host"), AGENTLIP_MAX_CONNECTIONS=str(SLOTS)) as running:
        yield running


def opened(host: Host, headers: str = "") -> RawSocket:
    return RawSocket(host, path="/hub/ws", headers=headers)


@pytest.mark.parametrize(
    "header",
    [
        "X-Fail-After: 1",
        "X-Fail: teardown_request",
        "X-Fail: teardown_appcontext",
        "X-Fail: request_tearing_down",
        "X-Fail: appcontext_tearing_down",
        "X-Between: raising",
        "X-Between: replacing",
    ],
)
def test_a_socket_that_the_host_does_not_let_through_takes_no_slot(host: Host, header: str) -> None:
    name, _, value = header.partition(": ")
    for _ in range(SLOTS + 1):
        url = f"{host.ws_url}/hub/ws?token={TOKEN}"
        with pytest.raises(InvalidHandshake), connect(url, additional_headers={name: value}):
            pass
    with opened(host) as raw:
        assert raw.hello()["type"] == "hello_ok"


@pytest.mark.parametrize("between", ["nothing", "generator", "closing", "joining"])
def test_a_socket_ends_like_any_other_response_and_without_http_in_its_stream(host: Host, between: str) -> None:
    ends = host.log().count("closed by the server")
    for _ in range(SLOTS + 1):
        with opened(host, f"X-Between: {between}\r\n") as raw:
            assert raw.hello(10**6)["type"] == "hello_ok"
            raw.send(CLOSE, b"\x03\xe8")
            assert raw.read_close(answer=False)[0] == 1000
            assert raw.is_silent_to_the_end()
        eventually(lambda: host.call("GET", "/count").json() == 0, 10, "the end of the socket")
    assert "the middleware saw" not in host.log()
    assert "StopIteration" not in host.log()
    if between in ("nothing", "closing"):  # the other two do not pass the call of `close` on
        ends += (SLOTS + 1) * (1 + (between == "closing"))
        eventually(lambda: host.log().count("closed by the server") == ends, 10, "the server's calls of `close`")


def test_those_who_come_in_at_once_are_let_in_up_to_the_limit_and_the_rest_is_told(host: Host) -> None:
    eventually(lambda: host.call("GET", "/count").json() == 0, 10, "the end of other sockets")
    with contextlib.ExitStack() as stack:
        socks = []
        for _ in range(SLOTS + 3):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", host.port), 10))
            sock.sendall(upgrade_request(path="/hub/ws", headers="X-Between: late\r\n"))
            socks.append(sock)
        answers = []
        for sock in socks:
            answer = http.client.HTTPResponse(sock)
            answer.begin()
            answers.append(answer.status)
            if answer.status == 503:
                assert answer.headers["Retry-After"] == "1"
                assert json.loads(answer.read())["details"]["reason"] == "connection limit"
        assert sorted(answers) == [101] * SLOTS + [503] * 3


def test_a_host_may_read_the_body_that_an_upgrade_does_not_have(host: Host) -> None:
    with opened(host, "X-Read: 1\r\n") as raw:
        assert raw.hello(10**6)["type"] == "hello_ok"


def test_nothing_of_this_is_an_error_to_the_server(host: Host) -> None:
    with opened(host) as raw:
        raw.reset()
    with opened(host) as raw:
        raw.hello()
        raw.reset()
    eventually(lambda: host.call("GET", "/count").json() == 0, 10, "the end of the sockets")
    log = host.log().split("Traceback")
    assert [part for part in log[1:] if "RuntimeError: " not in part] == []  # but for the host's own


@pytest.mark.parametrize("server", SINGLE)
def test_a_server_that_a_socket_would_stop_refuses_it_and_says_so_once(server: str, tmp_path: Path) -> None:
    with Host(server, tmp_path) as host:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", host.port), 10) as sock:
                sock.sendall(upgrade_request(path="/hub/ws"))
                answer = http.client.HTTPResponse(sock)
                answer.begin()
                assert (answer.status, json.loads(answer.read())["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert host.call("GET", "/hub/api/v1/events?wait=40").status_code == 503
        assert host.call("GET", "/hub/health").status_code == 200
        assert host.log().count("No WebSocket is let in") == 1


def test_the_last_thread_is_never_a_websockets(tmp_path: Path) -> None:
    with Host(THREE_THREADS, tmp_path) as host, opened(host) as first, opened(host):
        with pytest.raises(AssertionError, match=r"HTTP/1\.1 503"):
            opened(host)
        assert host.call("GET", "/hub/health").status_code == 200
        first.reset()
        eventually(lambda: host.call("GET", "/count").json() == 1, 10, "the end of the socket")
        with opened(host):
            pass
        assert host.log().count("Only 2 WebSockets are let in") == 1
