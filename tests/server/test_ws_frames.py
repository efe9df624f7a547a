"""Broken and hostile frames: the socket they came on is closed, everybody else is served on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from ..running_hub import Hub
from .raw_socket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawSocket,
    frame,
    upgrade_request,
)

PROTOCOL_ERROR, INVALID_UTF8 = (1002, "Protocol error"), (1007, "Invalid UTF-8")


@pytest.fixture(scope="module")
def topic_id(hub: Hub) -> str:
    return hub.make_topic()[1]


@pytest.fixture(autouse=True)
def _others_are_served(hub: Hub, topic_id: str) -> Iterator[None]:
    """An older listener and a new one both work after each test, and the log has no traceback."""
    head = hub.post(topic_id)["event_id"]
    with hub.listen(head) as (older, _answer):
        yield
        last = hub.post(topic_id)["event_id"]
        assert json.loads(older.recv(timeout=5))["event_id"] == last
    with hub.listen(last - 1) as (newer, _answer):
        assert json.loads(newer.recv(timeout=5))["event_id"] == last
    assert "Traceback" not in hub.log()


BROKEN = {
    "an unmasked text": (frame(TEXT, b"{}", mask=False), PROTOCOL_ERROR),
    "an unmasked ping": (frame(PING, mask=False), PROTOCOL_ERROR),
    "RSV1, as deflate would set it": (frame(TEXT, b"{}", reserved=4), PROTOCOL_ERROR),
    "RSV2": (frame(TEXT, b"{}", reserved=2), PROTOCOL_ERROR),
    "RSV3 on a ping": (frame(PING, reserved=1), PROTOCOL_ERROR),
    "reserved opcode 3": (frame(3, b"x"), PROTOCOL_ERROR),
    "reserved opcode 7": (frame(7), PROTOCOL_ERROR),
    "reserved opcode 11": (frame(11), PROTOCOL_ERROR),
    "reserved opcode 15": (frame(15, b"x"), PROTOCOL_ERROR),
    "a lone continuation": (frame(CONTINUATION, b"x"), PROTOCOL_ERROR),
    "a lone unfinished continuation": (frame(CONTINUATION, b"x", fin=False), PROTOCOL_ERROR),
    "a text inside a fragmented text": (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), PROTOCOL_ERROR),
    "a binary inside a fragmented text": (frame(TEXT, b"{", fin=False) + frame(BINARY, b"}"), PROTOCOL_ERROR),
    "a ping of 126 bytes": (frame(PING, bytes(126)), PROTOCOL_ERROR),
    "a ping of 70000 bytes": (frame(PING, bytes(70_000)), PROTOCOL_ERROR),
    "a close of 126 bytes": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), PROTOCOL_ERROR),
    "a fragmented ping": (frame(PING, b"x", fin=False), PROTOCOL_ERROR),
    "a fragmented close": (frame(CLOSE, b"\x03\xe8", fin=False), PROTOCOL_ERROR),
    "a long form of a short length": (b"\x81\xfe\x00\x05abcdxxxxx", PROTOCOL_ERROR),
    "a longer form of a short length": (b"\x81\xff" + (5).to_bytes(8, "big") + b"abcdxxxxx", PROTOCOL_ERROR),
    "a length with the highest bit": (b"\x81\xff\x80" + bytes(7) + b"abcdxxxxx", PROTOCOL_ERROR),
    "invalid UTF-8": (frame(TEXT, b'{"type":"\xff"}'), INVALID_UTF8),
    "a lone surrogate in UTF-8": (frame(TEXT, b"\xed\xa0\x80"), INVALID_UTF8),
    "an overlong NUL": (frame(TEXT, b"\xc0\x80"), INVALID_UTF8),
    "UTF-8 that ends in the middle": (frame(TEXT, b'"\xc3'), INVALID_UTF8),
    "invalid UTF-8 in a fragment": (frame(TEXT, b"ok", fin=False) + frame(CONTINUATION, b"\xff"), INVALID_UTF8),
    "a cut character at the end of fragments": (
        frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b""),
        INVALID_UTF8,
    ),
}


@pytest.mark.parametrize("greeted", [False, True], ids=["before hello", "after hello"])
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_frame_closes_the_socket_it_came_on(hub: Hub, what: str, greeted: bool) -> None:
    data, close = BROKEN[what]
    with RawSocket(hub) as raw:
        if greeted:
            raw.hello(1e300)
        raw.send_what_the_hub_takes(data)
        assert raw.read_close() == close


@pytest.mark.parametrize(
    "payload",
    [b"\x03", b"\x03\xed", b"\x03\xee", b"\x03\xf7", b"\x00\x00", b"\x03\xe7", b"\xff\xff"],
    ids=["one byte", "1005", "1006", "1015", "0", "999", "65535"],
)
def test_a_close_frame_with_an_impossible_code_is_a_protocol_error(hub: Hub, payload: bytes) -> None:
    with RawSocket(hub) as raw:
        raw.send(CLOSE, payload)
        assert raw.read_close() == PROTOCOL_ERROR


def test_a_close_reason_that_is_no_utf8_ends_the_connection(hub: Hub) -> None:
    with RawSocket(hub) as raw:
        raw.send(CLOSE, b"\x03\xe8\xff\xfe")
        assert raw.read_close() == (1007, "Invalid UTF-8")


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_a_clients_close_is_answered_with_its_own_code_and_then_the_connection_ends(hub: Hub, code: int) -> None:
    with RawSocket(hub) as raw:
        raw.hello(1e300)
        raw.send(CLOSE, code.to_bytes(2, "big") + "tschüß".encode())
        assert raw.read_close(answer=False)[0] == code
        with pytest.raises((EOFError, ConnectionError)):
            raw.read_frame()


def test_an_empty_close_is_answered(hub: Hub) -> None:
    with RawSocket(hub) as raw:
        raw.send(CLOSE)
        assert raw.read_frame() == (CLOSE, b"")


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(125)), b"\xff" * 125], ids=len)
@pytest.mark.parametrize("greeted", [False, True], ids=["before hello", "after hello"])
def test_a_ping_is_answered_with_its_payload(hub: Hub, payload: bytes, greeted: bool) -> None:
    with RawSocket(hub) as raw:
        if greeted:
            raw.hello(1e300)
        raw.send(PING, payload)
        assert raw.read_frame() == (PONG, payload)


def test_pings_between_the_fragments_of_hello_are_answered(hub: Hub) -> None:
    with RawSocket(hub) as raw:
        raw.send(TEXT, b'{"type":"hello",', fin=False)
        raw.send(PING, b"in between")
        assert raw.read_frame() == (PONG, b"in between")
        raw.send(CONTINUATION, b'"after_event_id":1e300}')
        assert json.loads(raw.read_frame()[1])["type"] == "hello_ok"


def test_a_character_cut_by_a_fragment_is_whole_again(hub: Hub) -> None:
    with RawSocket(hub) as raw:
        raw.send(TEXT, b'{"type":"hello","after_event_id":1e300,"x":"\xf0\x9f', fin=False)
        raw.send(CONTINUATION, b"\x98", fin=False)
        raw.send(CONTINUATION, b'\x80"}')
        assert json.loads(raw.read_frame()[1])["type"] == "hello_ok"


def test_pongs_nobody_asked_for_are_ignored(hub: Hub) -> None:
    with RawSocket(hub) as raw:
        raw.send(PONG, b"unasked")
        assert raw.hello(1e300)["type"] == "hello_ok"


def test_a_flood_of_empty_fragments_is_ended(hub: Hub) -> None:
    with RawSocket(hub) as raw:
        raw.send(TEXT, fin=False)
        raw.send_what_the_hub_takes(frame(CONTINUATION, fin=False) * 200_000)
        assert raw.read_close() == (1008, "Too many frames")


def test_others_are_served_while_a_flood_is_thrown_away(hub: Hub) -> None:
    flood = frame(CONTINUATION, fin=False) * 300_000
    with RawSocket(hub) as raw, ThreadPoolExecutor(1) as pool:
        raw.send(TEXT, fin=False)
        sending = pool.submit(raw.send_what_the_hub_takes, flood)
        slowest = 0.0
        while not sending.done():
            started = time.monotonic()
            assert hub.call("GET", "/health").status_code == 200
            slowest = max(slowest, time.monotonic() - started)
        assert raw.read_close() == (1008, "Too many frames")
    assert slowest < 0.6


@pytest.mark.parametrize("opcode", [PING, PONG], ids=["pings", "pongs"])
def test_a_flood_of_control_frames_is_ended(hub: Hub, opcode: int) -> None:
    with RawSocket(hub) as raw:
        raw.hello(1e300)
        raw.send_what_the_hub_takes(frame(opcode, b"x" * 100) * 20_000)
        assert raw.read_close() == (1008, "Too many frames")


def test_a_ping_flood_of_a_client_that_reads_nothing_is_ended(hub: Hub) -> None:
    with RawSocket(hub, receive_buffer=2048) as raw:
        raw.hello(1e300)
        raw.sock.settimeout(5)
        raw.send_what_the_hub_takes(frame(PING, b"x" * 125) * 3000)
        assert raw.read_close() == (1008, "Too many frames")


def test_what_follows_a_fault_is_ignored(hub: Hub) -> None:
    good = frame(TEXT, b'{"type":"hello","after_event_id":0}')
    with RawSocket(hub) as raw:
        raw.send_what_the_hub_takes(frame(TEXT, b"{") + good * 100)
        assert raw.read_to_close() == ([], (1003, "Invalid JSON"))
    with RawSocket(hub) as raw:
        raw.send_what_the_hub_takes(frame(3) + good * 100 + os.urandom(100_000))
        assert raw.read_to_close() == ([], PROTOCOL_ERROR)


class Flood:
    """Sends the same bytes again and again, as fast as the hub takes them, until it hangs up."""

    def __init__(self, raw: RawSocket, data: bytes) -> None:
        self._raw, self._data = raw, data
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._raw.sock.sendall(self._data)

    def is_over(self) -> bool:
        return not self._thread.is_alive()


@pytest.mark.parametrize(
    "data", [frame(PING, b"x" * 100) * 500, frame(BINARY, bytes(10_000)) * 5], ids=["ping", "data"]
)
def test_a_client_that_floods_on_after_its_close_code_is_cut_off_and_starves_nobody(hub: Hub, data: bytes) -> None:
    with RawSocket(hub) as raw:
        raw.send(TEXT, b"{")
        assert raw.read_close(answer=False) == (1003, "Invalid JSON")
        started, slowest = time.monotonic(), 0.0
        flood = Flood(raw, data)
        while not flood.is_over():
            before = time.monotonic()
            assert requests.get(f"{hub.url}/health", timeout=5).status_code == 200
            slowest = max(slowest, time.monotonic() - before)
        assert time.monotonic() - started < 6
        assert slowest < 1


@pytest.mark.parametrize("seed", range(12))
def test_random_bytes_harm_nobody(hub: Hub, seed: int) -> None:
    noise = random.Random(seed).randbytes(20_000)
    with RawSocket(hub) as raw:
        if seed % 2:
            raw.hello(1e300)
        raw.send_what_the_hub_takes(noise)
        raw.sock.shutdown(socket.SHUT_WR) if seed % 3 else None
        try:
            code, _reason = raw.read_close()
        except (EOFError, ConnectionError):
            return  # random bytes may be a Close frame, or an unfinished message and then the end
        assert 1000 <= code <= 4999


@pytest.mark.parametrize("seed", range(8))
def test_damaged_hellos_harm_nobody(hub: Hub, seed: int) -> None:
    """One random byte of a good conversation is changed: whatever it is read as, the hub answers or hangs up."""
    chance = random.Random(seed)
    data = bytearray(
        frame(TEXT, b'{"type":"hello","after_event_id":1e300}') + frame(PING, b"x") + frame(CLOSE, b"\3\xe8")
    )
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    with RawSocket(hub) as raw:
        raw.send_what_the_hub_takes(bytes(data))
        raw.sock.shutdown(socket.SHUT_WR)
        raw.sock.settimeout(5)
        raw.read_to_the_end()


@pytest.mark.parametrize("keep", [1, 3, 7, 20])
def test_a_client_that_vanishes_in_the_middle_of_a_frame_harms_nobody(hub: Hub, keep: int) -> None:
    with RawSocket(hub) as raw:
        raw.send_what_the_hub_takes(frame(TEXT, b'{"type":"hello","after_event_id":0}')[:keep])
        raw.reset()


def test_frames_in_the_same_segment_as_the_upgrade_are_not_lost_silently(hub: Hub) -> None:
    """A client may not send before the 101; if one does, the hub answers or hangs up, and nothing breaks."""
    with socket.create_connection(("127.0.0.1", hub.port), 5) as eager:
        eager.sendall(upgrade_request() + frame(TEXT, b'{"type":"hello","after_event_id":1e300}'))
        assert eager.recv(65536).startswith(b"HTTP/1.1 ")
