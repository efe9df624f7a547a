"""The hello table of the contract: what is accepted, and with which code and reason the rest is closed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ..running_hub import Hub
from .raw_socket import BINARY, CONTINUATION, TEXT, RawSocket, append_events, close_of, frame, plain_sqlite

LIMIT = 262_144
JSON, HELLO, CURSOR = "Invalid JSON", "Expected hello message", "Invalid after_event_id"
CHANNELS, TOPICS = "Invalid channel subscriptions", "Invalid topic subscriptions"
SUBSCRIPTIONS = "Invalid subscriptions"


def with_cursor(text: str) -> str:
    return f'{{"type":"hello","after_event_id":{text}}}'


def with_subscriptions(text: str) -> str:
    return f'{{"type":"hello","after_event_id":0,"subscriptions":{text}}}'


REFUSED = [
    ("", JSON),
    ("hello", JSON),
    ("{", JSON),
    ("{'type':'hello'}", JSON),
    (with_cursor("0") + "x", JSON),
    (with_cursor("+1"), JSON),
    (with_cursor("01"), JSON),
    ("null", JSON),
    (" null ", JSON),
    ("[" * 100_000, JSON),
    ("[]", HELLO),
    ("1", HELLO),
    ("true", HELLO),
    ('"hello"', HELLO),
    ("{}", HELLO),
    ('[{"type":"hello","after_event_id":0}]', HELLO),
    ('{"type":"Hello","after_event_id":0}', HELLO),
    ('{"type":null,"after_event_id":0}', HELLO),
    ('{"type":["hello"],"after_event_id":0}', HELLO),
    ('{"after_event_id":0}', HELLO),
    ('{"type":"hello"}', CURSOR),
    (with_cursor("null"), CURSOR),
    (with_cursor('"0"'), CURSOR),
    (with_cursor("-1"), CURSOR),
    (with_cursor("-0.5"), CURSOR),
    (with_cursor("-1e300"), CURSOR),
    (with_cursor("-" + "9" * 5000), CURSOR),
    (with_cursor("-1e999"), CURSOR),
    (with_cursor("true"), CURSOR),
    (with_cursor("false"), CURSOR),
    (with_cursor("NaN"), CURSOR),
    (with_cursor("0.5"), CURSOR),
    (with_cursor("3.0000001"), CURSOR),
    (with_cursor("[]"), CURSOR),
    (with_cursor("{}"), CURSOR),
    (with_subscriptions('{"channels":"ch_1"}'), CHANNELS),
    (with_subscriptions('{"channels":{}}'), CHANNELS),
    (with_subscriptions('{"channels":[1]}'), CHANNELS),
    (with_subscriptions('{"channels":["ch_1",null]}'), CHANNELS),
    (with_subscriptions('{"channels":true}'), CHANNELS),
    (with_subscriptions('{"channels":0}'), CHANNELS),
    (with_subscriptions('{"channels":""}'), CHANNELS),
    (with_subscriptions('{"channels":[["ch_1"]],"topics":1}'), CHANNELS),
    (with_subscriptions('{"topics":"topic_1"}'), TOPICS),
    (with_subscriptions('{"topics":{}}'), TOPICS),
    (with_subscriptions('{"channels":["ch_1"],"topics":[1]}'), TOPICS),
    (with_subscriptions('{"channels":null,"topics":false}'), TOPICS),
    (with_subscriptions("[]"), SUBSCRIPTIONS),
    (with_subscriptions('"all"'), SUBSCRIPTIONS),
    (with_subscriptions('""'), SUBSCRIPTIONS),
    (with_subscriptions("1"), SUBSCRIPTIONS),
    (with_subscriptions("0"), SUBSCRIPTIONS),
    (with_subscriptions("true"), SUBSCRIPTIONS),
    (with_subscriptions("false"), SUBSCRIPTIONS),
]

ACCEPTED = [
    with_cursor("0"),
    with_cursor("-0"),
    with_cursor("3.0"),
    with_cursor("1e2"),
    with_cursor("1e300"),
    with_cursor("1e999"),
    with_cursor(str(10**30)),
    with_cursor("9" * 5000),
    with_cursor(str(2**53 + 1)),
    with_cursor(str(2**63 - 1)),
    with_cursor(str(2**63)),
    " \n" + with_cursor("0") + "\t ",
    '{"type":"hello","after_event_id":0,"unknown":[1],"token":null}',
    '{"type":"hello","after_event_id":0,"db_id":null}',
    '{"type":"hello","after_event_id":0,"db_id":{"a":[1]}}',
    '{"type":"bye","type":"hello","after_event_id":-1,"after_event_id":0}',
    with_subscriptions("null"),
    with_subscriptions("{}"),
    with_subscriptions('{"channels":[],"topics":[]}'),
    with_subscriptions('{"channels":null,"topics":null}'),
    with_subscriptions('{"channels":["ch_1","ch_1",""],"topics":["\\u00e9\\ud800\\u0000"]}'),
    with_subscriptions('{"other":1}'),
]


def shown(value: Any) -> str:
    return str(value)[:60] or "(empty)"


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize(("message", "reason"), REFUSED, ids=shown)
def test_a_bad_hello_is_closed_with_1003_and_the_reason_of_the_table(
    hub: Hub, message: str, reason: str, binary: bool
) -> None:
    with hub.connect() as socket:
        socket.send(message.encode() if binary else message)
        assert close_of(socket) == (1003, reason)


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("message", ACCEPTED, ids=shown)
def test_a_good_hello_is_answered_with_hello_ok(hub: Hub, message: str, binary: bool) -> None:
    with hub.connect() as socket:
        socket.send(message.encode() if binary else message)
        answer = socket.recv(timeout=10)
        assert isinstance(answer, str)
        assert json.loads(answer)["type"] == "hello_ok"


def test_bytes_that_are_no_utf8_are_invalid_json(hub: Hub) -> None:
    with hub.connect() as socket:
        socket.send(b'{"type":"hello","after_event_id":0,"x":"\xff\xfe"}')
        assert close_of(socket) == (1003, JSON)


@pytest.mark.parametrize(("depth", "reason"), [(500, HELLO), (100_000, JSON)])
def test_deep_nesting_harms_nobody(hub: Hub, depth: int, reason: str) -> None:
    with hub.connect() as socket:
        socket.send("[" * depth + "]" * depth)
        assert close_of(socket) == (1003, reason)
    with hub.listen():
        assert "Traceback" not in hub.log()


def padded(size: int, letter: str = " ") -> bytes:
    """A hello of exactly `size` bytes of UTF-8."""
    start, end = b'{"type":"hello","after_event_id":0,"x":"', b'"}'
    letters, rest = divmod(size - len(start) - len(end), len(letter.encode()))
    return start + letter.encode() * letters + b" " * rest + end


@pytest.mark.parametrize("letter", [" ", "é", "\U0001f600"])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_hello_of_exactly_the_limit_is_accepted_and_one_byte_more_is_not(hub: Hub, opcode: int, letter: str) -> None:
    with RawSocket(hub) as raw:
        raw.send(opcode, padded(LIMIT, letter))
        assert json.loads(raw.read_frame()[1])["type"] == "hello_ok"
    with RawSocket(hub) as raw:
        raw.send(opcode, padded(LIMIT + 1, letter))
        assert raw.read_close() == (1009, "Message too large")


def fragments(message: bytes, size: int) -> bytes:
    """The message as text frames of `size` bytes, cut wherever it falls."""
    parts = [message[start : start + size] for start in range(0, len(message), size)]
    last = len(parts) - 1
    return b"".join(frame(CONTINUATION if index else TEXT, part, fin=index == last) for index, part in enumerate(parts))


@pytest.mark.parametrize("size", [100, 1023, 65537])
def test_the_limit_counts_the_whole_message_however_it_is_fragmented(hub: Hub, size: int) -> None:
    with RawSocket(hub) as raw:
        raw.sock.sendall(fragments(padded(LIMIT, "é"), size))
        assert json.loads(raw.read_frame()[1])["type"] == "hello_ok"
    with RawSocket(hub) as raw:
        raw.send_what_the_hub_takes(fragments(padded(LIMIT + 1, "é"), size))
        assert raw.read_close() == (1009, "Message too large")


def test_a_message_that_never_ends_is_refused_at_the_limit(hub: Hub) -> None:
    with RawSocket(hub) as raw:
        raw.send_what_the_hub_takes(b"\x81\xff" + (1 << 40).to_bytes(8, "big") + b"abcd" + bytes(LIMIT + 1))
        assert raw.read_close() == (1009, "Message too large")


def test_a_message_too_large_after_hello_is_closed_too(hub: Hub) -> None:
    with RawSocket(hub) as raw:
        raw.hello()
        raw.send(TEXT, b" " * (LIMIT + 1))
        assert raw.read_close() == (1009, "Message too large")


@pytest.mark.parametrize("message", ["", "x", '{"type":"hello","after_event_id":0}', b"", b"\x00\xff"])
def test_any_message_after_hello_is_unexpected(hub: Hub, message: str | bytes) -> None:
    with hub.listen() as (socket, _answer):
        socket.send(message)
        assert close_of(socket) == (1003, "Unexpected message after handshake")


def test_a_message_that_comes_with_hello_in_one_segment_is_unexpected_too(hub: Hub) -> None:
    with RawSocket(hub) as raw:
        raw.sock.sendall(frame(TEXT, with_cursor("1e300").encode()) + frame(TEXT, with_cursor("0").encode()))
        messages, close = raw.read_to_close()
        assert [message["type"] for message in messages] == ["hello_ok"]
        assert close == (1003, "Unexpected message after handshake")


def test_a_hello_sent_byte_by_byte_is_understood(hub: Hub) -> None:
    with RawSocket(hub) as raw:
        for byte in frame(TEXT, with_cursor("0").encode()):
            raw.sock.sendall(bytes([byte]))
        assert json.loads(raw.read_frame()[1])["type"] == "hello_ok"


def test_who_says_nothing_is_closed_after_the_hello_timeout_and_who_has_said_hello_is_not(
    start_hub: Callable[..., Hub],
) -> None:
    hub = start_hub(HELLO_TIMEOUT=0.5)
    with hub.listen() as (greeted, _answer), hub.connect() as silent, RawSocket(hub) as halfway:
        halfway.send(TEXT, b'{"type":', fin=False)
        assert close_of(silent, 5) == (1008, "Hello timeout")
        assert halfway.read_close() == (1008, "Hello timeout")
        last = append_events(hub.db, 1)
        assert json.loads(greeted.recv(timeout=5))["event_id"] == last


def test_hello_ok_of_an_empty_log(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    with hub.listen() as (_socket, answer):
        assert list(answer)[:3] == ["type", "replay_until", "instance_id"]
        assert (answer["replay_until"], answer["oldest_event_id"], answer["recovered"]) == (0, 0, True)
    with hub.listen(1) as (_socket, answer):
        assert (answer["recovered"], answer["reason"]) == (False, "ahead")


def test_hello_ok_names_the_head_the_hub_the_log_and_its_oldest_event(hub: Hub) -> None:
    head = append_events(hub.db, 3)
    health = hub.call("GET", "/health").json()
    with plain_sqlite(hub.db) as connection:
        db_id = connection.execute("SELECT value FROM meta WHERE key = 'db_id'").fetchall()[0][0]
    with hub.listen(head) as (_socket, answer):
        assert list(answer.items()) == [
            ("type", "hello_ok"),
            ("replay_until", head),
            ("instance_id", health["instance_id"]),
            ("db_id", db_id),
            ("oldest_event_id", 1),
            ("recovered", True),
        ]


def test_a_known_epoch_with_a_cursor_in_the_log_is_recovered(hub: Hub) -> None:
    head = append_events(hub.db, 1)
    db_id = hub.call("GET", "/health").json()["db_id"]
    for after in (0, head - 1, head):
        with hub.listen(after, db_id=db_id) as (_socket, answer):
            assert answer["recovered"] is True
            assert "reason" not in answer


@pytest.mark.parametrize("db_id", ["00000000-0000-0000-0000-000000000000", "", 5, ["x"]])
@pytest.mark.parametrize("after", [0, 1, 10**6])
def test_a_cursor_of_another_log_is_told_epoch(hub: Hub, db_id: Any, after: int) -> None:
    append_events(hub.db, 1)
    with hub.listen(after, db_id=db_id) as (_socket, answer):
        assert (answer["recovered"], answer["reason"]) == (False, "epoch")
        assert list(answer)[-2:] == ["recovered", "reason"]


@pytest.mark.parametrize("beyond", [1, 1000, 2**63, 1e300])
def test_a_cursor_above_the_head_is_told_ahead(hub: Hub, beyond: float) -> None:
    head = append_events(hub.db, 1)
    with hub.listen(head + beyond) as (_socket, answer):
        assert (answer["replay_until"], answer["recovered"], answer["reason"]) == (head, False, "ahead")
