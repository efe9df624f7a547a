"""HTTP by hand: clients that send what they like, when they like."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any, NamedTuple

import pytest

from ..running_hub import TOKEN, Hub
from .calls import API


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json()["code"])


def dial(port: int, receive_buffer: int | None = None) -> socket.socket:
    sock = socket.socket()
    sock.settimeout(20)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect(("127.0.0.1", port))
    return sock


def head(method: str, path: str, *lines: str, token: str | None = TOKEN) -> bytes:
    """The head of a request; `lines` are more headers."""
    bearer = [] if token is None else [f"Authorization: Bearer {token}"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *bearer, *lines, "", ""]).encode()


def json_head(path: str, length: int | None, *lines: str, token: str | None = TOKEN, method: str = "POST") -> bytes:
    """The head of a call with a JSON body; without a length it comes in chunks."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return head(method, path, "Content-Type: application/json", framing, *lines, token=token)


def channel_body(name: str) -> bytes:
    return json.dumps({"name": name}).encode()


def read_answer(sock: socket.socket) -> Answer:
    """One answer with a Content-Length; what comes behind it must not be there yet."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        assert part, f"the connection ended after {data!r}"
        data += part
    top, _, body = data.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    headers = {name.title(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("Content-Length", 0)):
        part = sock.recv(65536)
        assert part, "the body was cut"
        body += part
    return Answer(int(first.split()[1]), headers, body)


def is_over(sock: socket.socket) -> bool:
    """The hub has ended the connection, in whatever way, and has sent nothing more before."""
    with contextlib.suppress(ConnectionError):
        more = sock.recv(65536)
        assert not more, more
    return True


def parked(sock: socket.socket) -> None:
    """The call on this connection is not answered: it waits by now, or soon will."""
    sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    sock.settimeout(60)


def check_headers(answer: Answer) -> None:
    """What every answer of a hub has."""
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Protocol-Version"] == "v1"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Request-Id"]
    assert "default-src" in answer.headers["Content-Security-Policy"]


def talk(hub: Hub, data: bytes) -> Answer:
    """Send everything, read one answer, and see that the connection ends."""
    with dial(hub.port) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        answer = read_answer(sock)
        assert is_over(sock)
        return answer


CHANNELS = f"{API}/channels"
