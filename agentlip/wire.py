"""The WebSocket protocol as pure functions: hello parsing, hello_ok and the envelope, frame bytes, close codes.

No I/O and no state live here.  docs/protocol.md is the contract; the tests compare the two.
Server frames are never masked and never fragmented (RFC 6455, sections 5.1 and 5.4).
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring as quote
from typing import Any, NamedTuple

from .model import Scope

MAX_MESSAGE_BYTES = 262_144
MAX_IDS = 10_000  # channels and topics of one subscription, together

_MEDIUM = struct.Struct("!BBH").pack  # the head of a frame of 126 to 65,535 bytes
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


class Close(NamedTuple):
    """A close code with its reason, as sent in a Close frame."""

    code: int
    reason: str


TOO_LARGE = Close(1009, "Message too large")
INVALID_JSON = Close(1003, "Invalid JSON")
EXPECTED_HELLO = Close(1003, "Expected hello message")
INVALID_CURSOR = Close(1003, "Invalid after_event_id")
INVALID_CHANNELS = Close(1003, "Invalid channel subscriptions")
INVALID_TOPICS = Close(1003, "Invalid topic subscriptions")
INVALID_SUBSCRIPTIONS = Close(1003, "Invalid subscriptions")
UNEXPECTED_MESSAGE = Close(1003, "Unexpected message after handshake")
HELLO_TIMEOUT = Close(1008, "Hello timeout")
BACKPRESSURE = Close(1008, "backpressure")
SIGNED_OUT = Close(1008, "Signed out")
TOKEN_REVOKED = Close(1008, "Token revoked")
TOO_MANY_FRAMES = Close(1008, "Too many frames")
SHUTTING_DOWN = Close(1001, "Server shutting down")
REPLAY_FAILED = Close(1011, "Internal error during replay")
SEND_FAILED = Close(1011, "Send error")
DATABASE_LOST = Close(1011, "Database unavailable")
PROTOCOL_ERROR = Close(1002, "Protocol error")
INVALID_UTF8 = Close(1007, "Invalid UTF-8")

CLOSES: tuple[Close, ...] = (
    TOO_LARGE, INVALID_JSON, EXPECTED_HELLO, INVALID_CURSOR, INVALID_CHANNELS, INVALID_TOPICS, INVALID_SUBSCRIPTIONS,
    UNEXPECTED_MESSAGE, HELLO_TIMEOUT, BACKPRESSURE, TOO_MANY_FRAMES, SHUTTING_DOWN, REPLAY_FAILED, SEND_FAILED,
    DATABASE_LOST, PROTOCOL_ERROR, INVALID_UTF8, SIGNED_OUT, TOKEN_REVOKED,
)  # fmt: skip


class Hello(NamedTuple):
    """A valid hello. `channels` and `topics` are both None when everything is wanted.

    `after_event_id` may be beyond any 64-bit number; `db_id` is whatever the client sent.
    """

    after_event_id: int | float
    channels: frozenset[str] | None
    topics: frozenset[str] | None
    db_id: Any


def parse_hello(message: str | bytes) -> Hello | Close:
    """Parse the first message of a WebSocket, at most MAX_MESSAGE_BYTES; a Close says what is wrong."""
    try:
        text = message if isinstance(message, str) else message.decode()
        hello = _decode(text)
    except (ValueError, RecursionError):
        return INVALID_JSON
    if hello is None or (isinstance(hello, float) and math.isnan(hello)):
        return INVALID_JSON
    if not isinstance(hello, dict) or hello.get("type") != "hello":
        return EXPECTED_HELLO
    after = _cursor(hello.get("after_event_id"))
    if after is None:
        return INVALID_CURSOR
    if "subscriptions" not in hello:
        return Hello(after, None, None, hello.get("db_id"))
    wanted = hello["subscriptions"]
    if wanted is None:
        wanted = {}
    if not isinstance(wanted, dict):
        return INVALID_SUBSCRIPTIONS
    channels = _ids(wanted.get("channels"))
    if channels is None:
        return INVALID_CHANNELS
    topics = _ids(wanted.get("topics"))
    if topics is None:
        return INVALID_TOPICS
    if len(channels) + len(topics) > MAX_IDS:
        return INVALID_SUBSCRIPTIONS
    return Hello(after, channels, topics, hello.get("db_id"))


def _parse_int(digits: str) -> int | float:
    # int() refuses more than 4300 digits, and takes quadratic time on the way there.
    return int(digits) if len(digits) <= 400 else float(digits)


def _not_a_number(_word: str) -> float:
    return math.nan


# Made once: json.loads and json.dumps make them anew for each call that has options.
_decode = json.JSONDecoder(parse_int=_parse_int, parse_constant=_not_a_number).decode
_encode = json.JSONEncoder(separators=(",", ":")).encode


def _cursor(value: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return None
    if isinstance(value, int) or value == math.inf:
        return value
    return int(value) if value.is_integer() else None


def _ids(value: Any) -> frozenset[str] | None:
    if value is None:
        return frozenset()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return frozenset(value)
    return None


def hello_ok(replay_until: int, instance_id: str, db_id: str, oldest_event_id: int, reason: str | None) -> bytes:
    """The answer to hello; `reason` is None when replay from the cursor is complete."""
    answer: dict[str, Any] = {
        "type": "hello_ok",
        "replay_until": replay_until,
        "instance_id": instance_id,
        "db_id": db_id,
        "oldest_event_id": oldest_event_id,
        "recovered": reason is None,
    }
    if reason is not None:
        answer["reason"] = reason
    return _encode(answer).encode()


def _nullable(text: str | None) -> str:
    return "null" if text is None else quote(text)


def scope_json(scope: Scope) -> str:
    """The scope as it stands in an envelope."""
    channel_id, topic_id, topic_id2 = map(_nullable, scope)
    return f'{{"channel_id":{channel_id},"topic_id":{topic_id},"topic_id2":{topic_id2}}}'


def envelope(
    event_id: int, ts: str, name: str, scope: Scope, entity_type: str, entity_id: str, data_json: str
) -> bytes:
    """The event as clients see it, keys in the order of the contract; `data_json` goes in as it is stored."""
    return envelope_of(event_id, ts, name, scope_json(scope), entity_type, entity_id, data_json)


def envelope_of(
    event_id: int, ts: str, name: str, scope: str, entity_type: str, entity_id: str, data_json: str
) -> bytes:
    """As `envelope`, for a `scope_json` that many events share."""
    return (
        f'{{"type":"event","event_id":{event_id},"ts":{quote(ts)},"name":{quote(name)},"scope":{scope},'
        f'"entity":{{"type":{quote(entity_type)},"id":{quote(entity_id)}}},"data":{data_json}}}'
    ).encode()


def frame(opcode: int, payload: bytes) -> bytes:
    """One whole unmasked frame."""
    return _head(opcode, len(payload)) + payload


def frames(payloads: Iterable[bytes]) -> bytes:
    """Several text frames, one after the other."""
    parts: list[bytes] = []
    for payload in payloads:
        size = len(payload)
        parts += (_MEDIUM(0x80 | TEXT, 126, size) if 125 < size < 65536 else _head(TEXT, size)), payload
    return b"".join(parts)


def _head(opcode: int, size: int) -> bytes:
    if size < 126:
        return bytes((0x80 | opcode, size))
    if size < 65536:
        return _MEDIUM(0x80 | opcode, 126, size)
    return struct.pack("!BBQ", 0x80 | opcode, 127, size)


def close_frame(close: Close) -> bytes:
    return frame(CLOSE, struct.pack("!H", close.code) + close.reason.encode())


def frame_ends(blob: bytes) -> Iterator[int]:
    """The offsets at which the whole frames of `blob` end, ascending; the last is its length."""
    offset = 0
    while offset < len(blob):
        size = blob[offset + 1]
        if size == 126:
            size = 2 + int.from_bytes(blob[offset + 2 : offset + 4], "big")
        elif size == 127:
            size = 8 + int.from_bytes(blob[offset + 2 : offset + 10], "big")
        offset += 2 + size
        yield offset


# ---- Server-sent events (the HTML standard, section 9.2)

_TOP = re.compile(
    rb'\{"type":"event","event_id":(-?[0-9]+),"ts":"(?:[^"\\]|\\.)*","name":("(?:[^"\\]|\\.)*")', re.DOTALL
)
_LINE_END = re.compile(rb"\r\n|\r|\n")
SSE_START = b"retry: 2000\n\n"
SSE_SHUTDOWN = b"event: shutdown\ndata: {}\n\n"


def sse_heartbeat(head: int) -> bytes:
    return b'event: heartbeat\ndata: {"head":%d}\n\n' % head


def sse_events(envelopes: Iterable[bytes]) -> bytes:
    """Several envelopes as server-sent events. No name and no payload of another program can forge a line."""
    parts: list[bytes] = []
    for envelope in envelopes:
        top = _TOP.match(envelope)
        assert top is not None  # it is ours
        event_id, name = top.groups()
        name = re.sub(r"[\r\n\0]", " ", json.loads(name)).encode() if b"\\" in name else name[1:-1]
        if b"\n" in envelope or b"\r" in envelope:  # between tokens: the client puts it together again
            envelope = b"\ndata: ".join(_LINE_END.split(envelope))
        parts += b"id: ", event_id, b"\nevent: ", name, b"\ndata: ", envelope, b"\n\n"
    return b"".join(parts)


def sse_ends(blob: bytes) -> Iterator[int]:
    """The offsets at which the whole events of `blob` end, ascending; the last is its length."""
    offset = 0
    while offset < len(blob):
        offset = blob.index(b"\n\n", offset) + 2
        yield offset
