"""examples/deploy works as it stands: nginx with TLS before a hub, at the root and below a path."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus

from ..running_hub import TOKEN, Hub, eventually, receive_until
from .proxy import DEPLOY, NGINX, PLACES, READ_TIMEOUT, Proxy, Site

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes the certificate, is missing"),
]
# These are about the connection and the server of the moment; rate limits, which count, are off.
_SAME_HEADERS_BUT = {"Date", "Server", "Connection", "Keep-Alive"}


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub whose pings come more often than nginx's patience lasts."""
    hub = Hub(tmp_path_factory.mktemp("hub"), PING_INTERVAL=READ_TIMEOUT / 2).start()
    hub.settings["PORT"] = hub.port  # a restart comes back at the address that nginx knows
    yield hub
    hub.session.close()
    hub.stop()


@pytest.fixture(scope="module")
def proxy(behind: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Proxy(tmp_path_factory.mktemp("nginx"), behind.port).running() as running:
        yield running


@pytest.fixture(params=["root", "sub-path"])
def site(proxy: Proxy, request: pytest.FixtureRequest) -> Iterator[Site]:
    found = proxy.sites[request.param]
    with found.session:
        yield found


@pytest.fixture
def topic(behind: Hub, request: pytest.FixtureRequest) -> str:
    """A topic of the test's own."""
    return behind.make_topic(request.node.name, "topic")[1]


def head(hub: Hub) -> int:
    return int(hub.call("GET", "/api/v1/events?tail=1").json()["replay_until"])


def test_answers_and_their_headers_come_unchanged(behind: Hub, site: Site) -> None:
    direct = behind.call("GET", "/api/v1/channels", headers={"X-Request-ID": "the-same"})
    proxied = site.call("GET", "/api/v1/channels", **{"X-Request-ID": "the-same"})
    assert proxied.status_code == 200
    assert proxied.content == direct.content
    for headers in (direct.headers, proxied.headers):
        for name in _SAME_HEADERS_BUT:
            headers.pop(name, None)
    assert dict(proxied.headers) == dict(direct.headers)
    assert proxied.headers["X-Request-ID"] == "the-same"


def test_refusals_come_from_the_hub(site: Site) -> None:
    missing = site.call("GET", "/api/v1/channels", token=None)
    assert (missing.status_code, missing.json()["code"]) == (401, "MISSING_AUTH")
    assert missing.headers["WWW-Authenticate"] == "Bearer"
    assert site.call("GET", "/api/v1/channels", token="wrong").json()["code"] == "INVALID_AUTH"
    assert site.call("GET", "/ws").status_code == 426
    assert site.call("DELETE", "/health").headers["Allow"] == "GET, HEAD"
    assert site.call("GET", "/api/v1/nothing").json()["code"] == "NOT_FOUND"


def test_a_long_message_passes(site: Site, topic: str) -> None:
    content = "long \N{SNOWMAN} " * 6_500  # 60 KB of UTF-8
    answer = site.call("POST", "/api/v1/messages", {"topic_id": topic, "sender": "tester", "content_raw": content})
    assert answer.status_code == 201, answer.text
    page = site.call("GET", f"/api/v1/messages?topic_id={topic}").json()
    assert page["messages"][0]["content_raw"] == content


def test_a_body_that_is_too_long_is_told_so_by_the_hub(site: Site, topic: str) -> None:
    body = {"topic_id": topic, "sender": "tester", "content_raw": "x" * 600_000}
    answer = site.call("POST", "/api/v1/messages", body)
    assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_a_websocket_replays_and_goes_on_live(behind: Hub, site: Site, topic: str) -> None:
    start = head(behind)
    for number in range(5):
        behind.post(topic, f"old {number}")
    with site.listen(start) as (socket, hello_ok):
        assert hello_ok["replay_until"] == start + 5
        last = behind.post(topic, "new")["event_id"]
        events = receive_until(socket, last)
    assert [event["event_id"] for event in events] == list(range(start + 1, last + 1))
    assert events[-1]["data"]["message"]["content_raw"] == "new"


def test_pings_keep_an_idle_websocket_open(behind: Hub, site: Site, topic: str) -> None:
    with site.listen(head(behind)) as (socket, _):
        with pytest.raises(TimeoutError):  # and not ConnectionClosed
            socket.recv(timeout=READ_TIMEOUT * 1.5)
        posted = behind.post(topic)["event_id"]
        assert json.loads(socket.recv(timeout=10))["event_id"] == posted


def test_pages_of_the_own_host_may_connect(site: Site) -> None:
    with site.listen(origin=f"https://{site.host}") as (_, hello_ok):
        assert hello_ok["type"] == "hello_ok"


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "https://127.0.0.1", "null"])
def test_pages_of_other_hosts_may_not(site: Site, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused, site.listen(origin=origin):
        pass
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body or b"")["code"] == "ORIGIN_NOT_ALLOWED"


def test_a_stopping_hub_says_goodbye_and_clients_get_through_again(
    behind: Hub, proxy: Proxy, site: Site, topic: str
) -> None:
    start = head(behind)
    with site.listen(start) as (socket, _):
        behind.session.close()
        behind.stop()
        with contextlib.suppress(Exception):
            socket.recv(timeout=10)
        assert (socket.protocol.close_code, socket.protocol.close_reason) == (1001, "Server shutting down")
    assert site.call("GET", "/health").status_code == 502
    with pytest.raises(InvalidStatus) as refused, site.listen(start):
        pass
    assert refused.value.response.status_code == 502
    behind.start()
    assert site.call("GET", "/health").json()["status"] == "ok"
    posted = behind.post(topic)["event_id"]
    with site.listen(start) as (socket, _):
        assert receive_until(socket, posted)[-1]["event_id"] == posted
    lines = proxy.access_log().splitlines()
    assert any("/ws" in line and " 502 " in line for line in lines)
    assert TOKEN not in proxy.everything_logged()


def test_the_access_log_has_calls_and_websockets_without_the_token(proxy: Proxy, site: Site) -> None:
    path = site.url.removeprefix(f"https://{site.host}")
    before = len(proxy.access_log())
    with site.listen():
        pass
    site.call("GET", "/api/v1/channels?limit=1")

    def written() -> bool:
        log = proxy.access_log()[before:]
        return f'"GET {path}/ws" 101 ' in log and f'"GET {path}/api/v1/channels" 200 ' in log

    eventually(written, 10, "the lines in nginx's access log")
    assert TOKEN not in proxy.everything_logged()


def test_the_rest_of_the_server_is_not_the_hub(proxy: Proxy) -> None:
    site = proxy.sites["sub-path"]
    with site.session as session:
        assert session.get(f"https://{site.host}/health", timeout=10).status_code == 404


def test_no_file_of_nginx_was_left_out() -> None:
    assert {path.name for path in DEPLOY.glob("nginx*")} == set(PLACES)
