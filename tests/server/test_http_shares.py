"""Rate limits by credential: who is busy, or refused, takes nothing from anybody else."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask

from agentlip import create_app
from agentlip.errors import RateLimited
from agentlip.server.access import limits
from agentlip.server.access.limits import PERSON, PUBLIC, TOKEN, Caller, RateLimiter

from ..running_hub import TOKEN as THE_TOKEN
from ..running_hub import Hub
from .calls import API, check_error, unique
from .raw_http import head, read_answer
from .raw_socket import RawSocket, upgrade_request

AGENT = Caller(TOKEN, "the token")


def sign_in(hub: Hub, token: str = THE_TOKEN) -> requests.Response:
    return requests.post(f"{hub.url}/ui/session", json={"token": token}, timeout=20)


def guess(hub: Hub) -> int:
    """The status of a call with a wrong token."""
    return int(hub.call("GET", f"{API}/channels", token="wrong-" + unique()).status_code)


@pytest.mark.slow
def test_a_loop_of_posts_never_meets_the_default_limits(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS=None)
    topic_id = hub.make_topic()[1]
    body = {"topic_id": topic_id, "sender": "loop", "content_raw": "again"}
    for _ in range(400):
        answer = hub.call("POST", f"{API}/messages", body)
        assert answer.status_code == 201, answer.text
    assert answer.headers["X-RateLimit-Limit"] == "100"


def test_what_a_client_may_do_at_once_is_a_setting(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS="on", RATE_LIMIT_PER_CLIENT=1, RATE_LIMIT_BURST=30)
    statuses = [hub.call("GET", f"{API}/channels").status_code for _ in range(50)]
    assert statuses[:30] == [200] * 30
    assert 429 in statuses


def test_a_busy_agent_takes_nothing_from_people(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS="on", RATE_LIMIT_PER_CLIENT=10, RATE_LIMIT_GLOBAL=10)
    cookie = sign_in(hub).headers["Set-Cookie"].partition(";")[0]
    person = {"headers": {"Cookie": cookie}, "timeout": 20}
    while hub.call("GET", f"{API}/channels").status_code == 200:
        pass
    answer = requests.get(f"{hub.url}{API}/channels", **person)  # type: ignore[arg-type]
    assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (200, "9")
    assert requests.get(f"{hub.url}/ui/data/status", **person).status_code == 200  # type: ignore[arg-type]
    for path in ("/health", "/ui/", "/ui/login", "/ui/session", "/ui/static/style.css"):
        assert requests.get(hub.url + path, timeout=20).status_code == 200, path
    assert sign_in(hub).status_code == 200
    with RawSocket(hub) as raw:
        raw.hello()


def test_each_session_has_a_bucket_of_its_own(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS="on", RATE_LIMIT_PER_CLIENT=5, RATE_LIMIT_GLOBAL=100)
    first = {"Cookie": sign_in(hub).headers["Set-Cookie"].partition(";")[0]}
    second = dict(first)
    while second == first:  # those of one second are one
        second["Cookie"] = sign_in(hub).headers["Set-Cookie"].partition(";")[0]
    while requests.get(f"{hub.url}{API}/channels", headers=first, timeout=20).status_code == 200:
        pass
    assert requests.get(f"{hub.url}{API}/channels", headers=second, timeout=20).status_code == 200


def test_calls_without_a_token_take_nothing_from_those_with_one(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS="on", RATE_LIMIT_PER_CLIENT=10, RATE_LIMIT_GLOBAL=10)
    statuses = [hub.call("GET", f"{API}/channels", token=None).status_code for _ in range(50)]
    assert statuses[:10] == [401] * 10
    assert set(statuses) == {401, 429}
    answer = hub.call("GET", f"{API}/channels")
    assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (200, "9")


def _by_header(hub: Hub) -> int:
    return guess(hub)


def _by_websocket(hub: Hub) -> int:
    with socket.create_connection(("127.0.0.1", hub.port), timeout=20) as sock:
        sock.sendall(upgrade_request(token=unique()))
        return read_answer(sock).status


def _by_sign_in(hub: Hub) -> int:
    return sign_in(hub, unique()).status_code


def _by_code(hub: Hub) -> int:
    return requests.post(f"{hub.url}/ui/session", json={"code": unique()}, timeout=20).status_code


@pytest.mark.parametrize("how", [_by_header, _by_websocket, _by_sign_in, _by_code])
def test_guesses_are_slowed_down_and_the_right_token_still_works(
    start_hub: Callable[..., Hub], how: Callable[[Hub], int]
) -> None:
    hub = start_hub(RATE_LIMITS=None)
    assert [how(hub) for _ in range(20)] == [401] * 20
    later = [how(hub) for _ in range(10)]
    assert later.count(429) >= 9  # one more every three seconds
    refused = hub.call("GET", f"{API}/channels", token="wrong")
    details = check_error(refused, 429, "RATE_LIMITED")["details"]
    assert (details["limit"], details["window"]) == (20, 60)
    assert 1 <= details["retry_after"] <= 3
    assert refused.headers["Retry-After"] == str(details["retry_after"])
    assert hub.call("GET", f"{API}/channels").status_code == 200
    assert sign_in(hub).status_code == 200
    with RawSocket(hub) as raw:
        raw.hello()


def test_guesses_of_one_address_are_not_those_of_another(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS=None)
    while guess(hub) == 401:
        pass
    with socket.create_connection(("127.0.0.1", hub.port), timeout=20, source_address=("127.0.0.2", 0)) as sock:
        sock.sendall(head("GET", f"{API}/channels", token="wrong"))
        assert read_answer(sock).status == 401


def test_public_reads_without_a_token_have_a_share_of_their_own(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS="on", RATE_LIMIT_PER_CLIENT=10, RATE_LIMIT_GLOBAL=10, PUBLIC_READS="on")
    while hub.call("GET", f"{API}/channels", token=None).status_code == 200:
        pass
    assert hub.call("GET", f"{API}/channels").headers["X-RateLimit-Remaining"] == "9"


# Without a server


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    settings: dict[str, Any] = {"DB": str(tmp_path / "db.sqlite3"), "AUTH_TOKEN": THE_TOKEN, "LOG_LEVEL": "error"}
    settings |= {"RATE_LIMIT_PER_CLIENT": 3, "RATE_LIMITS": "on"}
    made = create_app({f"AGENTLIP_{name}": value for name, value in settings.items()})
    yield made
    made.extensions["agentlip"].close()


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("10.0.0.1", "10.0.0.2", False),
    ],
)
def test_an_ipv6_client_has_one_bucket_whatever_address_it_takes(
    app: Flask, first: str, second: str, same: bool
) -> None:
    for _ in range(10):
        app.test_client().get(f"{API}/channels", environ_base={"REMOTE_ADDR": first})
    answer = app.test_client().get(f"{API}/channels", environ_base={"REMOTE_ADDR": second})
    assert answer.status_code == (429 if same else 401)


def test_the_memory_of_all_buckets_is_bounded_and_a_busy_one_stays() -> None:
    limiter = RateLimiter(2, 10_000_000, 2)
    busy = Caller(PERSON, "busy")
    refused = 0
    for number in range(3 * limits.MAX_BUCKETS):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        limiter.take(Caller(PERSON, f"session-{number}"), address)
        with contextlib.suppress(RateLimited):
            limiter.refuse(address, failed=True)
        if number % 100 == 0:
            try:
                limiter.take(busy, "10.9.0.1")
            except RateLimited:
                refused += 1
    assert refused > 100
    lanes = [buckets for lane in limiter._lanes.values() for buckets in lane]
    assert max(len(buckets._buckets) for buckets in [*lanes, limiter._failures]) == limits.MAX_BUCKETS


def test_many_sessions_of_one_address_share_a_wide_bucket() -> None:
    limiter = RateLimiter(10, 40)
    with pytest.raises(RateLimited) as caught:  # noqa: PT012
        for number in range(1000):
            limiter.take(Caller(PERSON, f"session-{number}"), "10.0.0.1")
    assert caught.value.details["limit"] == 10  # all people's; the address's is 20
    limiter.take(Caller(PUBLIC), "10.0.0.1")
