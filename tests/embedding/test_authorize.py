"""A host's own login in place of the token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ..running_hub import TOKEN
from .servers import Host


@pytest.fixture(scope="module", params=["early", "late"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """With CSRF protection set up before the hub, and after it."""
    with Host("gevent", tmp_path_factory.mktemp("host"), HOST_AUTHORIZE="1", HOST_CSRF=request.param) as running:
        yield running


def read(host: Host, token: str | None = None, **headers: str) -> Any:
    return host.call("GET", "/hub/api/v1/channels", token=token, **headers)


def write(host: Host, token: str | None = None, **headers: str) -> Any:
    return host.call("POST", "/hub/api/v1/_ping", {}, token=token, **headers)


def upgrade(host: Host, query: str = "", **headers: str) -> tuple[int, str]:
    """The status of the answer to an upgrade, and its body."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with connect(f"{host.ws_url}/hub/ws{query}", additional_headers=sent, compression=None):
            return 101, ""
    except InvalidStatus as refused:
        return refused.response.status_code, bytes(refused.response.body or b"").decode()


@pytest.mark.parametrize(
    ("login", "statuses"),
    [
        ("read", (200, 403, 403)),
        ("write", (403, 200, 403)),
        ("connect", (403, 403, 101)),
        ("read+write+connect", (200, 200, 101)),
        ("nothing", (403, 403, 403)),
        ("aborted", (403, 403, 403)),
        ("broken", (500, 500, 500)),
    ],
)
def test_the_login_decides_who_may_read_write_and_connect(
    host: Host, login: str, statuses: tuple[int, int, int]
) -> None:
    answers = read(host, X_Login=login), write(host, X_Login=login)
    assert (*(answer.status_code for answer in answers), upgrade(host, X_Login=login)[0]) == statuses
    codes = {200: None, 403: "FORBIDDEN", 500: "INTERNAL_ERROR"}
    assert [answer.json().get("code") for answer in answers] == [codes[status] for status in statuses[:2]]


@pytest.mark.parametrize(
    ("login", "status", "code"),
    [
        ("abort 401", 401, "MISSING_AUTH"),
        ("abort with a redirect", 401, "MISSING_AUTH"),
        ("redirect", 401, "MISSING_AUTH"),
        ("abort 404", 403, "FORBIDDEN"),
        ("abort 429", 403, "FORBIDDEN"),
        ("abort 500", 500, "INTERNAL_ERROR"),
        ("abort 502", 500, "INTERNAL_ERROR"),
        ("no status", 500, "INTERNAL_ERROR"),
        ("abort 503", 503, "SERVICE_UNAVAILABLE"),
        ("abort with a response", 503, "SERVICE_UNAVAILABLE"),
    ],
)
def test_what_the_login_aborts_with_says_who_is_at_fault(host: Host, login: str, status: int, code: str) -> None:
    records = len(re.findall("A request failed|The login of the application", host.log()))
    for answer in (read(host, X_Login=login), write(host, X_Login=login)):
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    refused, body = upgrade(host, X_Login=login)
    assert (refused, code in body) == (status, True)
    page = host.call("GET", "/hub/ui/session", token=None, X_Login=login)
    assert (page.status_code, page.json()["code"]) == (status if status >= 500 else 200, code)
    logged = 4 if status >= 500 else 0
    assert len(re.findall("A request failed|The login of the application", host.log())) - records == logged


def test_who_is_not_logged_in_is_told_so(host: Host) -> None:
    for answer in (read(host), write(host)):
        assert (answer.status_code, answer.json()["code"]) == (401, "MISSING_AUTH")
    status, body = upgrade(host)
    assert (status, "MISSING_AUTH" in body) == (401, True)


def test_the_token_counts_only_where_the_host_asks_for_it(host: Host) -> None:
    assert read(host, TOKEN).status_code == 200  # the host's `authorize` says: or the token
    assert read(host, "wrong-" + TOKEN).status_code == 401
    assert upgrade(host, f"?token={TOKEN}")[0] == 101
    assert upgrade(host, "?token=wrong")[0] == 401
    assert read(host, TOKEN, X_Login="nothing").status_code == 403


def test_a_key_of_the_login_is_not_that_of_the_token(host: Host) -> None:
    def create(token: str | None, **headers: str) -> tuple[int, bool]:
        call = "POST", "/hub/api/v1/channels", {"name": headers.pop("name")}
        answer = host.call(*call, token=token, Idempotency_Key=f"key-{host.folder}", **headers)
        return answer.status_code, "Idempotency-Replayed" in answer.headers

    assert [create(TOKEN, name="by token") for _ in range(2)] == [(201, False), (201, True)]
    assert create(None, name="by login", X_Login="nothing") == (403, False)
    assert [create(None, name="by login", X_Login="write") for _ in range(2)] == [(201, False), (201, True)]


def test_a_mistake_in_the_host_is_logged_and_not_shown(host: Host) -> None:
    status, body = upgrade(host, X_Login="broken")
    assert (status, "INTERNAL_ERROR" in body, "mistake" in body) == (500, True, False)
    assert "the host's own mistake" in host.log()


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://127.0.0.1"])
def test_pages_of_other_sites_can_not_use_the_login_for_changes(host: Host, origin: str) -> None:
    answer = write(host, X_Login="write", Origin=origin)
    assert (answer.status_code, answer.json()["code"]) == (403, "ORIGIN_NOT_ALLOWED")
    assert upgrade(host, X_Login="connect", Origin=origin)[0] == 403
    assert write(host, X_Login="write", Origin=host.url).status_code == 200
    assert upgrade(host, X_Login="connect", Origin=host.url)[0] == 101
