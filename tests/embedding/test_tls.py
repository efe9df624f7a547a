"""WebSockets where the server itself does TLS: nothing leaves in clear text, and every promise holds as without it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidMessage
from websockets.sync.client import ClientConnection, connect

from ..running_hub import TOKEN, eventually
from ..server.raw_socket import append_events, close_of, ids
from .servers import SERVERS, Certificate, Host

BACKPRESSURE = (1008, "backpressure")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module", params=SERVERS)
def host(
    request: pytest.FixtureRequest, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    with start(request.param, certificate, tmp_path_factory, AGENTLIP_SEND_TIMEOUT="1") as running:
        yield running


def start(server: str, certificate: Certificate, folders: pytest.TempPathFactory, **settings: str) -> Host:
    return Host(server, folders.mktemp("host"), certificate, **settings)


def quiet(context: ssl.SSLContext) -> ssl.SSLContext:
    """Without what TLS 1.3 sends after the handshake.

    This client reads in one thread and writes in another: when the tickets come while it writes, OpenSSL may lose what
    is written, and the client waits forever. The hub's own client, which is tested with TLS 1.3, does not do that.
    """
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@contextlib.contextmanager
def opened(
    host: Host, port: int | None = None, receive_buffer: int | None = None, **options: Any
) -> Iterator[ClientConnection]:
    """A WebSocket over TLS; `receive_buffer` makes the kernel hold little of what the client does not read."""
    assert host.certificate is not None
    with contextlib.ExitStack() as stack:
        for attempt in range(3):
            sock = stack.enter_context(socket.socket())
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.connect(("127.0.0.1", port or host.port))
            # gunicorn gives up a connection whose request does not come within two seconds, on a busy machine, too.
            with contextlib.suppress(*(() if attempt == 2 else (InvalidMessage,))):
                client = stack.enter_context(connect(
                    f"{host.ws_url}/hub/ws?token={TOKEN}", sock=sock, ssl=quiet(host.certificate.trusting()),
                    compression=None, max_size=None, close_timeout=3, **options,
                ))  # fmt: skip
                break
        yield client


def hello(client: ClientConnection, after: int = 0) -> dict[str, Any]:
    client.send(json.dumps({"type": "hello", "after_event_id": after}))
    return dict(json.loads(client.recv(10)))


def receive(client: ClientConnection, count: int) -> list[dict[str, Any]]:
    return [json.loads(client.recv(20)) for _ in range(count)]


class Tap:
    """Passes connections on to the host, and keeps what the host says."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.said = bytearray()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Tap:
        self._start(self._accept)
        return self

    def __exit__(self, *_error: object) -> None:
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _start(self, function: Any, *args: Any) -> None:
        thread = threading.Thread(target=function, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        near, _address = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._target))
        with near, far:
            upwards = threading.Thread(target=self._copy, args=(near, far, bytearray()))
            upwards.start()
            self._copy(far, near, self.said)
            upwards.join(10)

    def _copy(self, source: socket.socket, sink: socket.socket, record: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                record += data
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def kinds_of_records(data: bytes) -> set[int]:
    """Which kinds of TLS records the bytes are made of: 20 to 23. Fails when they are anything else."""
    kinds, offset = set(), 0
    while offset < len(data):
        kind, version, size = data[offset], data[offset + 1 : offset + 3], data[offset + 3 : offset + 5]
        assert version in (b"\x03\x01", b"\x03\x03"), f"no TLS record at {offset}: {data[offset : offset + 40]!r}"
        kinds.add(kind)
        offset += 5 + int.from_bytes(size, "big")
    assert offset == len(data)
    return kinds


def test_all_that_leaves_the_server_is_tls_up_to_the_last_byte(host: Host) -> None:
    last = append_events(host.db, 500, size=1_000)
    with Tap(host.port) as tap, opened(host, tap.port) as client:
        assert hello(client)["replay_until"] == last
        receive(client, last)
        live = append_events(host.db, 1)
        assert ids(receive(client, 1)) == [live]
        assert client.ping().wait(10)
        client.send("a second message")
        assert close_of(client) == (1003, "Unexpected message after handshake")
    assert len(tap.said) > 500_000
    assert kinds_of_records(bytes(tap.said)) <= {20, 21, 22, 23}
    for word in (b"hello_ok", b"host.noted", b"xxxxxxxx", b"Unexpected", b"HTTP/1.1"):
        assert word not in tap.said


def test_a_reader_that_pauses_gets_a_large_replay_whole_and_in_order(host: Host) -> None:
    last = append_events(host.db, 1500, size=6_000)
    with opened(host, receive_buffer=4096, max_queue=4) as client:
        hello(client)
        seen = []
        while not seen or seen[-1] < last:
            seen += ids(receive(client, 1))
            if len(seen) in (1, 300, 900):
                time.sleep(0.5)  # the kernel's buffers and the queue fill up
        assert seen == list(range(1, last + 1))


def test_a_client_that_stops_reading_is_closed_and_nobody_waits_for_it(host: Host) -> None:
    append_events(host.db, 3000, size=3_000)
    with opened(host, receive_buffer=4096, max_queue=4, ping_interval=None) as stalled:
        hello(stalled)
        began = time.monotonic()
        with opened(host) as brisk:
            last = hello(brisk)["replay_until"]
            assert ids(receive(brisk, last)) == list(range(1, last + 1))
        eventually(lambda: time.monotonic() > began + 2, what="the end of the send timeout")
        seen: list[int] = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                seen += ids(receive(stalled, 1))
        assert close_of(stalled) == BACKPRESSURE
        assert seen == list(range(1, len(seen) + 1))
        assert 0 < len(seen) < last


def test_every_way_to_be_closed_arrives_with_its_code(host: Host) -> None:
    for message, code in (("no json", 1003), ("[]", 1003), ("x" * 300_000, 1009), (b"x" * 5_000_000, 1009)):
        with opened(host) as client:
            with contextlib.suppress(ConnectionClosed):
                client.send(message)
            assert close_of(client)[0] == code
    with opened(host) as client:
        hello(client, after=append_events(host.db, 1))
    assert client.close_code == 1000
    with opened(host, max_queue=None) as client:  # in the middle of a replay
        hello(client)
    assert client.close_code == 1000
    eventually(lambda: host.call("GET", "/count").json() == 0, 10, "the end of all sockets")
    assert "Traceback" not in host.log()


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_ends_says_so_over_tls(
    server: str, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with start(server, certificate, tmp_path_factory) as host, opened(host) as client:
        hello(client)
        host.process.terminate()
        with pytest.raises(ConnectionClosed):
            client.recv(20)
    assert "Traceback" not in host.log()
