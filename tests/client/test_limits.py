"""A hub that is asked too often: the client waits as long as the hub wants it to, and not for ever."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from agentlip.client import HubClient
from agentlip.errors import RateLimited

from ..running_hub import TOKEN, Hub
from .odd_server import raw, serving


@pytest.fixture
def slow_hub(start_hub: Callable[..., Hub]) -> Hub:
    return start_hub(RATE_LIMITS="on", RATE_LIMIT_PER_CLIENT=5)


def refusing(retry_after: object, header: str = "") -> bytes:
    body = json.dumps({"error": "x", "code": "RATE_LIMITED", "details": {"retry_after": retry_after}}).encode()
    head = f"HTTP/1.1 429 Too Many\r\n{header}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_more_calls_than_the_hub_allows_are_all_made_once(slow_hub: Hub) -> None:
    with HubClient(slow_hub.url, TOKEN) as client:
        topic = client.create_topic(client.create_channel("c").channel.id, "t").topic.id
        threads = [
            threading.Thread(target=client.post_message, args=(topic, "me", str(number)), daemon=True)
            for number in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        sent = sorted(int(each.content_raw) for each in client.messages(topic_id=topic).messages)
    assert sent == list(range(12))


def test_the_wait_can_be_switched_off(slow_hub: Hub) -> None:
    with HubClient(slow_hub.url, TOKEN, rate_limit_wait=0) as client, pytest.raises(RateLimited):
        list(map(client.ping, range(20)))


def test_all_waits_of_a_call_are_bounded_together() -> None:
    with serving(raw(refusing(1))) as url, HubClient(url, TOKEN, rate_limit_wait=2.5) as client:
        began = time.monotonic()
        with pytest.raises(RateLimited):
            client.create_channel("x")
        assert 2.0 <= time.monotonic() - began <= 2.6


@pytest.mark.parametrize("retry_after", [3600, 1e300])
def test_a_wait_that_is_too_long_is_not_begun(retry_after: float) -> None:
    with serving(raw(refusing(retry_after))) as url, HubClient(url, TOKEN) as client:
        began = time.monotonic()
        with pytest.raises(RateLimited) as caught:
            client.channels()
        assert time.monotonic() - began < 1
        assert caught.value.details["retry_after"] == retry_after


@pytest.mark.parametrize("retry_after", [None, "soon", -5, 0, True, [1]])
def test_a_time_that_makes_no_sense_is_a_second(retry_after: object) -> None:
    with serving(raw(refusing(retry_after))) as url, HubClient(url, TOKEN, rate_limit_wait=0) as client:
        with pytest.raises(RateLimited) as caught:
            client.channels()
        assert caught.value.retry_after == 1.0


def test_the_header_of_a_proxy_is_obeyed() -> None:
    page = b"<html>slow down</html>"
    answer = b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page)
    with serving(raw(answer)) as url, HubClient(url, TOKEN, rate_limit_wait=0) as client:
        with pytest.raises(RateLimited) as caught:
            client.channels()
        assert caught.value.retry_after == 7.0


def test_a_stream_that_is_refused_waits_as_well() -> None:
    pauses: list[float] = []
    with (
        serving(raw(refusing(2))) as url,
        HubClient(url, TOKEN).stream(on_disconnect=lambda _, pause: pauses.append(pause)) as stream,
    ):
        assert stream.next(timeout=0.5) is None
    assert len(pauses) == 1
    assert pauses[0] >= 2
