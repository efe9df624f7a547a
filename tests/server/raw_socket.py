"""A WebSocket client that may break every rule: it sends what it is told and answers nothing by itself."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import socket
import sqlite3
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from ..running_hub import TOKEN

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_payloads = itertools.count()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True, reserved: int = 0) -> bytes:
    """The bytes of one client frame; `reserved` holds the three RSV bits, RSV1 the highest."""
    size, masked = len(payload), 0x80 if mask else 0
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    if size < 126:
        head += bytes([masked | size])
    elif size < 65536:
        head += struct.pack("!BH", masked | 126, size)
    else:
        head += struct.pack("!BQ", masked | 127, size)
    return head + (apply_mask(payload) if mask else payload)


def apply_mask(payload: bytes) -> bytes:
    """A masking key and the payload masked with it."""
    key = os.urandom(4)
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return key + masked.to_bytes(len(payload), "big")


def upgrade_request(
    token: str = TOKEN, host: str = "127.0.0.1", path: str = "/ws", version: str = "HTTP/1.1", headers: str = ""
) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path}?token={token} {version}\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    ).encode()


class Server(Protocol):
    """A running hub, or an application with one."""

    port: int


class RawSocket:
    """An upgraded connection; `receive_buffer` makes the kernel hold little of what is not read."""

    def __init__(self, hub: Server, receive_buffer: int | None = None, **request: str) -> None:
        self.sock = socket.socket()
        self.sock.settimeout(20)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._buffer = b""
        try:
            self._upgrade(hub.port, request)
        except BaseException:
            self.sock.close()
            raise

    def _upgrade(self, port: int, request: dict[str, str]) -> None:
        self.sock.connect(("127.0.0.1", port))
        self.sock.sendall(upgrade_request(**request))
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head

    def __enter__(self) -> RawSocket:
        return self

    def __exit__(self, *_error: object) -> None:
        self.sock.close()

    def send(self, opcode: int, payload: bytes = b"", **how: Any) -> None:
        self.sock.sendall(frame(opcode, payload, **how))

    def send_what_the_hub_takes(self, data: bytes) -> None:
        """Send; a hub that hangs up meanwhile is no error."""
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(data)

    def hello(self, after: float = 0, **hello: Any) -> dict[str, Any]:
        """Say hello and return hello_ok."""
        self.say_hello(after, **hello)
        return self.read_event()

    def say_hello(self, after: float = 0, **hello: Any) -> None:
        self.send(TEXT, json.dumps({"type": "hello", "after_event_id": after, **hello}).encode())

    def _fill(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError("the hub ended the connection")
        self._buffer += data

    def sip(self, rate: int, seconds: float) -> None:
        """Read so many bytes a second, in small draughts; what they say comes with the next frames."""
        began, taken = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            if taken < passed * rate:
                data = self.sock.recv(100)
                assert data
                self._buffer += data
                taken += len(data)
            else:
                time.sleep(0.01)

    def _read(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._fill()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def read_frame(self) -> tuple[int, bytes]:
        """The next frame; fails when the hub breaks the rules for servers."""
        first, second = self._read(2)
        assert first & 0xF0 == 0x80, "the hub sends whole frames without reserved bits"
        assert second < 0x80, "the hub must not mask"
        size = second
        if size == 126:
            (size,) = struct.unpack("!H", self._read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._read(8))
        return first & 0x0F, self._read(size)

    def read_event(self) -> dict[str, Any]:
        """The next text frame; pings are skipped."""
        while True:
            opcode, payload = self.read_frame()
            if opcode != PING:
                assert opcode == TEXT, (opcode, payload)
                return dict(json.loads(payload))

    def read_close(self, answer: bool = True) -> tuple[int, str]:
        """Skip everything up to the Close frame."""
        return self.read_to_close(answer)[1]

    def read_to_close(self, answer: bool = True) -> tuple[list[dict[str, Any]], tuple[int, str]]:
        """All messages up to the Close frame, and its code and reason."""
        messages = []
        while True:
            opcode, payload = self.read_frame()
            if opcode == TEXT:
                messages.append(json.loads(payload))
            elif opcode == CLOSE:
                if answer:
                    self.send_what_the_hub_takes(frame(CLOSE, payload))
                return messages, (int.from_bytes(payload[:2], "big"), payload[2:].decode())

    def read_until_pong(self) -> list[dict[str, Any]]:
        """Ping, and return all messages that come before the pong."""
        mark, messages = b"mark %d" % next(_payloads), []
        self.send(PING, mark)
        while True:
            opcode, payload = self.read_frame()
            if (opcode, payload) == (PONG, mark):
                return messages
            if opcode == TEXT:
                messages.append(json.loads(payload))

    def is_silent_to_the_end(self) -> bool:
        """Wait for the end of the connection; False when there is anything before it."""
        return not self._buffer and not self.sock.recv(65536)

    def read_to_the_end(self) -> None:
        """Read until the connection is over, in whatever way."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                self.read_frame()

    def reset(self) -> None:
        """Vanish with a TCP reset, whatever waits."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def has_ended(self) -> bool:
        """The hub has ended the connection; what came before that is read and forgotten."""
        self.sock.settimeout(0)
        try:
            while self.sock.recv(1 << 20):
                pass
        except BlockingIOError:
            return False
        except ConnectionError:
            pass
        return True


def close_of(client: ClientConnection, timeout: float = 10) -> tuple[int, str]:
    """Receive until the hub closes; the code and reason it sent."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            client.recv(timeout=timeout)
    received = client.protocol.close_rcvd
    assert received is not None, "the connection ended without a Close frame"
    return received.code, received.reason


@contextlib.contextmanager
def plain_sqlite(db: Path) -> Iterator[sqlite3.Connection]:
    """The hub's file as any other program may open it; each statement commits."""
    connection = sqlite3.connect(db, timeout=20, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def append_events(db: Path, count: int, scope: str = "ch_foreign", size: int = 10) -> int:
    """Append events in one transaction of another program's; returns the last id."""
    row = ("2026-01-02T03:04:05.678Z", "host.noted", scope, "note", "note_1", json.dumps({"text": "x" * size}))
    with plain_sqlite(db) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO events (ts, name, scope_channel_id, entity_type, entity_id, data_json) VALUES (?,?,?,?,?,?)",
            [row] * count,
        )
        last = connection.execute("SELECT max(event_id) FROM events").fetchall()[0][0]
        connection.execute("COMMIT")
    return int(last)


def ids(events: list[dict[str, Any]]) -> list[int]:
    return [event["event_id"] for event in events]


def worker_fds(pid: int) -> int:
    """How many descriptors the process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
