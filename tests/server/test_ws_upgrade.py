"""The upgrade of `/ws`: who is let in, and what everybody else is answered before any handshake."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import resource
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..running_hub import TOKEN, Hub, eventually
from .raw_socket import RawSocket, upgrade_request

KEY = base64.b64encode(bytes(range(16))).decode()
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": "13"}


@contextlib.contextmanager
def asked(
    hub: Hub, path: str = f"/ws?token={TOKEN}", method: str = "GET", **changes: str | None
) -> Iterator[http.client.HTTPResponse]:
    """The answer to an upgrade request; `changes` replace headers (`_` for `-`), None drops one."""
    headers: dict[str, str | None] = dict(UPGRADE)
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
    try:
        connection.request(method, path, headers={name: value for name, value in headers.items() if value is not None})
        yield connection.getresponse()
    finally:
        connection.close()


def refusal(answer: http.client.HTTPResponse) -> tuple[int, str]:
    """Status and error code of a JSON answer."""
    return answer.status, str(json.loads(answer.read())["code"])


def test_a_valid_request_is_answered_101_with_the_accept_value_of_its_key(hub: Hub) -> None:
    with asked(hub) as answer:
        assert answer.status == 101
        assert answer.headers["Sec-WebSocket-Accept"] == "Bz3qJYTGdOe8gUSpLosEdiLKDrk="  # RFC 6455, 4.2.2
        assert answer.headers["Upgrade"].lower() == "websocket"


def test_permessage_deflate_is_never_negotiated(hub: Hub) -> None:
    with asked(hub, Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits") as answer:
        assert answer.status == 101
        assert answer.headers["Sec-WebSocket-Extensions"] is None


@pytest.mark.parametrize("path", ["/ws", "/ws?token=", "/ws?other=1"])
def test_a_missing_token_is_a_401_before_the_handshake(hub: Hub, path: str) -> None:
    with asked(hub, path) as answer:
        assert answer.headers["Sec-WebSocket-Accept"] is None
        assert refusal(answer) == (401, "MISSING_AUTH")


@pytest.mark.parametrize("token", ["wrong", TOKEN[:-1], TOKEN + "0", TOKEN.upper(), "%C3%A9", "%ff%00", "a" * 4000])
def test_a_wrong_token_is_a_401_before_the_handshake(hub: Hub, token: str) -> None:
    with asked(hub, f"/ws?token={token}") as answer:
        assert answer.headers["Sec-WebSocket-Accept"] is None
        assert refusal(answer) == (401, "INVALID_AUTH")


def test_a_bearer_header_is_accepted_instead_of_the_query(hub: Hub) -> None:
    with asked(hub, "/ws", Authorization=f"Bearer {TOKEN}") as answer:
        assert answer.status == 101


def test_a_wrong_bearer_header_is_a_401(hub: Hub) -> None:
    with asked(hub, "/ws", Authorization="Bearer wrong") as answer:
        assert refusal(answer) == (401, "INVALID_AUTH")


def test_the_token_comes_first_so_strangers_learn_nothing_else(hub: Hub) -> None:
    with asked(hub, "/ws", Origin="https://evil.example", Sec_WebSocket_Key=None) as answer:
        assert refusal(answer) == (401, "MISSING_AUTH")


def test_without_a_configured_token_everybody_gets_503(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(AUTH_TOKEN="")
    for path in ("/ws", "/ws?token=", "/ws?token=anything"):
        with asked(hub, path) as answer:
            assert refusal(answer) == (503, "NO_AUTH_CONFIGURED")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1", "http://127.0.0.1:1", "null", "http://[", "", "127.0.0.1"]
)
def test_another_sites_origin_is_a_403(hub: Hub, origin: str) -> None:
    with asked(hub, Origin=origin) as answer:
        assert answer.status == 403
        assert answer.headers["Sec-WebSocket-Accept"] is None


def test_the_hubs_own_origin_is_let_in(hub: Hub) -> None:
    with asked(hub, Origin=f"http://127.0.0.1:{hub.port}") as answer:
        assert answer.status == 101


def test_a_configured_origin_is_let_in_and_its_neighbours_are_not(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(ALLOWED_ORIGINS="https://app.example https://other.example:8443")
    wanted = {
        "https://app.example": 101,
        "https://other.example:8443": 101,
        "http://app.example": 403,
        "https://app.example:8443": 403,
        "https://app.example.evil.example": 403,
        "https://other.example": 403,
    }
    for origin, status in wanted.items():
        with asked(hub, Origin=origin) as answer:
            assert answer.status == status, origin


def test_a_plain_get_with_the_token_is_a_426_that_names_websocket(hub: Hub) -> None:
    answer = hub.call("GET", "/ws")
    assert answer.status_code == 426
    assert answer.headers["Upgrade"].lower() == "websocket"
    assert "token" not in answer.text.lower()


@pytest.mark.parametrize(
    "key",
    [None, "", "short", "not base64 at all!!!!!!", base64.b64encode(bytes(15)).decode(), KEY + KEY, "é" * 24],
)
def test_a_missing_or_bad_key_is_a_400(hub: Hub, key: str | None) -> None:
    with asked(hub, Sec_WebSocket_Key=key) as answer:
        assert answer.status == 400


@pytest.mark.parametrize("version", [None, "", "8", "12", "14", "thirteen", "13, 8"])
def test_a_bad_version_is_a_426_that_names_the_right_one(hub: Hub, version: str | None) -> None:
    with asked(hub, Sec_WebSocket_Version=version) as answer:
        assert (answer.status, answer.headers["Sec-WebSocket-Version"]) == (426, "13")


@pytest.mark.parametrize("headers", [{}, {"Connection": "close", "Upgrade": None}], ids=["upgrade", "plain"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_other_methods_are_a_400_and_never_upgraded(hub: Hub, method: str, headers: dict[str, Any]) -> None:
    with asked(hub, method=method, **headers) as answer:
        assert answer.status == 400


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Upgrade": "h2c"}, 426), ({"Upgrade": None}, 426), ({"Upgrade": "notwebsocket"}, 426),
        ({"Upgrade": "x-websocket/2"}, 426), ({"Connection": "keep-alive"}, 400), ({"Connection": "no-upgrade"}, 400),
    ],
    ids=str,
)  # fmt: skip
def test_other_upgrades_are_refused(hub: Hub, changes: dict[str, Any], status: int) -> None:
    with asked(hub, **changes) as answer:
        assert answer.status == status


@pytest.mark.parametrize("changes", [{"Upgrade": "WebSocket"}, {"Connection": "keep-alive, Upgrade"}])
def test_header_words_are_compared_as_browsers_send_them(hub: Hub, changes: dict[str, Any]) -> None:
    with asked(hub, **changes) as answer:
        assert answer.status == 101


@pytest.mark.parametrize(
    "request_line_and_headers",
    [
        {"version": "HTTP/1.0"},
        {"headers": "Content-Length: 5\r\n"},
        {"headers": "Transfer-Encoding: chunked\r\n"},
    ],
    ids=str,
)
def test_http_1_0_and_requests_with_a_body_are_a_400(hub: Hub, request_line_and_headers: dict[str, str]) -> None:
    with socket.create_connection(("127.0.0.1", hub.port), 10) as sock:
        sock.sendall(upgrade_request(**request_line_and_headers) + b"0\r\n\r\n")
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert refusal(answer) == (400, "INVALID_INPUT")


def test_an_empty_body_is_none(hub: Hub) -> None:
    with asked(hub, Content_Length="0") as answer:
        assert answer.status == 101


def test_the_limit_of_descriptors_is_the_highest_allowed(start_hub: Callable[..., Hub]) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        hub = start_hub()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    pid = hub.call("GET", "/health").json()["pid"]
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (before[1], before[1])


def test_over_the_limit_is_a_503_and_a_freed_place_is_given_again(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(MAX_CONNECTIONS=3)

    def status() -> int:
        with asked(hub) as answer:
            return answer.status

    with RawSocket(hub), RawSocket(hub):
        with RawSocket(hub):
            with asked(hub) as answer:
                assert int(answer.headers["Retry-After"]) > 0
                assert refusal(answer) == (503, "SERVICE_UNAVAILABLE")
            assert hub.call("GET", "/health").status_code == 200
        eventually(lambda: status() == 101, what="a free place")
    for _ in range(10):  # refused ones and failed ones must not use up places
        with asked(hub, Sec_WebSocket_Key="bad") as answer:
            assert answer.status == 400
    eventually(lambda: status() == 101, what="a free place")


def test_no_refusal_left_a_token_or_a_traceback_in_the_log(hub: Hub) -> None:
    with asked(hub, "/ws?token=secret-guess") as answer:
        assert answer.status == 401
    with asked(hub, Sec_WebSocket_Version="8") as answer:
        assert answer.status == 426
    assert TOKEN not in hub.log()
    assert "secret-guess" not in hub.log()
    assert "Traceback" not in hub.log()
