"""The WebSocket protocol as values: hello, envelope, frames, close codes (docs/protocol.md, sections 3 and 4)."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from agentlip import wire
from agentlip.model import Scope

EVERYTHING = (None, None)
NOTHING = (frozenset(), frozenset())


def hello(**fields: Any) -> str:
    return json.dumps({"type": "hello", "after_event_id": 0, **fields})


def raw_cursor(text: str) -> str:
    return f'{{"type":"hello","after_event_id":{text}}}'


@pytest.mark.parametrize(
    "message",
    ["", "{", "hello", "null", " null ", "{'type':'hello'}", b"\xff\xfe", b"{\"a\":\"\xff\"}", "[" * 200_000,
     '{"a":' * 40_000],
    ids=lambda message: repr(message[:12]),
)  # fmt: skip
def test_what_is_not_json_or_is_null_is_invalid_json(message: str | bytes) -> None:
    assert wire.parse_hello(message) == (1003, "Invalid JSON")


@pytest.mark.parametrize(
    "message",
    ["[]", "7", '"hello"', "true", "{}", '{"type":"Hello"}', '{"type":null}', '{"type":["hello"]}', '["hello"]'],
)
def test_json_that_is_no_hello_is_told_so(message: str) -> None:
    assert wire.parse_hello(message) == (1003, "Expected hello message")


@pytest.mark.parametrize(
    "message",
    ['{"type":"hello"}']
    + [raw_cursor(text) for text in ("null", '"5"', "-1", "-0.5", "true", "false", "NaN", "1.5", "[]", "{}", "-1e999")]
    + [raw_cursor("-" + "9" * 5000), raw_cursor("0.1e-300")],
    ids=lambda message: message[:60],
)
def test_a_bad_cursor_is_refused(message: str) -> None:
    assert wire.parse_hello(message) == (1003, "Invalid after_event_id")


@pytest.mark.parametrize(
    ("text", "cursor"),
    [("0", 0), ("-0", 0), ("-0.0", 0), ("7", 7), ("3.0", 3), ("1e3", 1000), ("9223372036854775807", (1 << 63) - 1),
     ("9223372036854775808", 1 << 63), ("1e300", 10**300), ("1e999", float("inf")), ("9" * 400, 10**400 - 1),
     ("9" * 5000, float("inf"))],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
def test_a_whole_number_is_a_cursor_however_large_it_is(text: str, cursor: float) -> None:
    answer = wire.parse_hello(raw_cursor(text))
    assert isinstance(answer, wire.Hello)
    assert answer.after_event_id == pytest.approx(cursor)
    assert not isinstance(answer.after_event_id, bool)


def test_a_whole_float_becomes_an_int() -> None:
    answer = wire.parse_hello(raw_cursor("3.0"))
    assert isinstance(answer, wire.Hello)
    assert isinstance(answer.after_event_id, int)


@pytest.mark.parametrize(
    ("subscriptions", "wanted"),
    [
        (None, NOTHING),
        ({}, NOTHING),
        ({"channels": [], "topics": []}, NOTHING),
        ({"channels": None, "topics": None}, NOTHING),
        ({"other": 7}, NOTHING),
        ({"channels": ["a", "b", "a"]}, (frozenset("ab"), frozenset())),
        ({"topics": ["t"]}, (frozenset(), frozenset("t"))),
        ({"channels": ["a"], "topics": ["t"]}, (frozenset("a"), frozenset("t"))),
        ({"channels": [""]}, (frozenset([""]), frozenset())),
    ],
    ids=lambda value: "ids" if isinstance(value, tuple) else repr(value),  # sets have no order
)
def test_subscriptions_say_what_is_wanted(subscriptions: Any, wanted: Any) -> None:
    assert wire.parse_hello(hello(subscriptions=subscriptions)) == (0, *wanted, None)


def test_without_subscriptions_everything_is_wanted() -> None:
    assert wire.parse_hello(hello()) == (0, *EVERYTHING, None)


@pytest.mark.parametrize(
    ("subscriptions", "reason"),
    [(value, "Invalid subscriptions") for value in ([], "all", 1, True, False, 0, "")]
    + [({"channels": value}, "Invalid channel subscriptions") for value in ("a", {}, 1, False, [1], [None], [["a"]])]
    + [({"topics": value}, "Invalid topic subscriptions") for value in ("a", {}, 1, False, [1], ["t", None])]
    + [({"channels": [1], "topics": [1]}, "Invalid channel subscriptions")],
    ids=repr,
)
def test_bad_subscriptions_are_refused(subscriptions: Any, reason: str) -> None:
    assert wire.parse_hello(hello(subscriptions=subscriptions)) == (1003, reason)


@pytest.mark.parametrize("channels", [0, 1, 4000, wire.MAX_IDS])
def test_the_ids_of_a_subscription_are_bounded_in_all(channels: int) -> None:
    some = [f"c{number}" for number in range(channels)]
    topics = [f"t{number}" for number in range(wire.MAX_IDS - channels)]
    fine = {"channels": some * 2, "topics": topics}
    assert wire.parse_hello(hello(subscriptions=fine)) == (0, frozenset(some), frozenset(topics), None)
    for one_more in ({"channels": some, "topics": [*topics, "x"]}, {"channels": [*some, "x"], "topics": topics}):
        assert wire.parse_hello(hello(subscriptions=one_more)) == (1003, "Invalid subscriptions")


def test_the_cursor_is_checked_before_the_subscriptions() -> None:
    assert wire.parse_hello(hello(after_event_id=-1, subscriptions=7)) == wire.INVALID_CURSOR


@pytest.mark.parametrize("db_id", ["some-id", 7, None, ["x"]])
def test_the_db_id_is_taken_as_it_comes(db_id: Any) -> None:
    answer = wire.parse_hello(hello(db_id=db_id))
    assert isinstance(answer, wire.Hello)
    assert answer.db_id == db_id


def test_a_binary_hello_and_unknown_fields_are_fine() -> None:
    message = hello(subscriptions={"topics": ["ü"]}, more={"x": [1]}).encode()
    assert wire.parse_hello(message) == (0, frozenset(), frozenset("ü"), None)


def payload_of(frame: bytes) -> bytes:
    (end,) = wire.frame_ends(frame)
    assert end == len(frame)
    start = {126: 4, 127: 10}.get(frame[1], 2)
    return frame[start:]


def test_hello_ok_is_one_text_frame_with_the_keys_in_order() -> None:
    frame = wire.frame(wire.TEXT, wire.hello_ok(7, "hub", "db", 1, None))
    assert frame[0] == 0x81
    assert payload_of(frame) == (
        b'{"type":"hello_ok","replay_until":7,"instance_id":"hub","db_id":"db","oldest_event_id":1,"recovered":true}'
    )


@pytest.mark.parametrize("reason", ["epoch", "ahead"])
def test_hello_ok_says_why_replay_is_not_complete(reason: str) -> None:
    answer = json.loads(wire.hello_ok(7, "hub", "db", 1, reason))
    assert (answer["recovered"], answer["reason"]) == (False, reason)


def test_the_envelope_has_its_keys_in_the_order_of_the_contract() -> None:
    made = wire.envelope(7, "T", "message.created", Scope("ch_1", "topic_1"), "message", "msg_1", '{"message": 1}')
    assert made == (
        b'{"type":"event","event_id":7,"ts":"T","name":"message.created",'
        b'"scope":{"channel_id":"ch_1","topic_id":"topic_1","topic_id2":null},'
        b'"entity":{"type":"message","id":"msg_1"},"data":{"message": 1}}'
    )


def test_scope_ids_that_are_absent_are_null() -> None:
    assert json.loads(wire.envelope(1, "", "x", Scope(), "", "", "null"))["scope"] == {
        "channel_id": None,
        "topic_id": None,
        "topic_id2": None,
    }


@pytest.mark.parametrize(
    "text", ['"', "\\", "\n\t\r\0\x1f\x7f", "ü€🎈", "\u2028\u2029", "</script>", '","name":"forged']
)
def test_the_envelope_escapes_every_text(text: str) -> None:
    made = wire.envelope(1, text, text, Scope(text, text, text), text, text, json.dumps([text]))
    assert json.loads(made.decode("utf-8")) == {
        "type": "event",
        "event_id": 1,
        "ts": text,
        "name": text,
        "scope": {"channel_id": text, "topic_id": text, "topic_id2": text},
        "entity": {"type": text, "id": text},
        "data": [text],
    }


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, b"\x81\x00"),
        (1, b"\x81\x01"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_frame_has_the_shortest_length_form(size: int, header: bytes) -> None:
    assert wire.frame(wire.TEXT, b"x" * size) == header + b"x" * size


@pytest.mark.parametrize("opcode", [wire.TEXT, wire.BINARY, wire.CLOSE, wire.PING, wire.PONG])
def test_a_frame_is_final_and_unmasked(opcode: int) -> None:
    made = wire.frame(opcode, b"abc")
    assert made == bytes((0x80 | opcode, 3)) + b"abc"


SIZES = (0, 1, 125, 126, 127, 65535, 65536, 70000)


def test_frame_ends_finds_every_frame_of_a_blob() -> None:
    frames = [wire.frame(wire.TEXT, b"\x7e" * size) for size in SIZES]
    ends = list(wire.frame_ends(b"".join(frames)))
    assert ends == [sum(map(len, frames[: number + 1])) for number in range(len(frames))]


def test_an_empty_blob_has_no_frame() -> None:
    assert list(wire.frame_ends(b"")) == []


# docs/protocol.md, section 4
PROMISED = {
    (1009, "Message too large"),
    (1003, "Invalid JSON"),
    (1003, "Expected hello message"),
    (1003, "Invalid after_event_id"),
    (1003, "Invalid channel subscriptions"),
    (1003, "Invalid topic subscriptions"),
    (1003, "Invalid subscriptions"),
    (1003, "Unexpected message after handshake"),
    (1008, "Hello timeout"),
    (1008, "backpressure"),
    (1001, "Server shutting down"),
    (1011, "Internal error during replay"),
    (1011, "Send error"),
}


def test_every_promised_close_exists() -> None:
    assert set(wire.CLOSES) >= PROMISED


def test_closes_lists_every_close_of_the_module_once() -> None:
    named = [value for value in vars(wire).values() if isinstance(value, wire.Close)]
    assert sorted(wire.CLOSES) == sorted(named)


@pytest.mark.parametrize("close", wire.CLOSES, ids=lambda close: close.reason)
def test_a_close_frame_holds_code_and_reason_in_a_control_frame(close: wire.Close) -> None:
    made = wire.close_frame(close)
    assert made[0] == 0x88
    assert made[1] == len(made) - 2 <= 125
    assert struct.unpack("!H", made[2:4]) == (close.code,)
    assert made[4:].decode() == close.reason


@pytest.mark.parametrize("message", ["NaN", "-Infinity", '{"type":"hello"}'.encode("utf-16"), b'\xff{"type":"hello"}'])
def test_what_is_no_json_in_utf_8_is_invalid_json(message: str | bytes) -> None:
    assert wire.parse_hello(message) == wire.INVALID_JSON
