"""How much is too much: bodies, content, content types, calls per second."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..running_hub import Hub, eventually
from .calls import API, WRITES, Call, Place, check_error, head, new_message, new_place, new_topic, send_bytes, unique

MAX_CONTENT = 65_536
MAX_ATTACHMENT = 16_384
PLAIN = WRITES[1:-1]  # all but _ping, whose body is optional, and attachments, whose limit is smaller


def escaped(text: str) -> bytes:
    """A JSON string with every character as a \\u escape."""
    units = text.encode("utf-16-be").hex()
    return b'"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)).encode() + b'"'


def post_content(hub: Hub, topic_id: str, content: bytes) -> Any:
    """Post a message; `content` is a JSON string as it goes over the wire."""
    data = b'{"topic_id":"%s","sender":"ann","content_raw":%s}' % (topic_id.encode(), content)
    return hub.call("POST", f"{API}/messages", data=data, headers={"Content-Type": "application/json"})


def edit_content(hub: Hub, topic_id: str, content: bytes) -> Any:
    message_id = new_message(hub, topic_id)["id"]
    data = b'{"op":"edit","content_raw":%s}' % content
    return hub.call("PATCH", f"{API}/messages/{message_id}", data=data, headers={"Content-Type": "application/json"})


LEGAL = {
    "ascii": "a" * MAX_CONTENT,
    "control characters": "\x01" * MAX_CONTENT,
    "NUL": "\x00" * MAX_CONTENT,
    "two bytes": "é" * (MAX_CONTENT // 2),
    "three bytes": "日" * (MAX_CONTENT // 3) + "a",
    "four bytes": "😀" * (MAX_CONTENT // 4),
}


@pytest.mark.parametrize(("write", "status"), [(post_content, 201), (edit_content, 200)], ids=["post", "edit"])
@pytest.mark.parametrize("encode", [lambda text: json.dumps(text).encode(), escaped], ids=["json", "all escaped"])
@pytest.mark.parametrize("content", LEGAL.values(), ids=LEGAL)
def test_content_of_exactly_65536_bytes_fits_however_it_is_escaped(
    hub: Hub, write: Callable[..., Any], status: int, encode: Callable[[str], bytes], content: str
) -> None:
    assert len(content.encode()) == MAX_CONTENT
    answer = write(hub, new_topic(hub), encode(content))
    assert answer.status_code == status, answer.text[:300]
    assert answer.json()["message"]["content_raw"] == content


@pytest.mark.parametrize("write", [post_content, edit_content], ids=["post", "edit"])
@pytest.mark.parametrize("content", [*LEGAL.values(), "x" * 3 * MAX_CONTENT], ids=[*LEGAL, "three times"])
def test_content_one_byte_over_the_limit_is_too_large(hub: Hub, write: Callable[..., Any], content: str) -> None:
    answer = write(hub, new_topic(hub), json.dumps(content + "a").encode())
    check_error(answer, 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("call", PLAIN, ids=str)
def test_a_body_far_over_the_limit_is_too_large(hub: Hub, call: Call) -> None:
    place = new_place(hub)
    before = head(hub)
    data = json.dumps({**(call.body or {}), "padding": "x" * (4 << 20)}).encode()
    check_error(send_bytes(hub, call, place, data), 413, "PAYLOAD_TOO_LARGE")
    assert head(hub) == before


@pytest.mark.parametrize("chunk", [1 << 10, 1 << 16], ids=["small chunks", "large chunks"])
def test_a_body_of_unknown_length_is_held_to_the_limit_too(hub: Hub, chunk: int) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"name":"'
        for _ in range((4 << 20) // chunk):
            yield b"x" * chunk
        yield b'"}'

    check_error(send_bytes(hub, WRITES[1], new_place(hub), chunks()), 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("size", [MAX_ATTACHMENT, 1 << 19, 1 << 20])
def test_a_body_of_unknown_length_is_never_cut_short(hub: Hub, size: int) -> None:
    body = json.dumps({"name": unique()}).encode().ljust(size) + b"rest" * (1 << 20)
    check_error(send_bytes(hub, WRITES[1], new_place(hub), iter([body])), 413, "PAYLOAD_TOO_LARGE")


def test_a_small_body_in_chunks_is_fine(hub: Hub) -> None:
    place = new_place(hub)
    body = json.dumps({"topic_id": place.topic, "sender": "ann", "content_raw": "in chunks"}).encode()
    answer = send_bytes(hub, WRITES[4], place, iter([body[:10], body[10:]]))
    assert answer.status_code == 201, answer.text
    assert answer.json()["message"]["content_raw"] == "in chunks"


def attachment_body(size: int) -> bytes:
    """A legal attachment body of exactly `size` bytes."""
    start, end = b'{"kind":"note","value_json":{"a":"', b'"},"dedupe_key":"d"}'
    return start + b"x" * (size - len(start) - len(end)) + end


def test_an_attachment_body_of_16_kib_fits(hub: Hub) -> None:
    data = attachment_body(MAX_ATTACHMENT)
    assert len(data) == MAX_ATTACHMENT
    answer = send_bytes(hub, WRITES[-1], new_place(hub), data)
    assert answer.status_code == 201, answer.text[:300]


@pytest.mark.parametrize("size", [MAX_ATTACHMENT + 100, 100_000, 4 << 20])
def test_an_attachment_over_16_kib_is_too_large(hub: Hub, size: int) -> None:
    answer = send_bytes(hub, WRITES[-1], new_place(hub), attachment_body(size))
    check_error(answer, 413, "PAYLOAD_TOO_LARGE")


TYPES = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", ""]


@pytest.mark.parametrize("content_type", TYPES, ids=repr)
@pytest.mark.parametrize("call", WRITES, ids=str)
def test_a_body_that_is_not_declared_as_json_is_refused(hub: Hub, call: Call, content_type: str) -> None:
    place = new_place(hub)
    before = head(hub)
    check_error(send_bytes(hub, call, place, b"{}", content_type), 415, "INVALID_INPUT")
    assert head(hub) == before


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8",
                     "Application/JSON"],
)  # fmt: skip
def test_json_may_be_declared_in_several_ways(hub: Hub, content_type: str) -> None:
    answer = send_bytes(hub, WRITES[0], Place("", "", ""), b'{"echo":"hi"}', content_type)
    assert answer.status_code == 200, answer.text
    assert answer.json()["echo"] == "hi"


# Rate limits


def limited(hub: Hub, count: int) -> list[Any]:
    """The answers to `count` calls made as fast as possible."""
    return [hub.call("GET", f"{API}/channels") for _ in range(count)]


def check_refusal(answer: Any, limit: int) -> None:
    details = check_error(answer, 429, "RATE_LIMITED")["details"]
    assert set(details) == {"limit", "window", "retry_after"}
    assert (details["limit"], details["window"]) == (limit, 1)
    assert int(answer.headers["Retry-After"]) == details["retry_after"] >= 1
    assert answer.headers["X-RateLimit-Remaining"] == "0"


def test_too_many_calls_of_a_client_are_refused_and_change_nothing(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS="on", RATE_LIMIT_PER_CLIENT=7)
    answers = [hub.call("POST", f"{API}/channels", {"name": f"c{number}"}) for number in range(20)]
    assert [answer.status_code for answer in answers[:7]] == [201] * 7
    assert {answer.status_code for answer in answers} == {201, 429}
    check_refusal(next(answer for answer in answers if answer.status_code == 429), 7)
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"7"}
    assert answers[0].headers["X-RateLimit-Remaining"] == "6"
    left = [int(answer.headers["X-RateLimit-Remaining"]) for answer in answers[:7]]
    assert left == sorted(left, reverse=True)
    assert all(abs(int(answer.headers["X-RateLimit-Reset"]) - time.time()) < 5 for answer in answers)
    channels = eventually(lambda: hub.call("GET", f"{API}/channels").json().get("channels"), 5, "a read")
    assert len(channels) == sum(answer.status_code == 201 for answer in answers)


def test_too_many_calls_in_all_are_refused_until_some_time_has_passed(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS="on", RATE_LIMIT_GLOBAL=5)
    answers = limited(hub, 20)
    assert [answer.status_code for answer in answers[:5]] == [200] * 5
    check_refusal(next(answer for answer in answers if answer.status_code != 200), 5)
    eventually(lambda: hub.call("GET", f"{API}/channels").status_code == 200, 3, "a call that is let through")


def test_the_default_is_100_calls_a_second_and_health_does_not_count(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS=None)
    assert {hub.call("GET", "/health").status_code for _ in range(200)} == {200}
    headers = hub.call("GET", f"{API}/channels").headers
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("100", "99")


def test_rate_limits_can_be_switched_off(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS="off", RATE_LIMIT_PER_CLIENT=1, RATE_LIMIT_GLOBAL=1)
    assert {answer.status_code for answer in limited(hub, 20)} == {200}
