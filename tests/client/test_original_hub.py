"""Streams of a hub that reads the token out of the URL alone: found out once, and never for a token that is wrong."""

from __future__ import annotations

import logging
import socket

import pytest

from agentlip.client import HubClient
from agentlip.errors import InvalidAuth, MissingAuth

from ..running_hub import TOKEN as OURS
from ..running_hub import Hub
from .odd_server import raw, serving
from .original_hub import TOKEN, original_hub
from .test_errors import assert_no_token

_PLAIN = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\n\r\nUnauthorized"


def test_the_token_goes_into_the_url_when_the_header_is_not_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with original_hub() as hub, HubClient(hub.url, TOKEN).stream() as events:
        assert [next(events).event_id for _ in range(3)] == [1, 2, 3]
        assert events._connection is not None
        events._connection.close()
        assert events.next(timeout=2) is None
    assert [path.partition("=")[0] for path in hub.paths] == ["/ws", "/ws?token", "/ws?token"]
    of_the_client = [each.getMessage() for each in caplog.records if each.name != "websockets.server"]
    assert not [line for line in of_the_client if TOKEN in line or "with%26odd" in line]


def test_a_token_that_such_a_hub_does_not_know(hub: Hub) -> None:
    with original_hub() as stranger, HubClient(stranger.url, OURS).stream() as events:
        with pytest.raises(InvalidAuth) as caught:
            next(events)
        assert type(caught.value) is InvalidAuth
        assert_no_token(caught.value)
    assert len(stranger.paths) == 2


def test_no_token_is_told_as_that() -> None:
    with original_hub() as hub, HubClient(hub.url).stream() as events, pytest.raises(MissingAuth) as caught:
        next(events)
    assert type(caught.value) is MissingAuth
    assert hub.paths == ["/ws"]


@pytest.mark.parametrize("code", ["INVALID_AUTH", None])
def test_a_wrong_token_is_shown_once_to_a_hub_that_has_read_it(code: str | None) -> None:
    body = b'{"error": "x", "code": "INVALID_AUTH"}'
    ours = b"HTTP/1.1 401 X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    lines: list[bytes] = []
    answer = raw(ours if code else _PLAIN)

    def serve(sock: socket.socket) -> None:
        lines.append(sock.recv(65536, socket.MSG_PEEK).split(b"\r\n")[0])
        answer(sock)

    with serving(serve) as url, HubClient(url, OURS).stream() as events, pytest.raises(InvalidAuth):
        next(events)
    in_url = b"GET /ws?token=%s HTTP/1.1" % OURS.encode()
    assert lines == [b"GET /ws HTTP/1.1"] + ([] if code else [in_url])


def test_our_hub_refuses_a_wrong_token_once(hub: Hub) -> None:
    with HubClient(hub.url, "wrong-token").stream() as events, pytest.raises(InvalidAuth):
        next(events)
    assert "?token=" not in hub.log()


def test_the_library_never_logs_what_is_sent(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets.client").setLevel(logging.DEBUG)
    with HubClient(hub.url, OURS) as client, client.stream() as events:
        client.create_channel("logged")
        next(events)
    assert OURS not in caplog.text
