"""An application that has lived for years without a hub: hooks, error pages, CSRF protection, a WebSocket of its own.

Each server of `servers.py` runs it. `HOST_*` variables choose what it does:
HOST_AUTHORIZE=1 lets a header stand for the host's login, HOST_CSRF=late sets the CSRF protection up after the hub.
Headers of a request choose what fails or stands in its way: `X-Fail-After`, and `X-Fail` and `X-Between` below.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    appcontext_tearing_down,
    g,
    jsonify,
    redirect,
    request,
    request_tearing_down,
)
from flask_sock import Sock
from flask_wtf.csrf import CSRFProtect
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import ClosingIterator

from agentlip import Agentlip

pages = Blueprint("pages", __name__)
seen: list[str] = []


@pages.route("/")
def index() -> str:
    return "the host's page"


@pages.post("/form")
def form() -> str:
    return "never without a CSRF token"


@pages.post("/say")
def say() -> Any:
    """Post from a view, in the host's own request."""
    hub = request_hub()
    channel = hub.create_channel(request.headers["X-Name"]).channel
    topic = hub.create_topic(channel.id, "t").topic
    result = hub.post_message(topic.id, "view", g.body or "nothing")
    return jsonify(topic_id=topic.id, event_id=result.event_id, head=hub.head(), count=hub.connection_count())


@pages.route("/seen")
def what_was_seen() -> Any:
    return jsonify(seen)


@pages.route("/count")
def count() -> Any:
    return jsonify(request_hub().connection_count())


@pages.route("/waiting")
def waiting() -> Any:
    return jsonify(request_hub().is_in_use)


@pages.route("/close")
def close() -> Any:
    """End the hub; what is left open of its files."""
    request_hub().close()
    links = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    return jsonify([link for link in links if "hub.sqlite3" in link])


def request_hub() -> Any:
    from flask import current_app

    return current_app.extensions["agentlip"]


def authorize(action: str) -> bool | None:
    """The host's login: a header says who it is and what that one may."""
    login = request.headers.get("X-Login")
    if login == "broken":
        raise KeyError("the host's own mistake")
    if login == "aborted":
        abort(403)
    if login is not None and login.startswith("abort ") and login[6:].isdigit():
        abort(int(login[6:]))
    if login == "abort with a redirect":
        abort(redirect("/login"))
    if login == "abort with a response":
        abort(Response("come back later", 503))
    if login == "redirect":  # as Flask-Login's `login_required` has it
        return redirect("/login")  # type: ignore[return-value]
    if login == "no status":
        raise HTTPException()
    if login is None:
        return request_hub().bears_token() or None
    return action in login.split("+")


class HostResponse(Response):
    """The host's own kind of response."""

    default_mimetype = "text/plain"


def between(wsgi: Any) -> Any:
    """What stands between a host and its server: `X-Between` says which."""

    def middleware(environ: Any, start: Any) -> Any:
        how = environ.get("HTTP_X_BETWEEN")
        if how == "generator":
            return watched(wsgi(environ, start))
        if how == "late":
            return late(wsgi(environ, start))
        if how == "closing":
            return ClosingIterator(wsgi(environ, start), [lambda: print("closed by the server", flush=True)])
        if how == "joining":
            return [b"".join(watched(wsgi(environ, start)))]
        if how == "raising":
            wsgi(environ, start)
            raise RuntimeError("a middleware fails")
        if how == "replacing":
            wsgi(environ, lambda *_: None)
            start("418 I'm a teapot", [("Content-Length", "0")])
            return []
        return wsgi(environ, start)

    return middleware


def watched(body: Any) -> Any:
    try:
        yield from body
    except BaseException as error:
        print("the middleware saw", repr(error), flush=True)
        raise


def late(body: Any) -> Any:
    time.sleep(0.7)
    yield from body


def fail(where: str) -> None:
    if g.get("fail") == where:
        raise RuntimeError(f"the host's {where} fails")


def create_app() -> Flask:
    app = Flask(__name__)
    app.response_class = HostResponse
    app.wsgi_app = between(app.wsgi_app)  # type: ignore[method-assign]
    app.teardown_request(lambda _error: fail("teardown_request"))
    app.teardown_appcontext(lambda _error: fail("teardown_appcontext"))
    request_tearing_down.connect(lambda *_, **__: fail("request_tearing_down"), app, weak=False)
    appcontext_tearing_down.connect(lambda *_, **__: fail("appcontext_tearing_down"), app, weak=False)
    app.config["SECRET_KEY"] = "of the host"
    app.config["MAX_CONTENT_LENGTH"] = 1000  # for the host's own forms
    app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 7}
    late = os.environ.get("HOST_CSRF") == "late"
    csrf = CSRFProtect()
    if not late:
        csrf.init_app(app)
    Agentlip(app, url_prefix="/hub", authorize=authorize if os.environ.get("HOST_AUTHORIZE") else None)
    if late:
        csrf.init_app(app)
    csrf.exempt(say)
    app.register_blueprint(pages)
    sock = Sock(app)

    @sock.route("/echo")
    def echo(ws: Any) -> None:
        ws.send(f"{ws.ping_interval} {ws.receive()}")

    @app.before_request
    def read_the_body() -> None:
        g.fail = request.headers.get("X-Fail")
        g.body = request.get_data(as_text=True) if request.path == "/say" else ""
        if request.headers.get("X-Read"):
            request.get_data()

    @app.after_request
    def add_a_header(response: Response) -> Response:
        if request.headers.get("X-Fail-After"):
            raise RuntimeError("the host's after_request fails")
        response.headers["X-Host"] = "was here"
        if request.headers.get("X-Between"):
            response.call_on_close(lambda: print("closed by the server", flush=True))
        return response

    @app.errorhandler(404)
    def not_found(_error: Exception) -> tuple[str, int]:
        return "the host's 404 page", 404

    @app.errorhandler(Exception)
    def failed(error: Exception) -> tuple[str, int]:
        return f"the host's error page: {type(error).__name__}", getattr(error, "code", 500)

    if os.environ.get("HOST_FOLLOWS") != "no":
        threading.Thread(target=follow, args=(app,), daemon=True).start()
    return app


def follow(app: Flask) -> None:
    """A background thread of the host, outside of any context."""
    for event in app.extensions["agentlip"].subscribe(after=0):
        seen.append(event.name)
