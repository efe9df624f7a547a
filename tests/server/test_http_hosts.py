"""Host names and proxies: whose word counts. Pages under a name of their own, and headers of strangers."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from agentlip import Agentlip
from agentlip.server.app import standalone

from ..running_hub import TOKEN, Hub
from .calls import API
from .raw_http import Answer, dial, read_answer

OWN = ["127.0.0.1", "127.0.0.1:8787", "localhost", "LOCALHOST:1", "localhost.", "127.8.9.10:80", "[::1]", "[::1]:8787"]
OTHER = [
    "evil.example", "evil.example:8787", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0",
    "[2001:db8::1]", "hub.example", "localhost@evil.example", "evil.example#localhost", "[::1", "::1:8787x", "a b",
    "", "127.1",
]  # fmt: skip
PATHS = [
    "/health",
    f"{API}/channels",
    f"{API}/messages/msg_1",
    "/ui",
    "/ui/",
    "/ui/login",
    "/ui/static/app.js",
    "/ui/session",
    "/ws",
]
UPGRADE = [
    "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
]  # fmt: skip


def ask(hub: Hub, path: str, host: str | None, *lines: str) -> Answer:
    named = [] if host is None else [f"Host: {host}"]
    head = [f"GET {path} HTTP/1.1", *named, f"Authorization: Bearer {TOKEN}", *lines, "", ""]
    with dial(hub.port) as sock:
        sock.sendall("\r\n".join(head).encode())
        return read_answer(sock)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub whose reads need no token, as a page that has no token would wish."""
    hub = Hub(tmp_path_factory.mktemp("public"), PUBLIC_READS="on").start()
    yield hub
    hub.session.close()
    hub.stop()


@pytest.mark.parametrize("host", OWN)
def test_loopback_names_are_the_hubs_own(public: Hub, host: str) -> None:
    assert ask(public, f"{API}/channels", host).status == 200
    assert ask(public, "/ws", host, *UPGRADE).status == 101
    assert ask(public, "/ws", host, *UPGRADE, f"Origin: http://{host}").status == 101


def test_who_names_no_host_is_no_browser(public: Hub) -> None:
    assert ask(public, f"{API}/channels", None).status == 200


@pytest.mark.parametrize("host", OTHER, ids=repr)
def test_another_host_name_is_refused_everywhere(public: Hub, host: str) -> None:
    for path in PATHS:
        answer = ask(public, path, host)
        assert (answer.status, answer.code) == (403, "HOST_NOT_ALLOWED"), path
        assert answer.headers["X-Protocol-Version"] == "v1"
    answer = ask(public, "/ws", host, *UPGRADE, f"Origin: http://{host}")
    assert (answer.status, answer.code) == (403, "HOST_NOT_ALLOWED")


def test_more_names_are_a_setting(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(ALLOWED_HOSTS="Hub.example, *.agents.example [2001:db8::1]")
    for host in ("hub.example", "hub.example:443", "a.agents.example", "b.a.agents.example", "[2001:db8::1]:80", *OWN):
        assert ask(hub, "/health", host).status == 200, host
    for host in ("agents.example", "xhub.example", "hub.example.evil.example", "xagents.example", "[2001:db8::2]"):
        assert ask(hub, "/health", host).status == 403, host


def test_all_names_can_be_allowed(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(ALLOWED_HOSTS="*")
    assert ask(hub, "/health", "whatever.example").status == 200


def test_a_hub_that_listens_everywhere_answers_to_every_address_but_to_no_name(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(HOST="0.0.0.0", ALLOW_NETWORK="on")
    for host in ("10.0.0.1:8787", "192.168.7.7", "[2001:db8::1]:80", *OWN):
        assert ask(hub, "/health", host).status == 200, host
    for host in ("evil.example", "hub"):
        assert ask(hub, "/health", host).status == 403, host


@pytest.mark.parametrize("path", ["/ui//login", "/ui//static/app.js", "/ui///", "/api//v1/channels"])
def test_a_doubled_slash_leads_nowhere(public: Hub, path: str) -> None:
    for host in ("127.0.0.1", "evil.example"):
        answer = ask(public, path, host)
        assert (answer.status, answer.code) == (404, "NOT_FOUND")
        assert "Location" not in answer.headers
        assert b"evil" not in answer.body


def host_app(folder: Path, **settings: str) -> Flask:
    app = Flask(__name__)
    app.config.update(
        {"AGENTLIP_DB": str(folder / "db.sqlite3"), "AGENTLIP_AUTH_TOKEN": TOKEN, "AGENTLIP_RATE_LIMITS": "off"}
        | {f"AGENTLIP_{name}": value for name, value in settings.items()}
    )
    app.add_url_rule("/", "home", lambda: "the host's")
    Agentlip(app, url_prefix="/hub")
    return app


def test_in_an_application_host_names_are_its_own_business(tmp_path: Path) -> None:
    app = host_app(tmp_path)
    client = app.test_client()
    assert client.get("/hub/health", headers={"Host": "any.example"}).status_code == 200
    doubled = client.get("/hub/ui//login", headers={"Host": "evil.example"})
    assert (doubled.status_code, doubled.headers.get("Location")) == (404, None)
    app.extensions["agentlip"].close()


def test_in_an_application_the_setting_holds_for_the_hub_alone(tmp_path: Path) -> None:
    app = host_app(tmp_path, ALLOWED_HOSTS="app.example")
    client = app.test_client()
    for path in ("/hub/health", "/hub/ui/", "/hub/ui/session", "/hub/ws"):
        assert client.get(path, headers={"Host": "app.example"}).status_code != 403
        refused = client.get(path, headers={"Host": "evil.example"})
        assert (refused.status_code, refused.json["code"]) == (403, "HOST_NOT_ALLOWED")
    assert client.get("/", headers={"Host": "evil.example"}).text == "the host's"
    app.extensions["agentlip"].close()


# Headers of strangers, and of proxies

FORWARDED = [
    ["X-Forwarded-Proto: https", "X-Forwarded-Protocol: http"],
    ["X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"],
    ["X-Forwarded-Protocol: ssl", "X-Forwarded-Ssl: on", "X-Forwarded-Proto: http"],
    ["SCRIPT_NAME: /elsewhere"],
    ["SCRIPT_NAME: /health", "PATH_INFO: /health"],
    ["X-Script-Name: /x", "X-Forwarded-Prefix: /x"],
    ["X-Forwarded-Host: evil.example", "X-Forwarded-Port: 1"],
    ["X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1;host=evil.example;proto=https"],
    ["X_Forwarded_For: 10.0.0.1", "REMOTE_ADDR: 10.0.0.1", "REMOTE_USER: root"],
]


@pytest.mark.parametrize("lines", FORWARDED, ids=lambda lines: lines[0])
def test_headers_of_strangers_change_nothing(hub: Hub, lines: list[str]) -> None:
    plain = ask(hub, f"{API}/channels", "127.0.0.1")
    answer = ask(hub, f"{API}/channels", "127.0.0.1", *lines)
    assert (answer.status, answer.body) == (200, plain.body)


def guesses(hub: Hub, client: str, *, source: str = "127.0.0.1", header: str = "X-Forwarded-For") -> list[int]:
    """The statuses of 30 wrong tokens that come in the name of a client."""
    statuses = []
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", hub.port), timeout=20, source_address=(source, 0)) as sock:
            lines = f"GET {API}/channels HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\n"
            sock.sendall(f"{lines}{header}: {client}\r\n\r\n".encode())
            statuses.append(read_answer(sock).status)
    return statuses


SLOWED, FRESH = {401, 429}, {401}


def test_without_the_setting_an_address_that_is_only_said_is_none(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS=None)
    assert set(guesses(hub, "10.0.0.1")) == SLOWED
    assert set(guesses(hub, "10.0.0.2")[:20]) == {429}  # the same client


@pytest.mark.parametrize("trusted", ["1", "127.0.0.0/8", "10.7.0.0/16, 127.0.0.1"])
def test_behind_a_proxy_the_address_is_its_word(start_hub: Callable[..., Hub], trusted: str) -> None:
    hub = start_hub(RATE_LIMITS=None, TRUSTED_PROXIES=trusted)
    assert set(guesses(hub, "10.0.0.1")) == SLOWED
    assert set(guesses(hub, "10.0.0.2")[:20]) == FRESH
    assert set(guesses(hub, "1.2.3.4, 10.0.0.3")) == SLOWED
    assert set(guesses(hub, "5.6.7.8, 10.0.0.3")[:20]) == {429}  # what the client said itself does not count


def test_a_chain_of_proxies_is_followed_as_far_as_it_is_trusted(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS=None, TRUSTED_PROXIES="127.0.0.1 192.168.0.0/16")
    assert set(guesses(hub, "10.0.0.1, 192.168.0.9")) == SLOWED
    assert set(guesses(hub, "10.0.0.2, 192.168.0.9")[:20]) == FRESH
    assert set(guesses(hub, "10.0.0.1, 192.168.7.7, 192.168.0.9")[:20]) == {429}


def test_two_proxies_are_two_addresses_from_the_end(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS=None, TRUSTED_PROXIES=2)
    assert set(guesses(hub, "10.0.0.1, 172.16.0.1")) == SLOWED
    assert set(guesses(hub, "10.0.0.1, 172.16.0.2")[:20]) == {429}
    assert set(guesses(hub, "10.0.0.2, 172.16.0.1")[:20]) == FRESH


def test_a_peer_that_is_no_trusted_proxy_has_only_its_own_address(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS=None, TRUSTED_PROXIES="127.0.0.9")
    assert set(guesses(hub, "10.0.0.1")) == SLOWED
    assert set(guesses(hub, "10.0.0.2")[:20]) == {429}
    assert set(guesses(hub, "10.0.0.2", source="127.0.0.9")[:20]) == FRESH


def test_a_header_with_underscores_is_no_word_of_a_proxy(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS=None, TRUSTED_PROXIES=1)
    assert set(guesses(hub, "10.0.0.1", header="X_Forwarded_For")) == SLOWED
    assert set(guesses(hub, "10.0.0.2", header="X_Forwarded_For")[:20]) == {429}


def test_behind_proxies_the_plain_lane_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DB": str(tmp_path / "db.sqlite3"), "LOG_LEVEL": "error", "TRUSTED_PROXIES": "1"}.items():
        monkeypatch.setenv(f"AGENTLIP_{name}", value)
    app = standalone()
    assert app.test_client().get("/health").status_code == 200
    assert not app._got_first_request
    app.extensions["agentlip"].close()
