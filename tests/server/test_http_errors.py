"""What is wrong with a call, said as JSON; never a 500, never a page, and the same headers everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ..running_hub import Hub
from .calls import (
    API,
    READS,
    WRITES,
    Call,
    Place,
    check_error,
    filled,
    head,
    new_message,
    new_place,
    new_topic,
    send,
    send_bytes,
    unique,
)

NOBODY = Place("ch_1", "topic_1", "msg_1")


@pytest.fixture(scope="module")
def place(hub: Hub) -> Place:
    return new_place(hub)


# Routes and methods


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE", "PUT"])
@pytest.mark.parametrize(
    "path",
    [
        "/secret-path", "/api", "/api/v1", "/api/v1/", "/api/v2/channels", f"{API}/secret-path", f"{API}/channels/ch_1",
        f"{API}/topics/a/b/c", "/static/x.js", "/%00", "/api/v1/%ff", "/..%2f..%2fetc/passwd", "/health/x",
    ],
)  # fmt: skip
def test_an_unknown_route_is_not_found(hub: Hub, method: str, path: str) -> None:
    body = check_error(hub.call(method, path), 404, "NOT_FOUND")
    assert "secret" not in str(body)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/health", {"GET"}),
        ("DELETE", "/health", {"GET"}),
        ("GET", f"{API}/_ping", {"POST"}),
        ("DELETE", f"{API}/channels", {"GET", "POST"}),
        ("PATCH", f"{API}/channels", {"GET", "POST"}),
        ("POST", f"{API}/channels/ch_1/topics", {"GET"}),
        ("GET", f"{API}/topics", {"POST"}),
        ("DELETE", f"{API}/topics/topic_1", {"PATCH"}),
        ("PUT", f"{API}/messages", {"GET", "POST"}),
        ("DELETE", f"{API}/messages/msg_1", {"PATCH"}),
        ("POST", f"{API}/messages/msg_1", {"PATCH"}),
        ("PATCH", f"{API}/topics/topic_1/attachments", {"GET", "POST"}),
        ("POST", f"{API}/events", {"GET"}),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(hub: Hub, method: str, path: str, allowed: set[str]) -> None:
    answer = hub.call(method, path)
    check_error(answer, 405, "NOT_FOUND")
    listed = {word.strip() for word in answer.headers["Allow"].split(",")}
    assert allowed <= listed
    assert method not in listed


# Bodies


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"}", b'{"a":}', b"{'a':1}", b'{"a":1,}', b"nonsense", b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}',
        b'{"a":"line\nbreak"}', b'{"a":NaN}', b'{"a":Infinity}', b"\x00", b"null", b"true", b"7", b'"text"', b"[]",
        b'[{"name":"x"}]', b"{}{}", b'{"a":' * 100_000, b"[" * 100_000,
    ],
    ids=lambda data: repr(data)[1:20],
)  # fmt: skip
@pytest.mark.parametrize("call", WRITES[1:], ids=str)
def test_a_body_that_is_no_json_object_is_refused(hub: Hub, place: Place, call: Call, data: bytes) -> None:
    if len(data) > 16_384 and call is WRITES[-1]:
        check_error(send_bytes(hub, call, place, data), 413, "PAYLOAD_TOO_LARGE")
    else:
        check_error(send_bytes(hub, call, place, data), 400, "INVALID_INPUT")


@pytest.mark.parametrize("data", [b"{", b"null", b"[]", b'"text"', b"7", b'{"a":"\xff"}'], ids=repr)
def test_a_ping_that_is_no_json_object_is_refused(hub: Hub, place: Place, data: bytes) -> None:
    check_error(send_bytes(hub, WRITES[0], place, data), 400, "INVALID_INPUT")


def nested(depth: int) -> str:
    return '{"b":' * depth + "1" + "}" * depth


STRANGE_VALUES = {"1e999": ("1e999", 400), "-1e999": ("-1e999", 400)}
STRANGE_VALUES |= {"400 digits": ("1" * 400, 400), "tiny": ("1e-999", 201)}
STRANGE_VALUES |= {f"depth {depth}": (nested(depth), 201) for depth in (200, *range(246, 251))}
STRANGE_VALUES |= {f"depth {depth}": (nested(depth), 400) for depth in (*range(251, 256), 300, 500, 900, 1020, 1500)}


@pytest.mark.parametrize(("value", "status"), STRANGE_VALUES.values(), ids=STRANGE_VALUES)
def test_a_strange_value_in_an_attachment_breaks_neither_its_call_nor_later_reads(
    hub: Hub, value: str, status: int
) -> None:
    place = Place("", new_topic(hub), "")
    data = f'{{"kind":"note","value_json":{{"a":{value}}}}}'.encode()
    answer = send_bytes(hub, WRITES[-1], place, data)
    listed = hub.call("GET", f"{API}/topics/{place.topic}/attachments")
    events = hub.call("GET", f"{API}/events?topic_id={place.topic}&tail=1")
    assert (answer.status_code, listed.status_code, events.status_code) == (status, 200, 200)
    assert len(listed.json()["attachments"]) == (status == 201)


def test_unknown_fields_are_ignored(hub: Hub) -> None:
    body = {"name": unique(), "later": {"version": 2}}
    assert hub.call("POST", f"{API}/channels", body).status_code == 201


def test_errors_do_not_repeat_what_was_sent(hub: Hub, place: Place) -> None:
    for call in WRITES[1:]:
        for field in set(call.body or {}) - {"value_json"}:
            answer = send(hub, call, place, {**(call.body or {}), field: {"my-secret-text": 1}})
            check_error(answer, 400, "INVALID_INPUT")
            assert "my-secret" not in answer.text


# Characters

TEXT_FIELDS = [
    (call, field)
    for call in WRITES
    for field, value in (call.body or {}).items()
    if isinstance(value, str) and field != "content_raw"
]
CONTENT_CALLS = [call for call in WRITES if "content_raw" in (call.body or {})]


@pytest.mark.parametrize("text", ["\x00", "a\x00b"], ids=repr)
@pytest.mark.parametrize(("call", "field"), TEXT_FIELDS, ids=str)
def test_a_nul_in_a_field_is_refused(hub: Hub, place: Place, call: Call, field: str, text: str) -> None:
    before = head(hub)
    check_error(send(hub, call, place, {**(call.body or {}), field: text}), 400, "INVALID_INPUT")
    assert head(hub) == before


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udc00\ud800"], ids=ascii)
@pytest.mark.parametrize(("call", "field"), [*TEXT_FIELDS, *((call, "content_raw") for call in CONTENT_CALLS)], ids=str)
def test_a_lone_surrogate_in_a_field_is_refused(hub: Hub, place: Place, call: Call, field: str, text: str) -> None:
    before = head(hub)
    check_error(send(hub, call, place, {**(call.body or {}), field: text}), 400, "INVALID_INPUT")
    assert head(hub) == before


@pytest.mark.parametrize(
    "value", [{"a": "\ud800"}, {"\ud800": 1}, {"a": [{"b": ["x\udfff"]}]}, {"url": "https://a.b/\ud800"}], ids=ascii
)
def test_a_lone_surrogate_deep_in_an_attachment_is_refused(hub: Hub, place: Place, value: dict[str, Any]) -> None:
    body = {"kind": "note", "value_json": value}
    answer = hub.call("POST", f"{API}/topics/{place.topic}/attachments", body)
    check_error(answer, 400, "INVALID_INPUT")


@pytest.mark.parametrize("extra", [{"extra": "\ud800"}, {"\udc00": 1}], ids=ascii)
def test_a_lone_surrogate_in_an_unknown_field_is_refused(hub: Hub, extra: dict[str, Any]) -> None:
    check_error(hub.call("POST", f"{API}/channels", {"name": unique(), **extra}), 400, "INVALID_INPUT")


@pytest.mark.parametrize(
    "content",
    [
        "\x00", "a\x00b\x00", "".join(map(chr, range(32))), "\x7f\x80\x9f", "\r\n x\r \n", "\u2028x\u2029\ufeff",
        "\ufffe\uffff\ufffd", "😀\U0010ffff", "e\u0301 é", " spaces stay ", '"quoted" \\ \\u0000', "<b>&amp;</b>",
        "\u202eright to left", "'; DROP TABLE messages; --",
    ],
    ids=ascii,
)  # fmt: skip
def test_content_comes_back_exactly(hub: Hub, content: str) -> None:
    topic_id = new_topic(hub)
    message = new_message(hub, topic_id, content)
    assert message["content_raw"] == content
    (listed,) = hub.call("GET", f"{API}/messages?topic_id={topic_id}").json()["messages"]
    assert listed["content_raw"] == content
    (event,) = hub.call("GET", f"{API}/events?topic_id={topic_id}&tail=1").json()["events"]
    assert event["data_json"]["message"]["content_raw"] == content
    edited = hub.call("PATCH", f"{API}/messages/{message['id']}", {"op": "edit", "content_raw": content + "!"})
    assert edited.json()["message"]["content_raw"] == content + "!"


# Queries


@pytest.mark.parametrize(
    "path", [f"{API}/messages?topic_id={{topic}}&", f"{API}/channels/{{channel}}/topics?", f"{API}/events?"]
)
@pytest.mark.parametrize("value", ["x", "0", "-1", "1.5", "1e2", "0x10", "true", "%00", "1%202", "null", "NaN"])
def test_a_limit_that_is_no_number_or_out_of_range_is_refused(hub: Hub, place: Place, path: str, value: str) -> None:
    check_error(hub.call("GET", f"{filled(path, place)}limit={value}"), 400, "INVALID_INPUT")


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "1e2", "%00", "true"])
def test_an_offset_that_is_no_number_or_out_of_range_is_refused(hub: Hub, place: Place, value: str) -> None:
    answer = hub.call("GET", f"{API}/channels/{place.channel}/topics?offset={value}")
    check_error(answer, 400, "INVALID_INPUT")


@pytest.mark.parametrize(("number", "status"), [(2**31, 200), (2**63 - 1, 200), (2**63, 400), (10**30, 400)], ids=str)
@pytest.mark.parametrize(
    "path",
    [
        f"{API}/messages?topic_id={{topic}}&limit=",
        f"{API}/channels/{{channel}}/topics?limit=",
        f"{API}/channels/{{channel}}/topics?offset=",
        f"{API}/events?limit=",
    ],
)
def test_a_huge_number_is_no_accident(hub: Hub, place: Place, path: str, number: int, status: int) -> None:
    assert hub.call("GET", f"{filled(path, place)}{number}").status_code == status


@pytest.mark.parametrize("value", ["%00", "a%00b", "%ff", "%ed%a0%80", "x" * 4000, "'--", "%F0%9F%98%80"])
@pytest.mark.parametrize(
    "path",
    [
        f"{API}/messages?topic_id=",
        f"{API}/messages?channel_id=",
        f"{API}/messages?topic_id={{topic}}&before_id=",
        f"{API}/messages?topic_id={{topic}}&after_id=",
        f"{API}/events?channel_id=",
        f"{API}/events?topic_id=",
    ],
)
def test_a_query_with_an_id_that_is_none_is_refused(hub: Hub, place: Place, path: str, value: str) -> None:
    check_error(hub.call("GET", filled(path, place) + value), 400, "INVALID_INPUT")


@pytest.mark.parametrize("value", ["%ff", "%ed%a0%80", "x" * 4000, "'--", "%F0%9F%98%80"])
def test_no_attachment_has_a_strange_kind(hub: Hub, place: Place, value: str) -> None:
    answer = hub.call("GET", f"{API}/topics/{place.topic}/attachments?kind={value}")
    assert (answer.status_code, answer.json()) == (200, {"attachments": [], "has_more": False})


@pytest.mark.parametrize("value", ["%00", "a%00b"])
def test_a_kind_with_a_nul_is_refused(hub: Hub, place: Place, value: str) -> None:
    check_error(hub.call("GET", f"{API}/topics/{place.topic}/attachments?kind={value}"), 400, "INVALID_INPUT")


@pytest.mark.parametrize("strange", ["%00", "%ff", "%ed%a0%80", "x" * 4000, "'--", " ", "%F0%9F%98%80"])
@pytest.mark.parametrize("call", [call for call in (*READS, *WRITES) if "/{" in call.path], ids=str)
def test_a_strange_id_in_the_path_is_not_found(hub: Hub, place: Place, call: Call, strange: str) -> None:
    path = call.path.format(channel=strange, topic=strange, message=strange)
    check_error(hub.call(call.method, path, filled(call.body, place)), 404, "NOT_FOUND")


# Headers

SOME_ANSWERS: list[tuple[Callable[[Hub, Place], Any], int]] = [
    (lambda hub, place: hub.call("GET", "/health"), 200),
    (lambda hub, place: hub.call("GET", f"{API}/channels"), 200),
    (lambda hub, place: hub.call("POST", f"{API}/channels", {"name": unique()}), 201),
    (lambda hub, place: hub.call("POST", f"{API}/channels", {}), 400),
    (lambda hub, place: hub.call("GET", f"{API}/channels", token=None), 401),
    (lambda hub, place: hub.call("GET", "/nowhere"), 404),
    (lambda hub, place: hub.call("PATCH", f"{API}/messages/msg_0", {"op": "delete", "actor": "ann"}), 404),
    (lambda hub, place: hub.call("DELETE", f"{API}/channels"), 405),
    (lambda hub, place: send(hub, WRITES[5], place, {"op": "edit", "content_raw": "", "expected_version": 99}), 409),
    (lambda hub, place: send_bytes(hub, WRITES[1], place, b"x" * (2 << 20)), 413),
    (lambda hub, place: send_bytes(hub, WRITES[1], place, b"{}", "text/plain"), 415),
]


@pytest.mark.parametrize(
    ("make", "status"), SOME_ANSWERS, ids=lambda value: str(value) if isinstance(value, int) else ""
)
def test_every_answer_has_the_promised_headers(
    hub: Hub, place: Place, make: Callable[[Hub, Place], Any], status: int
) -> None:
    answer = make(hub, place)
    assert answer.status_code == status
    headers = answer.headers
    assert headers["Content-Type"].startswith("application/json")
    assert headers["X-Protocol-Version"] == "v1"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Request-ID"]
    assert "default-src" in headers["Content-Security-Policy"]
    assert "unsafe-inline" not in headers["Content-Security-Policy"]


def request_id(hub: Hub, path: str = "/health", **headers: Any) -> str:
    return str(hub.call("GET", path, headers=headers).headers["X-Request-ID"])


@pytest.mark.parametrize("path", ["/health", f"{API}/channels", "/nowhere"])
@pytest.mark.parametrize("given", ["abc-123", "x", "3f0e8a52-6f0b-4d0c-9c5e-0d6f4f8c1c11"])
def test_a_sane_request_id_is_echoed(hub: Hub, path: str, given: str) -> None:
    assert request_id(hub, path, **{"X-Request-ID": given}) == given


@pytest.mark.parametrize(
    "given", ["", "x" * 2000, "two words", "<script>", 'quo"te', b"caf\xe9", "a\tb"], ids=lambda given: repr(given)[:20]
)
def test_another_request_id_is_replaced(hub: Hub, given: str | bytes) -> None:
    headers: dict[str, Any] = {"X-Request-ID": given}
    made = request_id(hub, **headers)
    assert made
    assert made.encode() != (given if isinstance(given, bytes) else given.encode())
    assert len(made) <= 200


def test_request_ids_are_made_anew_for_every_call(hub: Hub) -> None:
    assert len({request_id(hub) for _ in range(5)}) == 5
