"""What hosts do to their own pages does nothing to the hub's: headers, templates, error pages, redirects."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response

from agentlip import Agentlip, ConfigError, create_app

TOKEN = "t" * 16
AUTH = {"Authorization": f"Bearer {TOKEN}"}
POLICY = "default-src 'none'; frame-ancestors 'none'"
PAGES = ("/ui/", "/ui/login", "/ui/static/app.js", "/ui")


@pytest.fixture
def app(tmp_path: Path) -> Any:
    app = Flask(__name__)
    app.config.update(AGENTLIP_DB=str(tmp_path / "db.sqlite3"), AGENTLIP_AUTH_TOKEN=TOKEN)
    with Agentlip() as agentlip:
        app.agentlip = agentlip  # type: ignore[attr-defined]
        yield app


def embed(app: Flask, prefix: str | None = "/hub") -> Any:
    app.agentlip.init_app(app, url_prefix=prefix)  # type: ignore[attr-defined]

    @app.errorhandler(404)
    def not_found(_error: Exception) -> tuple[str, int]:
        return "<p>the host's 404 page", 404

    return app.test_client()


def embed_in(app: Flask, root: Flask) -> Any:
    """A hub beside the first one, at the root of another application."""
    app.agentlip.init_app(root, url_prefix=None)  # type: ignore[attr-defined]
    return root.test_client()


def talisman(response: Response) -> Response:
    """What flask-talisman does after each request."""
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'self' 'unsafe-inline'"
    response.headers["X-Content-Security-Policy"] = "default-src 'self' 'unsafe-inline'"
    response.headers["Referrer-Policy"] = "strict-origin-when-cross-origin"
    response.headers["Strict-Transport-Security"] = "max-age=31556926; includeSubDomains"
    return response


def remover(response: Response) -> Response:
    for name in ("X-Frame-Options", "Content-Security-Policy", "Referrer-Policy"):
        response.headers.pop(name, None)
    return response


@pytest.mark.parametrize("path", [*PAGES, "/ui/static/nope.js"])
def test_pages_have_the_headers_of_all_answers(app: Flask, path: str) -> None:
    alone = create_app(dict(app.config))
    for client, prefix in ((embed(app), "/hub"), (alone.test_client(), "")):
        with client.get(prefix + path, headers={"X-Request-ID": "of.mine"}) as answer:
            headers = answer.headers
        assert (headers["X-Request-ID"], headers["X-Protocol-Version"]) == ("of.mine", "v1")
        with client.get(prefix + path, headers={"X-Request-ID": "not mine"}) as answer:
            assert len(answer.headers["X-Request-ID"]) == 32
        if path.endswith("app.js"):
            with client.get(prefix + path, headers={"If-None-Match": headers["ETag"]}) as answer:
                assert (answer.status_code, answer.headers["X-Protocol-Version"]) == (304, "v1")
    alone.extensions["agentlip"].close()


def test_ranges_of_files_are_left_alone(app: Flask) -> None:
    client = embed(app)
    for asked in ("bytes=0-0", "bytes=99999999-", "bytes=-0", "bytes=" + "1-2," * 500, "nonsense"):
        with client.get("/hub/ui/static/icon.svg", headers={"Range": asked}) as answer:
            assert (answer.status_code, answer.mimetype) == (200, "image/svg+xml")


def test_a_file_that_the_page_has_not_is_json(app: Flask) -> None:
    answer = embed(app).get("/hub/ui/static/nope.js")
    assert (answer.status_code, answer.json) == (404, {"error": "Not found", "code": "NOT_FOUND"})


@pytest.mark.parametrize("habit", [talisman, remover])
def test_the_hub_keeps_its_protecting_headers(app: Flask, habit: Any) -> None:
    app.after_request(habit)
    client = embed(app)
    for path in PAGES:
        with client.get(f"/hub{path}") as answer:
            headers = answer.headers
        assert "script-src 'self'" in headers["Content-Security-Policy"]
        assert headers.getlist("X-Frame-Options") == ["DENY"]
        assert headers.getlist("Referrer-Policy") == ["no-referrer"]
    for path in ("/hub/health", "/hub/api/v1/channels", "/hub/nope"):
        headers = client.get(path, headers=AUTH).headers
        assert headers.getlist("Content-Security-Policy") == [POLICY]
        assert headers.getlist("X-Frame-Options") == ["DENY"]
        assert headers.getlist("Referrer-Policy") == ["no-referrer"]
        assert ("Strict-Transport-Security" in headers) == (habit is talisman)


def test_the_pages_are_pages_where_the_hosts_responses_are_something_else(app: Flask) -> None:
    class Plain(Response):
        default_mimetype = "text/plain"

    app.response_class = Plain
    client = embed(app)
    for path in ("/ui/", "/ui/login"):
        assert client.get(f"/hub{path}").headers["Content-Type"] == "text/html; charset=utf-8"


def test_the_pages_do_not_go_through_the_hosts_jinja(app: Flask, tmp_path: Path) -> None:
    whole = create_app({"AGENTLIP_DB": str(tmp_path / "whole.sqlite3")})
    app.jinja_options = {
        "variable_start_string": "[[", "variable_end_string": "]]",
        "block_start_string": "<%", "block_end_string": "%>", "autoescape": False,
    }  # fmt: skip
    app.jinja_env.globals["version"] = "the host's"
    templates = tmp_path / "templates" / "agentlip"
    templates.mkdir(parents=True)
    (templates / "index.html").write_text("the host's")
    app.template_folder = str(tmp_path / "templates")
    client = embed(app)
    for path in ("/ui/", "/ui/login"):
        page = client.get(f"/hub{path}").text
        assert "{%" not in page
        assert "{{" not in page
        assert page == whole.test_client().get(path).text
    whole.extensions["agentlip"].close()


UNKNOWN = (
    "/nope", "/", "/api", "/api/v1", "/api/v1/", "/api/v1/nope", "/api//v1/channels", "//api/v1/channels",
    "/api/v1//channels", "/api/v1/channels/", "/health/", "/ws/", "/ui//login", "/ui/nope", "/nope/%2e%2e/x",
)  # fmt: skip


@pytest.mark.parametrize("path", UNKNOWN)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_all_that_is_unknown_below_the_prefix_is_json(app: Flask, path: str, method: str) -> None:
    answer = embed(app).open(f"/hub{path}", method=method, headers=AUTH)
    assert (answer.status_code, answer.mimetype) == (404, "application/json"), answer.text
    assert answer.json == {"error": "Not found", "code": "NOT_FOUND"}
    assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("path", [path for path in UNKNOWN if path != "/" and not path.startswith("//")])
def test_and_in_the_standalone_hub(tmp_path: Path, path: str) -> None:
    app = create_app({"AGENTLIP_DB": str(tmp_path / "db.sqlite3"), "AGENTLIP_AUTH_TOKEN": TOKEN})
    answer = app.test_client().get(path, headers=AUTH)
    assert (answer.status_code, answer.json) == (404, {"error": "Not found", "code": "NOT_FOUND"})
    app.extensions["agentlip"].close()


@pytest.mark.parametrize("method", ["PROPFIND", "POST"])
@pytest.mark.parametrize("path", ["/hub/ui/", "/hub/ui/static/app.js", "/hub/health", "/hub/api/v1/events"])
def test_a_method_that_a_url_does_not_know_is_json_too(app: Flask, path: str, method: str) -> None:
    answer = embed(app).open(path, method=method, headers=AUTH)
    assert (answer.status_code, answer.json["code"]) == (405, "NOT_FOUND")
    assert "GET" in answer.headers["Allow"]
    assert app.test_client().open("/hub/nope", method=method).status_code == 404


ALLOWED = {
    "/health": "GET, HEAD",
    "/api/v1/_ping": "POST",
    "/api/v1/channels": "GET, HEAD, POST",
    "/api/v1/channels/ch_1/topics": "GET, HEAD",
    "/api/v1/topics/topic_1": "PATCH",
    "/api/v1/messages/msg_1": "GET, HEAD, PATCH",
    "/ui": "GET, HEAD",
    "/ui/": "GET, HEAD",
    "/ui/login": "GET, HEAD",
    "/ui/static/app.js": "GET, HEAD",
    "/ui/session": "DELETE, GET, HEAD, POST",
    "/ws": "GET",
}


@pytest.mark.parametrize("path", ALLOWED)
@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "CONNECT", "MKCOL"])
def test_a_method_that_nobody_knows_is_told_the_right_ones(app: Flask, method: str, path: str) -> None:
    alone, beside = create_app(dict(app.config)), Flask(__name__)
    beside.config.update(app.config)
    hubs = ((embed(app), "/hub"), (alone.test_client(), ""), (embed_in(app, beside), ""))
    answers = [client.open(prefix + path, method=method, headers=AUTH) for client, prefix in hubs]
    alone.extensions["agentlip"].close()
    assert [answer.status_code for answer in answers] == [405] * 3
    assert [answer.headers["Allow"] for answer in answers] == [ALLOWED[path]] * 3
    assert [answer.json["code"] for answer in answers] == ["NOT_FOUND"] * 3


@pytest.mark.parametrize("method", ["POST", "PUT", "TRACE"])
@pytest.mark.parametrize(("path", "status"), [("/hub/ws", 400), ("/hub/health", 404), ("/hub/nope", 404)])
def test_a_websocket_with_another_method_is_json(app: Flask, method: str, path: str, status: int) -> None:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    answer = embed(app).open(path, method=method, headers=headers)
    assert (answer.status_code, answer.mimetype) == (status, "application/json")


def test_a_websocket_to_nowhere_is_json(app: Flask) -> None:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    answer = embed(app).get("/hub/nope", headers=headers)
    assert (answer.status_code, answer.json["code"]) == (404, "NOT_FOUND")


def test_the_hosts_own_urls_stay_its_own(app: Flask) -> None:
    app.add_url_rule("/hub/of/the/host", "own", lambda: "own")
    app.add_url_rule("/page/", "page", lambda: "page")
    client = embed(app)
    assert client.get("/hub/of/the/host").text == "own"
    assert client.get("/page").status_code == 308
    for path in ("/nope", "/hubs/nope", "/hub"):
        answer = client.get(path)
        assert (answer.status_code, answer.text) == (404, "<p>the host's 404 page")


def test_at_the_root_only_the_api_is_the_hubs(app: Flask) -> None:
    app.add_url_rule("/<path:page>", "any", lambda page: f"page {page}")
    app.add_url_rule("/api/own", "own", lambda: "own")
    client = embed(app, None)
    assert client.get("/api/own").text == "own"
    assert client.get("/nope").text == "page nope"
    assert client.get("/api/v1/channels", headers=AUTH).json["channels"] == []
    for path in ("/api/v1", "/api/v1/", "/api/v1/nope", "/api//v1/channels", "/api/v1//channels"):
        answer = client.get(path, headers=AUTH)
        assert (path, answer.status_code, answer.json) == (path, 404, {"error": "Not found", "code": "NOT_FOUND"})


def test_an_async_login_is_asked_as_async_views_are(app: Flask) -> None:
    async def authorize(action: str) -> bool:
        return action == "read"

    if find_spec("asgiref") is None:  # what Flask needs for that
        with pytest.raises(RuntimeError, match="async"):
            app.agentlip.init_app(app, "/hub", authorize)  # type: ignore[attr-defined]
        return
    app.agentlip.init_app(app, "/hub", authorize)  # type: ignore[attr-defined]
    client = app.test_client()
    assert client.get("/hub/api/v1/channels").status_code == 200
    assert client.post("/hub/api/v1/channels", json={"name": "x"}).status_code == 403


def test_a_prefix_with_parameters_is_refused(app: Flask) -> None:
    with pytest.raises(ConfigError, match="cannot hold parameters"):
        embed(app, "/<tenant>/hub")


def test_an_application_whose_every_rule_names_a_host_is_refused(app: Flask) -> None:
    app.url_map.host_matching = True
    with pytest.raises(ConfigError, match="host_matching"):
        embed(app)
