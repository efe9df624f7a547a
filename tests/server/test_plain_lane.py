"""The plain lane of the standalone hub, and the same URLs on Flask's way: every answer is the same."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import flask
import pytest
from flask import Flask
from werkzeug.serving import make_server

from agentlip import create_app
from agentlip.server.http.call import BODY_BYTES
from agentlip.server.plain_lane import PlainLane

from ..running_hub import TOKEN, eventually
from .raw_socket import RawSocket

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
UI_URLS = ["/ui/session", "/ui/data/status", "/ui/data/topics", "/ui/data/counts"]
URLS = ["/health", "/ws", *UI_URLS] + [
    f"/api/v1/{name}"
    for name in (
        "_ping", "channels", "topics", "messages", "search", "events", "events/stream", "agents", "whoami",
        "openapi.json",
    )
]  # fmt: skip
READ_ONLY = (
    "/health", "/ws", "/api/v1/openapi.json", "/api/v1/events", "/api/v1/events/stream", "/api/v1/whoami",
    "/api/v1/search", *UI_URLS[1:],
)  # fmt: skip
BEARERS = {"no token": None, "wrong token": "Bearer wrong", "token": f"Bearer {TOKEN}", "other scheme": "Basic eDp5"}
OWN = {"date", "x-request-id", "x-ratelimit-remaining", "x-ratelimit-reset"}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


def make(folder: Path, **settings: Any) -> Flask:
    config = {
        "AGENTLIP_DB": str(folder / "db.sqlite3"),
        "AGENTLIP_AUTH_TOKEN": TOKEN,
        "AGENTLIP_INSTANCE_ID": "one",
        "AGENTLIP_RATE_LIMIT_PER_CLIENT": 1_000_000,
        "AGENTLIP_RATE_LIMIT_GLOBAL": 1_000_000,
    }
    return create_app(config | settings)


def end(app: Flask) -> None:
    state = app.extensions["agentlip"]
    state.shut_down(5)
    state.hub.stop()
    state.store.close()


def in_the_plain_lane(app: Flask) -> Flask:
    app.wsgi_app = PlainLane(app)  # type: ignore[method-assign]
    return app


def took_the_lane(app: Flask) -> bool:
    """No request has gone Flask's way yet."""
    return not app._got_first_request


_EXPIRES = re.compile(r" Expires=[^;]*;")


class Lanes(NamedTuple):
    short: Flask
    long: Flask
    hooked: list[str]


pytestmark = pytest.mark.shares_a_hub


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanes]:
    """Two equal hubs, the first of them in the lane; the second has a hook that does nothing but count."""
    short, long = (make(tmp_path_factory.mktemp(name)) for name in ("short", "long"))
    in_the_plain_lane(short)
    hooked: list[str] = []
    long.before_request(lambda: hooked.append(flask.request.path))
    yield Lanes(short, long, hooked)
    for app in (short, long):
        end(app)


def shape(value: Any) -> Any:
    """The keys and types of a JSON value."""
    if isinstance(value, dict):
        return {key: it if key in ("error", "code") else shape(it) for key, it in value.items()}
    return [shape(it) for it in value] if isinstance(value, list) else type(value)


def seen(answer: Any) -> Any:
    # A cookie that ends tells the second.
    headers = sorted((k.lower(), _EXPIRES.sub("", v)) for k, v in answer.headers if k.lower() not in OWN)
    names = sorted(k.lower() for k, _ in answer.headers)
    # Ids are of one length, but times in seconds are not.
    if answer.is_json and answer.data:
        headers = [(k, "" if k == "content-length" and "uptime" in answer.text else v) for k, v in headers]
        return answer.status, headers, names, shape(answer.json)
    return answer.status, [(k, v) for k, v in headers if k != "content-length"], names, answer.data


def compare(lanes: Lanes, path: str, method: str = "GET", **kwargs: Any) -> Any:
    """Make the call on both lanes; returns the answer of the short one."""
    before = len(lanes.hooked)
    answers = [app.test_client().open(path, method=method, **kwargs) for app in (lanes.short, lanes.long)]
    assert seen(answers[0]) == seen(answers[1])
    assert len(lanes.hooked) == before + 1
    return answers[0]


def bearer(text: str | None = BEARERS["token"], **more: str) -> dict[str, str]:
    return more if text is None else {"Authorization": text, **more}


def test_the_table_here_is_the_hubs(lanes: Lanes) -> None:
    assert set(lanes.short.extensions["agentlip"].answers) == set(URLS)


@pytest.mark.parametrize("shown", BEARERS)
@pytest.mark.parametrize("url", URLS)
def test_every_url_and_method_answers_the_same(lanes: Lanes, url: str, shown: str) -> None:
    for method in METHODS:
        for query in ("", "?", "?limit=1&x=%00", f"?token={TOKEN}", "?token=wrong", "?limit=no", "?limit=1&limit=no"):
            answer = compare(lanes, url + query, method, headers=bearer(BEARERS[shown]))
            assert answer.status_code in {200, 400, 401, 404, 405, 415, 426}
            assert answer.headers["X-Protocol-Version"] == "v1"
        with_body = compare(lanes, url, method, headers=bearer(BEARERS[shown]), json={"name": f"{method}{shown}"})
        assert with_body.status_code in {200, 201, 400, 401, 404, 405, 426}


@pytest.mark.parametrize("shown", BEARERS)
@pytest.mark.parametrize("url", ["/", "/nowhere", "/api/v1", "/api/v1/", "/api/v1/x", "/api/v1/topics/x", "/static/x"])
def test_what_is_not_a_url_of_the_hub_answers_the_same(lanes: Lanes, url: str, shown: str) -> None:
    for method in METHODS:
        for path in (url, url + "/", url + "?x=1", "/" + url):
            compare(lanes, path, method, headers=bearer(BEARERS[shown]))


@pytest.mark.parametrize("url", [*URLS, "/health?x"])
@pytest.mark.parametrize("change", ["{}/", "{}//", "/{}", "{}%20", "{}%2F", "{};a", "/.{}", "{}%00", "{}%C3"])
def test_a_url_that_is_nearly_one_answers_the_same(lanes: Lanes, url: str, change: str) -> None:
    answer = compare(lanes, change.format(url), headers=bearer())
    only_the_query_changes = "?" in url and change.startswith("{}")
    assert answer.status_code == (200 if only_the_query_changes else 404)


BODIES = {
    "no body": {},
    "empty": {"data": b"", "content_type": "application/json"},
    "bad JSON": {"data": b"{", "content_type": "application/json"},
    "no object": {"data": b"[]", "content_type": "application/json"},
    "null": {"data": b"null", "content_type": "application/json"},
    "not UTF-8": {"data": b'{"name": "\xff"}', "content_type": "application/json"},
    "too deep": {"data": b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", "content_type": "application/json"},
    "charset": {"data": b'{"name": 1}', "content_type": "application/json; charset=utf-8"},
    "capitals": {"data": b'{"name": 1}', "content_type": "Application/JSON"},
    "text": {"data": b'{"name": "t"}', "content_type": "text/plain"},
    "form": {"data": {"name": "t"}},
    "no type": {"data": b'{"name": "t"}'},
    "as large as may be": {"data": b"{}".ljust(BODY_BYTES), "content_type": "application/json"},
    "too large": {"data": b"{}".ljust(BODY_BYTES + 1), "content_type": "application/json"},
    "wrong length": {"data": b"{}", "content_type": "application/json", "environ_overrides": {"CONTENT_LENGTH": "x"}},
    "short": {"data": b"{}", "content_type": "application/json", "environ_overrides": {"CONTENT_LENGTH": "9"}},
    "no length": {"data": b"{}", "content_type": "application/json", "environ_overrides": {"CONTENT_LENGTH": ""}},
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("url", URLS)
def test_every_body_is_taken_or_refused_the_same(lanes: Lanes, url: str, body: str) -> None:
    for method in ("POST", "PATCH", "GET"):
        answer = compare(lanes, url, method, headers=bearer(), **BODIES[body])
        if body == "too large" and method == "POST" and url not in READ_ONLY:
            assert answer.status_code == 413


def test_rows_are_made_and_read_the_same(lanes: Lanes) -> None:
    for body in ({"name": "rows"}, {"name": "rows"}, {"name": ""}, {"name": "more", "description": "ü"}):
        compare(lanes, "/api/v1/channels", "POST", headers=bearer(), json=body)
    assert compare(lanes, "/api/v1/channels", headers=bearer()).status_code == 200
    for query in ("?after=0", "?tail=1", "?after=1&tail=1", "?tail=0", "?channel_id=x&channel_id=y", "?after=99999"):
        compare(lanes, "/api/v1/events" + query, headers=bearer())
    for query in ("", "?topic_id=x", "?channel_id=%FF", "?channel_id=x&before_id=%00"):
        compare(lanes, "/api/v1/messages" + query, headers=bearer())


@pytest.mark.parametrize("given", ["abc-1", "a" * 128, "a" * 129, "", "a b", "\xe4", "<x>"])
def test_request_ids_are_kept_the_same(lanes: Lanes, given: str) -> None:
    answers = [app.test_client().get("/health", headers={"X-Request-ID": given}) for app in lanes[:2]]
    kept = [answer.headers["X-Request-ID"] == given for answer in answers]
    assert kept[0] == kept[1] == (given in ("abc-1", "a" * 128))


@pytest.mark.parametrize("shown", ["token", "wrong token", "no token"])
@pytest.mark.parametrize("left_out", [None, *UPGRADE])
@pytest.mark.parametrize("more", [{}, {"Origin": "http://evil.example"}, {"Origin": "http://localhost"}], ids=str)
def test_upgrades_are_checked_the_same(lanes: Lanes, shown: str, left_out: str | None, more: dict[str, str]) -> None:
    headers = {name: value for name, value in UPGRADE.items() if name != left_out}
    answer = compare(lanes, "/ws", headers=bearer(BEARERS[shown], **headers, **more))
    refusal = 426 if left_out in ("Upgrade", "Sec-WebSocket-Version") else 400  # here no connection can be upgraded
    if more.get("Origin") == "http://evil.example":
        refusal = 403
    assert answer.status_code == (refusal if shown == "token" else 401)


@pytest.mark.parametrize("url", [url for url in URLS if url != "/ws"])
def test_an_upgrade_of_another_url_answers_the_same(lanes: Lanes, url: str) -> None:
    compare(lanes, url, headers=bearer(**UPGRADE))


@contextlib.contextmanager
def served(app: Flask) -> Iterator[Any]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@pytest.mark.parametrize("lane", ["short", "long"])
def test_both_lanes_upgrade(lanes: Lanes, lane: str) -> None:
    app = getattr(lanes, lane)
    with served(app) as server, RawSocket(server) as raw:
        head = raw.hello(1 << 40)["replay_until"]
        name = {"name": f"upgraded-{lane}"}
        assert app.test_client().post("/api/v1/channels", json=name, headers=bearer()).status_code == 201
        app.extensions["agentlip"].close_all()
        raw.read_close()
        assert app.extensions["agentlip"].store.latest() == head + 1
    eventually(lambda: app.extensions["agentlip"].connection_count() == 0, 5, "the session's end")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    made = make(tmp_path)
    yield made
    end(made)


def test_in_the_lane_flask_sees_no_request(app: Flask) -> None:
    in_the_plain_lane(app)
    for url in URLS:
        app.test_client().get(url, headers=bearer())
        assert took_the_lane(app)
    app.test_client().get("/nowhere")
    assert not took_the_lane(app)


SIGNALS = (
    flask.request_started,
    flask.request_finished,
    flask.request_tearing_down,
    flask.appcontext_pushed,
    flask.appcontext_popped,
    flask.appcontext_tearing_down,
)
Install = Callable[[Flask, Callable[..., Any]], Any]
HOOKS: dict[str, Install] = {
    "before_request": lambda app, hook: app.before_request(lambda: hook()),
    "after_request": lambda app, hook: app.after_request(lambda response: hook() or response),
    "teardown_request": lambda app, hook: app.teardown_request(hook),
    "teardown_appcontext": lambda app, hook: app.teardown_appcontext(hook),
    "request_started": lambda app, hook: flask.request_started.connect(hook, app),
    "request_finished": lambda app, hook: flask.request_finished.connect(hook, app),
    "url_value_preprocessor": lambda app, hook: app.url_value_preprocessor(hook),
    "request_tearing_down": lambda app, hook: flask.request_tearing_down.connect(hook, app),
    "appcontext_pushed": lambda app, hook: flask.appcontext_pushed.connect(hook, app),
    "appcontext_popped": lambda app, hook: flask.appcontext_popped.connect(hook, app),
    "appcontext_tearing_down": lambda app, hook: flask.appcontext_tearing_down.connect(hook, app),
}


def check_hook(app: Flask, install: Install) -> None:
    calls: list[Any] = []

    def hook(*args: Any, **_kwargs: Any) -> None:
        calls.append(args)

    install(app, hook)
    try:
        for number, url in enumerate(URLS, 1):
            app.test_client().get(url, headers=bearer())
            assert len(calls) == number, url
    finally:
        for signal in SIGNALS:
            signal.disconnect(hook, app)


@pytest.mark.parametrize("kind", HOOKS)
def test_what_is_hooked_in_runs_for_every_url(app: Flask, kind: str) -> None:
    check_hook(app, HOOKS[kind])
    assert not took_the_lane(app)


def test_a_hook_may_answer_and_change_answers(app: Flask) -> None:
    app.before_request(lambda: ("no", 418) if flask.request.path == "/health" else None)

    @app.after_request
    def mark(response: flask.Response) -> flask.Response:
        response.headers["X-Mark"] = "1"
        return response

    client = app.test_client()
    assert [client.get(url).status_code for url in ("/health", "/api/v1/channels")] == [418, 401]
    assert client.get("/api/v1/channels").headers["X-Mark"] == "1"


def test_hooks_of_one_application_are_not_run_for_another(lanes: Lanes, app: Flask) -> None:
    before = len(lanes.hooked)
    assert app.test_client().get("/health").status_code == 200
    assert len(lanes.hooked) == before


@pytest.mark.parametrize(("method", "url"), [("TRACE", url) for url in URLS] + [("PURGE", "/health")])
def test_methods_nobody_has_answer_the_same(lanes: Lanes, method: str, url: str) -> None:
    compare(lanes, url, method, headers=bearer())


@pytest.mark.parametrize(
    ("method", "shown"),
    [
        ("HEAD", "token"),
        ("HEAD", "no token"),
        ("POST", "token"),
        ("PUT", "token"),
        ("POST", "no token"),
        ("PUT", "no token"),
        ("OPTIONS", "token"),
        ("OPTIONS", "no token"),
    ],
)
def test_an_upgrade_with_a_wrong_method_answers_the_same(lanes: Lanes, method: str, shown: str) -> None:
    compare(lanes, "/ws", method, headers=bearer(BEARERS[shown], **UPGRADE))


@pytest.mark.parametrize("host", ["", "a b", "x:y", "[::1", "xn--\xe4", "a/b"])
def test_a_strange_host_answers_the_same(lanes: Lanes, host: str) -> None:
    compare(lanes, "/health", headers={"Host": host})
