"""Bodies of calls: chunks, early ends, those that are refused or never end, and when they are asked to come."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

import pytest

from ..running_hub import Hub
from .calls import API, unique
from .raw_http import CHANNELS, channel_body, check_headers, dial, head, is_over, json_head, read_answer, talk


@pytest.mark.parametrize("lines", [[], ["Content-Type: text/plain"], ["Content-Type: application/json"]], ids=str)
@pytest.mark.parametrize(("chunks", "status"), [(b"", 200), (b"2\r\n{}\r\n", None), (b"1\r\n{\r\n", 400)])
def test_an_optional_body_of_no_chunks_is_no_body(
    hub: Hub, lines: list[str], chunks: bytes, status: int | None
) -> None:
    is_json = lines == ["Content-Type: application/json"]
    expected = (status or 200) if is_json or not chunks else 415
    with dial(hub.port) as sock:
        sock.sendall(head("POST", f"{API}/_ping", "Transfer-Encoding: chunked", *lines) + chunks + b"0\r\n\r\n")
        assert read_answer(sock).status == expected
        sock.sendall(head("GET", "/health"))
        assert read_answer(sock).status == 200


MALFORMED = [
    b"zz\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
    b"5;\r\r\nhello\r\n",
    b"\r\n\r\n",
    b"0x5\r\n",
]


@pytest.mark.parametrize("chunks", MALFORMED, ids=repr)
def test_a_malformed_chunk_is_a_400_and_ends_the_connection(hub: Hub, chunks: bytes) -> None:
    before = hub.log()
    answer = talk(hub, json_head(CHANNELS, None) + chunks + head("GET", CHANNELS))
    assert (answer.status, answer.code) == (400, "INVALID_INPUT")
    assert answer.headers["Connection"] == "close"
    check_headers(answer)
    assert "Traceback" not in hub.log()[len(before) :]


@pytest.mark.parametrize("chunks", MALFORMED, ids=repr)
@pytest.mark.parametrize("token", [None, "wrong"], ids=["no token", "wrong token"])
def test_without_a_token_a_malformed_chunk_is_not_even_looked_at(hub: Hub, chunks: bytes, token: str | None) -> None:
    before = hub.log()
    answer = talk(hub, json_head(CHANNELS, None, token=token) + chunks + head("GET", "/health"))
    assert (answer.status, answer.code) == (401, "INVALID_AUTH" if token else "MISSING_AUTH")
    assert "Traceback" not in hub.log()[len(before) :]


@pytest.mark.parametrize("end", ["shut", "closed"])
def test_a_body_that_ends_early_changes_nothing(hub: Hub, end: str) -> None:
    name = unique()
    with dial(hub.port) as sock:
        sock.sendall(json_head(CHANNELS, 500) + channel_body(name))
        if end == "shut":
            sock.shutdown(socket.SHUT_WR)
            assert read_answer(sock).status == 400
    assert name not in hub.call("GET", CHANNELS).text


@pytest.mark.parametrize(("token", "status"), [("right", 413), (None, 401)])
@pytest.mark.parametrize("lines", [["Connection: close"], []], ids=["close", "keep-alive"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_the_answer_to_a_large_body_arrives(
    hub: Hub, token: str | None, status: int, lines: list[str], chunked: bool
) -> None:
    data = b"x" * (1 << 20)
    shown = {} if token else {"token": None}
    for _ in range(5):
        with dial(hub.port) as sock:
            sock.sendall(json_head(CHANNELS, None if chunked else 20 << 20, *lines, **shown))
            for _ in range(20):
                sock.sendall(b"100000\r\n%s\r\n" % data if chunked else data)
            if chunked:
                sock.sendall(b"0\r\n\r\n")
            answer = read_answer(sock)
            assert answer.status == status
            assert answer.headers["Connection"] == "close"
            assert is_over(sock)


def test_a_small_refused_body_leaves_the_connection_open(hub: Hub) -> None:
    with dial(hub.port) as sock:
        for _ in range(3):
            sock.sendall(json_head(CHANNELS, 20_000, token=None) + b"x" * 20_000)
            answer = read_answer(sock)
            assert (answer.status, answer.headers["Connection"]) == (401, "keep-alive")


def test_an_endless_body_of_a_stranger_holds_nobody_up(hub: Hub) -> None:
    with dial(hub.port) as sock:
        sock.sendall(json_head(CHANNELS, None, token=None))
        piece = b"1\r\nx\r\n" * 20_000
        started = time.monotonic()
        slowest = 0.0
        sock.settimeout(3)
        with contextlib.suppress(ConnectionError, TimeoutError):
            while time.monotonic() - started < 3:
                sock.sendall(piece)
                asked = time.monotonic()
                hub.call("GET", "/health")
                slowest = max(slowest, time.monotonic() - asked)
    assert slowest < 2


@pytest.mark.slow
@pytest.mark.parametrize("size", [100, 8192], ids=["many at once", "one for each read"])
def test_a_stranger_who_never_pauses_holds_nobody_up(hub: Hub, size: int) -> None:
    bare = head("GET", "/health", "X-Padding: ", token=None)
    padded = head("GET", "/health", "X-Padding: " + "x" * max(0, size - len(bare)), token=None)
    piece = padded * (200_000 // len(padded))
    over = threading.Event()

    def ask() -> None:
        with dial(hub.port) as sock:
            reader = threading.Thread(target=_read_all, args=(sock,))
            reader.start()
            with contextlib.suppress(OSError):
                while not over.is_set():
                    sock.sendall(piece)
            sock.shutdown(socket.SHUT_RDWR)
            reader.join()

    stranger = threading.Thread(target=ask)
    stranger.start()
    try:
        time.sleep(0.5)  # the stranger is at it
        slowest = 0.0
        for _ in range(20):
            with dial(hub.port) as sock:
                sock.sendall(head("GET", "/health"))
                started = time.monotonic()
                assert read_answer(sock).status == 200
                slowest = max(slowest, time.monotonic() - started)
    finally:
        over.set()
        stranger.join()
    assert slowest < 3  # the stranger would go on for ever


def test_a_body_of_tiny_chunks_holds_nobody_up(hub: Hub) -> None:
    body = channel_body(unique()).ljust(500_000)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    with dial(hub.port) as sock:
        sender = threading.Thread(target=sock.sendall, args=(json_head(CHANNELS, None) + chunks,))
        sender.start()
        slowest, asked = 0.0, 0
        while not select.select([sock], [], [], 0)[0]:
            started = time.monotonic()
            hub.call("GET", "/health")
            slowest, asked = max(slowest, time.monotonic() - started), asked + 1
        sender.join()
        assert read_answer(sock).status == 201
    assert asked > 1
    assert slowest < 2


def _read_all(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while sock.recv(1 << 20):
            pass


def test_a_body_is_asked_for_when_the_token_is_right(hub: Hub) -> None:
    body = channel_body(unique())
    with dial(hub.port) as sock:
        for status in (201, 400):  # the second exists already
            sock.sendall(json_head(CHANNELS, len(body), "Expect: 100-continue"))
            assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(body)
            assert read_answer(sock).status == status


@pytest.mark.parametrize(
    ("length", "token", "status"), [(100, None, 401), (100, "wrong", 401), (10 << 20, "right", 413)]
)
def test_a_body_that_will_be_refused_is_not_asked_for(hub: Hub, length: int, token: str | None, status: int) -> None:
    shown = {} if token == "right" else {"token": token}
    answer = talk(hub, json_head(CHANNELS, length, "Expect: 100-continue", **shown))
    assert answer.status == status
    assert answer.headers["Connection"] == "close"
