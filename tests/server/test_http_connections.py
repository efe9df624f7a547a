"""Connections of strangers and of slow clients: none of them holds what others need, and each gets its answer."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from ..embedding.servers import Certificate
from ..running_hub import Hub, eventually
from .calls import API, unique
from .raw_http import CHANNELS, Answer, channel_body, check_headers, dial, head, is_over, json_head, read_answer, talk

SIGN_IN = "/ui/session"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with little patience."""
    hub = Hub(tmp_path_factory.mktemp("strict"), BODY_TIMEOUT=1, SEND_TIMEOUT=1).start()
    yield hub
    hub.session.close()
    hub.stop()


def resident(hub: Hub) -> int:
    """Bytes of memory that the only worker holds."""
    (pid,) = hub.workers()
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) << 10


def open_sockets(hub: Hub) -> int:
    """How many sockets the only worker has."""
    (pid,) = hub.workers()
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += os.readlink(link).startswith("socket:")
    return found


@pytest.mark.parametrize("first", [b"", b"5\r\n{", b"5"], ids=repr)
@pytest.mark.parametrize(("path", "length"), [(SIGN_IN, 100), (CHANNELS, 100), (SIGN_IN, None)])
def test_a_body_that_never_comes_ends_with_408(strict: Hub, path: str, length: int | None, first: bytes) -> None:
    with dial(strict.port) as sock:
        sock.sendall(json_head(path, length) + first)
        started = time.monotonic()
        answer = read_answer(sock)
        assert 0.9 < time.monotonic() - started < 5
        assert (answer.status, answer.code) == (408, "INVALID_INPUT")
        assert answer.headers["Connection"] == "close"
        check_headers(answer)
        assert is_over(sock)


def test_a_body_that_trickles_ends_with_408(strict: Hub) -> None:
    with dial(strict.port) as sock:
        sock.sendall(json_head(SIGN_IN, 2000))
        started = time.monotonic()
        while not select.select([sock], [], [], 0.1)[0]:
            sock.sendall(b" ")
            assert time.monotonic() - started < 5
        assert read_answer(sock).status == 408


def test_a_large_body_has_more_time(strict: Hub) -> None:
    name = unique()
    body = channel_body(name).ljust(48 * 1024)
    with dial(strict.port) as sock:
        sock.sendall(json_head(CHANNELS, len(body)))
        for at in range(0, len(body), 4096):
            sock.sendall(body[at : at + 4096])
            time.sleep(0.15)  # 1.8 seconds in all
        assert read_answer(sock).status == 201


def test_a_token_is_asked_for_before_the_body(strict: Hub) -> None:
    with dial(strict.port) as sock:
        sock.sendall(json_head(CHANNELS, 100_000, token=None))
        started = time.monotonic()
        assert read_answer(sock).status == 401
        assert time.monotonic() - started < 0.9


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_the_body_of_a_sign_in_is_small(strict: Hub, method: str) -> None:
    answer = strict.call(method, SIGN_IN, {"token": "x" * 5000})
    assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_pipelined_answers_that_nobody_reads_end_the_connection(strict: Hub) -> None:
    with dial(strict.port, 4096) as sock:
        sock.settimeout(8)  # the hub reads no more long before it gives up
        with pytest.raises(ConnectionError):  # noqa: PT012
            while True:
                sock.sendall(head("GET", "/health", token=None) * 200)


@pytest.mark.slow
def test_clients_that_read_no_pages_are_dropped_and_their_memory_is_free(strict: Hub) -> None:
    topic_id = strict.make_topic(unique(), "large")[1]
    for _ in range(40):
        strict.post(topic_id, "x" * 60_000)
    page = head("GET", f"{API}/messages?topic_id={topic_id}&limit=40")
    sockets_before, sizes = open_sockets(strict), []
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(dial(strict.port, 4096)) for _ in range(20)]
            for sock in socks:
                sock.sendall(page * 5)
            for sock in socks:
                assert select.select([sock], [], [], 20)[0], "a page begins"
            eventually(lambda: open_sockets(strict) <= sockets_before, 30, "the end of all of them")
        sizes.append(resident(strict))
    assert sizes[2] - sizes[0] < 64 << 20  # the allocator keeps what the first ones took


@pytest.mark.slow
def test_a_client_that_reads_slowly_gets_everything(strict: Hub) -> None:
    topic_id = strict.make_topic(unique(), "slow")[1]
    for _ in range(40):
        strict.post(topic_id, "x" * 60_000)
    with dial(strict.port, 64 * 1024) as sock:
        sock.sendall(head("GET", f"{API}/messages?topic_id={topic_id}&limit=40", "Connection: close"))
        received, started = 0, time.monotonic()
        while part := sock.recv(65_536):
            received += len(part)
            time.sleep(0.1)
    assert received > 40 * 60_000
    assert time.monotonic() - started > 2  # twice the send timeout


def test_strangers_make_room_for_others(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(MAX_CONNECTIONS=1, BODY_TIMEOUT=60)  # 1,002 connections
    held: list[socket.socket] = []
    with hub.listen() as (listener, _), contextlib.ExitStack() as stack:
        for number in range(1_200):
            sock = stack.enter_context(dial(hub.port))
            held.append(sock)
            if number % 3 == 0:
                sock.sendall(json_head(SIGN_IN, 100, token=None))
            elif number % 3 == 1:
                sock.sendall(json_head(SIGN_IN, 4000, token=None) + b"{")
            else:
                sock.sendall(json_head(SIGN_IN, None, token=None) + b"5\r\n")
        started = time.monotonic()
        assert requests.get(f"{hub.url}/health", timeout=10).status_code == 200
        assert time.monotonic() - started < 5
        hub.make_topic()  # with a token
        assert "channel.created" in str(listener.recv(timeout=5))  # the WebSocket has stayed


UNREADABLE = {
    "nonsense": (b"nonsense\r\n\r\n", 400),
    "a method in lower case": (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no such version": (b"GET /health HTTP/7.1\r\nHost: x\r\n\r\n", 400),
    "a header without a colon": (b"GET /health HTTP/1.1\r\nHost: x\r\nbad\r\n\r\n", 400),
    "a space before the colon": (b"GET /health HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer secret\r\n\r\n", 400),
    "a folded header": (b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n 2\r\n\r\n", 400),
    "two lengths": (b"POST /health HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "length and chunks": (b"POST /health HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "two hosts": (b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "another coding": (b"POST /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: brotli\r\n\r\n", 501),
    "a second coding": (
        head("POST", CHANNELS, "Content-Type: application/json", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
        501,
    ),
    "codings on two lines": (
        head("POST", "/health", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        501,
    ),
    "gzip alone": (head("POST", "/health", "Transfer-Encoding: gzip"), 501),
    "chunks twice": (head("POST", "/health", "Transfer-Encoding: chunked, chunked"), 400),
    "another expectation": (head("POST", "/health", "Expect: the-unexpected"), 417),
    "a long line": (head("GET", "/health?" + "x" * 9000), 414),
    "a long header": (head("GET", "/health", "X-Long: " + "x" * 9000), 431),
    "many headers": (head("GET", "/health", *(f"X-{number}: 1" for number in range(200))), 431),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_can_not_be_read_is_answered_in_json(hub: Hub, name: str) -> None:
    data, status = UNREADABLE[name]
    before = hub.log()
    answer = talk(hub, data)
    assert (answer.status, answer.code) == (status, "INVALID_INPUT")
    assert answer.headers["Connection"] == "close"
    check_headers(answer)
    assert "secret" not in answer.body.decode()
    assert not re.search("Traceback|secret", hub.log()[len(before) :])


def test_a_long_request_line_passes(hub: Hub) -> None:
    query = "&".join(f"topic_id=topic_{number:029}" for number in range(180))
    line = f"GET {API}/events?{query} HTTP/1.1"
    assert 8000 < len(line) <= 8190
    assert hub.call("GET", f"{API}/events?{query}").status_code == 200
    padded = f"{API}/events?x=".ljust(8190 - len("GET  HTTP/1.1"), "x")
    assert hub.call("GET", padded).status_code == 200


def test_slow_headers_end_the_connection(hub: Hub) -> None:
    with dial(hub.port) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\n")
        started = time.monotonic()
        assert is_over(sock)
        assert time.monotonic() - started < 5


class TlsHub(Hub):
    """A hub that does TLS itself."""

    def __init__(self, folder: Path, certificate: Certificate, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self.certificate = certificate

    def environment(self) -> dict[str, str]:
        options = f"--certfile {self.certificate.file} --keyfile {self.certificate.key} --access-logfile /dev/null"
        return super().environment() | {"GUNICORN_CMD_ARGS": options}

    def _healthy(self) -> bool:
        with contextlib.suppress(OSError):
            return self.ask(head("GET", "/health")).status == 200
        return False

    def ask(self, data: bytes) -> Answer:
        with dial(self.port) as sock, self.certificate.trusting().wrap_socket(sock, server_hostname="127.0.0.1") as tls:
            with contextlib.suppress(OSError):
                tls.sendall(data)
            return read_answer(tls)


@pytest.fixture(scope="module")
def tls_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsHub]:
    certificate = Certificate(tmp_path_factory.mktemp("certificate"))
    hub = TlsHub(tmp_path_factory.mktemp("tls"), certificate, BODY_TIMEOUT=1, MAX_CONNECTIONS=1)
    hub.start()
    yield hub
    hub.stop()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (json_head(CHANNELS, 10 << 20) + b"x" * (10 << 20), 413),
        (json_head(CHANNELS, 10 << 20, "Expect: 100-continue"), 413),
        (json_head(CHANNELS, 100, "Expect: 100-continue", token=None), 401),
        (json_head(CHANNELS, None) + b"zz\r\n", 400),
        (json_head(CHANNELS, None, token=None) + b"zz\r\n", 401),
        (UNREADABLE["a long header"][0], 431),
        (UNREADABLE["nonsense"][0], 400),
    ],
)
def test_with_tls_all_is_the_same(tls_hub: TlsHub, data: bytes, status: int) -> None:
    answer = tls_hub.ask(data)
    assert answer.status == status
    check_headers(answer)


@pytest.mark.slow
def test_with_tls_a_body_that_never_comes_ends_the_connection(tls_hub: TlsHub) -> None:
    started = time.monotonic()
    with pytest.raises((OSError, AssertionError)):  # OpenSSL lets nobody answer then
        tls_hub.ask(json_head(CHANNELS, 100))
    assert time.monotonic() - started < 5


@pytest.mark.slow
def test_who_never_ends_the_handshake_of_tls_makes_room(tls_hub: TlsHub) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(1_100):
            stack.enter_context(dial(tls_hub.port))
        assert tls_hub.ask(head("GET", "/health")).status == 200
