"""The hub's gunicorn worker answers like gunicorn's own `gevent` worker: raw bytes of both, side by side."""

from __future__ import annotations

import contextlib
import email.utils
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from websockets.sync.client import ClientConnection, connect

from ..running_hub import ROOT, TOKEN, eventually
from . import wsgi_app

OURS, THEIRS = "agentlip.server.gunicorn.worker.Worker", "gevent"
CLOSING = b"GET /known HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Server(NamedTuple):
    process: subprocess.Popen[bytes]
    port: int
    log_path: Path

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")


@contextlib.contextmanager
def gunicorn(folder: Path, worker: str, *options: str, app: str = "wsgi_app:application") -> Iterator[Server]:
    """One gunicorn worker process of the class with wsgi_app.py, or another application from beside it."""
    log_path = folder / f"{worker}.log"
    command = [sys.executable, "-m", "gunicorn", "-k", worker, "-b", "127.0.0.1:0", "--no-control-socket"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, *options, f"tests.server.{app}"],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        listening = eventually(lambda: re.search(r"Listening at: http://127.0.0.1:(\d+)", log_path.read_text()), 20)
        server = Server(process, int(listening[1]), log_path)
        assert talk(server, CLOSING).endswith(b"hello")  # before that a SIGTERM may be lost in the new process
        yield server
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with gunicorn(tmp_path_factory.mktemp("ours"), OURS) as server:
        yield server


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with gunicorn(tmp_path_factory.mktemp("theirs"), THEIRS) as server:
        yield server


def connected(server: Server, receive_buffer: int | None = None) -> socket.socket:
    sock = socket.socket()
    sock.settimeout(10)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect(("127.0.0.1", server.port))
    return sock


def read_to_end(sock: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(1 << 20):
            data += part
    return data


def talk(server: Server, data: bytes) -> bytes:
    """Send all at once and read until the server closes."""
    with connected(server) as sock:
        sock.sendall(data)
        return read_to_end(sock)


def request(path: str, method: str = "GET", version: str = "1.1", body: bytes = b"", *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: x", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def undated(raw: bytes) -> bytes:
    return re.sub(rb"\r\nDate: [^\r]+", b"\r\nDate: now", raw)


def count(server: Server) -> int:
    """How many bodies of the application were closed so far."""
    return int(talk(server, request("/closed", "GET", "1.0")).rpartition(b"\r\n\r\n")[2])


# Not those that never end, differ at each call, or are known to differ (see the tests at the end).
PATHS = sorted(
    set(wsgi_app.ROUTES) - {"/endless", "/large", "/large-chunked", "/lane", "/closed", "/exits", "/text", "/spaced"}
)
PLAIN_PATHS = [
    path for path in PATHS if not re.match(r"/(breaks|unstarted|started|inj|closing-b|bad|not-a|wide)", path)
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("method", "version", "headers"),
    [
        ("GET", "1.1", ["Connection: close"]),
        ("GET", "1.0", []),
        ("HEAD", "1.1", ["Connection: close"]),
        ("HEAD", "1.0", []),
        ("OPTIONS", "1.1", ["Connection: close"]),
    ],
    ids=["1.1", "1.0", "HEAD 1.1", "HEAD 1.0", "OPTIONS"],
)
def test_each_answer_is_the_same(
    ours: Server, theirs: Server, path: str, method: str, version: str, headers: list[str]
) -> None:
    data = request(path, method, version, b"", *headers)
    for turn in ("first", "again"):
        assert undated(talk(ours, data)) == undated(talk(theirs, data)), turn


@pytest.mark.parametrize("path", PATHS)
def test_the_connection_is_kept_as_long(ours: Server, theirs: Server, path: str) -> None:
    data = request(path) + request(path, "HEAD") + CLOSING
    answer = undated(talk(ours, data))
    assert answer == undated(talk(theirs, data))
    assert (answer.count(b"HTTP/1.1 ") == 3) == (path in PLAIN_PATHS)


@pytest.mark.parametrize(
    "data",
    [
        request("/echo", "POST", "1.1", b"some") + request("/echo", "POST", "1.1", b"more") + CLOSING,
        request("/ignores-body", "POST", "1.1", b"x" * 70_000) + CLOSING,
        request("/echo", "POST", "1.1", b"", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n" + CLOSING,
        request("/echo", "POST", "1.1", b"hello", "Expect: 100-continue") + CLOSING,
        request("/known", "GET", "1.0", b"", "Connection: keep-alive") + CLOSING,
        request("/unknown", "GET", "1.0", b"", "Connection: keep-alive") + CLOSING,
        b"".join(request(path) for path in PLAIN_PATHS) + CLOSING,
        request("/known") * 200 + CLOSING,
        b"GET /known HTTP/1.1\r\n\r\n" + CLOSING,
        b"GET /known HTTP/7.1\r\nHost: x\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET /known HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n",
        request("/no-such-route"),
    ],
    ids=range(13),
)
def test_each_conversation_is_the_same(ours: Server, theirs: Server, data: bytes) -> None:
    assert undated(talk(ours, data)) == undated(talk(theirs, data))


def test_the_short_way_is_taken(ours: Server, theirs: Server) -> None:
    data = request("/lane", "GET", "1.0")
    assert talk(ours, data).endswith(b"\r\n\r\nagentlip.server.gunicorn.response")
    assert talk(theirs, data).endswith(b"\r\n\r\ngunicorn.http.wsgi")


@pytest.mark.parametrize("path", ["/known", "/unknown", "/nothing", "/file", "/error", "/dated"])
def test_the_date_is_right_and_there_once(ours: Server, path: str) -> None:
    answer = talk(ours, request(path) + CLOSING)
    dates = re.findall(rb"\r\nDate: ([^\r]+)\r\n", answer)
    assert len(dates) == 2
    for date in dates:
        assert abs(email.utils.parsedate_to_datetime(date.decode()).timestamp() - time.time()) < 3


def test_the_date_goes_on(ours: Server) -> None:
    def date() -> bytes:
        return re.findall(rb"\r\nDate: ([^\r]+)\r\n", talk(ours, request("/known", "GET", "1.0")))[0]

    first = date()
    eventually(lambda: date() != first, 3, "another second")


@pytest.mark.parametrize("path", [path for path in PATHS if path.startswith("/injects")])
def test_a_line_break_in_a_header_is_refused(ours: Server, path: str) -> None:
    talk(ours, request("/known", "GET", "1.0"))  # its header names are known from now on
    answer = talk(ours, request(path, "GET", "1.1", b"", "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"Injected" not in answer


@pytest.mark.parametrize("path", ["/large", "/large-chunked"])
def test_a_large_body_reaches_a_slow_reader_whole_and_holds_nobody_up(ours: Server, path: str) -> None:
    with connected(ours, 4096) as sock:
        sock.sendall(request(path, "GET", "1.1", b"", "Connection: close"))
        assert talk(ours, CLOSING).endswith(b"hello")
        parts = []
        while part := sock.recv(4096):
            parts.append(part)
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    if path == "/large":
        assert (len(body), body) == (wsgi_app.LARGE, body[:16] * (wsgi_app.LARGE // 16))
    else:
        assert b"Transfer-Encoding: chunked" in head
        expected = b"".join(b"10000\r\n%065536d\r\n" % number for number in range(wsgi_app.LARGE // 65536))
        assert body == expected + b"0\r\n\r\n"


@pytest.mark.parametrize("path", ["/closing", "/closing-broken"])
def test_the_body_is_closed_once(ours: Server, path: str) -> None:
    before = count(ours)
    talk(ours, request(path, "GET", "1.1", b"", "Connection: close"))
    eventually(lambda: count(ours) == before + 1, 5, "close()")
    assert count(ours) == before + 1


def test_the_body_is_closed_when_the_peer_goes(ours: Server) -> None:
    before = count(ours)
    with connected(ours) as sock:
        sock.sendall(request("/endless"))
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK")
    eventually(lambda: count(ours) == before + 1, 5, "close()")


def test_errors_of_the_application_are_logged(ours: Server) -> None:
    for path, text in (("/unstarted", "ValueError: before"), ("/breaks-known", "ValueError: middle")):
        talk(ours, request(path, "GET", "1.0"))
        eventually(lambda text=text: text in ours.log(), 5, text)


def test_the_access_log_is_written_when_it_is_on(tmp_path: Path) -> None:
    access = tmp_path / "access.log"
    with gunicorn(tmp_path, OURS, "--access-logfile", str(access)) as server:
        assert talk(server, request("/lane", "GET", "1.0")).endswith(b"gunicorn.http.wsgi"), "gunicorn's own way"
        assert talk(server, CLOSING).endswith(b"hello")
        eventually(lambda: access.read_text().count("\n") == 3, 5, "all lines")
    assert '"GET /known HTTP/1.1" 200 5' in access.read_text()


@pytest.mark.slow
def test_a_worker_ends_after_its_share_of_requests(tmp_path: Path) -> None:
    with gunicorn(tmp_path, OURS, "--max-requests", "3") as server:
        answer = talk(server, request("/known") * 3)
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        assert b"Connection: close" in answer
        eventually(lambda: server.log().count("Booting worker") == 2, 10, "the next worker")
        assert talk(server, CLOSING).endswith(b"hello")


def test_a_connection_is_served_although_the_listening_socket_is_closed_before_it_begins(tmp_path: Path) -> None:
    with gunicorn(tmp_path, "tests.server.closing_worker.ClosingWorker") as server:  # asks once
        assert server.process.poll() is None
    assert "Traceback" not in server.log()


def test_a_body_that_is_text_is_an_error_before_anything_is_sent(ours: Server) -> None:
    assert talk(ours, request("/text") + CLOSING).startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize("path", ["/exits", "/spaced"])
def test_odd_applications_get_what_they_get_from_gunicorn(ours: Server, theirs: Server, path: str) -> None:
    data = request(path) + CLOSING
    for turn in ("first", "again"):
        assert undated(talk(ours, data)) == undated(talk(theirs, data)), turn


@contextlib.contextmanager
def with_a_hub(folder: Path, worker: str, **environment: str) -> Iterator[tuple[Server, ClientConnection]]:
    """forgotten_app.py, and an open WebSocket of its hub."""
    settings = {"FORGOTTEN_DB": str(folder / "db.sqlite3"), "FORGOTTEN_TOKEN": TOKEN, **environment}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in settings.items():
            patched.setenv(name, value)
        with gunicorn(folder, worker, app="forgotten_app:app") as server:
            url = f"ws://127.0.0.1:{server.port}/hub/ws"
            with connect(url, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as websocket:
                websocket.send(json.dumps({"type": "hello", "after_event_id": 0}))
                assert json.loads(websocket.recv(10))["type"] == "hello_ok"
                yield server, websocket


@pytest.mark.parametrize(("worker", "kept"), [(OURS, b"0"), (THEIRS, b"1")])
def test_an_open_websocket_keeps_its_request_in_memory_only_below_other_workers(
    tmp_path: Path, worker: str, kept: bytes
) -> None:
    with with_a_hub(tmp_path, worker) as (server, _):
        assert talk(server, request("/seen", "GET", "1.0")).endswith(b"\r\n\r\n" + kept)


@pytest.mark.parametrize("worker", [OURS, THEIRS])
def test_a_websocket_opens_below_what_passes_on_a_copy_of_the_environment(tmp_path: Path, worker: str) -> None:
    with with_a_hub(tmp_path, worker, FORGOTTEN_COPIES="1") as (server, websocket):
        websocket.close()
        assert websocket.close_code == 1000
    assert "Traceback" not in server.log()
