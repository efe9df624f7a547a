"""The two documents of the page and its static files. They hold no data and no token, so nobody is asked.

All URLs in them are relative, so that they work below a prefix, and below a path that only a proxy knows of.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, redirect, request, send_from_directory
from jinja2 import Environment, FileSystemLoader
from werkzeug.datastructures import Headers
from werkzeug.exceptions import NotFound as NoSuchFile

from ...errors import NotFound
from ...version import __version__
from ..http.call import Call, request_id_of
from ..http.dispatch import RULE, answer_error
from ..state import PROTOCOL_VERSION

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
_HEADERS = {
    "X-Protocol-Version": PROTOCOL_VERSION,
    "Content-Security-Policy": _POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # asked for each time, and answered 304 when unchanged
}
_FOLDER = "static"


def register(bp: Blueprint) -> None:
    """Add the pages to the hub's blueprint."""
    assets = Blueprint("ui", __name__)

    @assets.get("/ui", **RULE)
    def without_slash() -> Response:
        return with_headers(redirect("ui/", 308))  # type: ignore[arg-type]

    @assets.get("/ui/", **RULE)
    def index() -> Response:
        return with_headers(_document("index.html"))

    @assets.get("/ui/login", **RULE)
    def login() -> Response:
        return with_headers(_document("login.html"))

    @assets.get("/ui/static/<path:name>", **RULE)
    def static(name: str) -> Response:
        request.environ.pop("HTTP_RANGE", None)  # no file is worth parts, and the host would answer for a wrong one
        try:
            return with_headers(send_from_directory(f"{assets.root_path}/{_FOLDER}", name))
        except NoSuchFile:
            return answer_error(Call(current_app.extensions["agentlip"], request), NotFound())

    bp.register_blueprint(assets)


def _document(name: str) -> Response:
    # Not through make_response: a host's class of responses may have another type of content.
    return Response(_rendered(name), mimetype="text/html")


@cache
def _rendered(name: str) -> str:
    """A page. Not through the host's Jinja, whose delimiters, filters and globals are the host's."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True)
    return environment.get_template(f"agentlip/{name}").render(version=__version__)


class Page(Response):
    """Has the hub's headers, whatever functions that a host runs after each request make of them."""

    policy = _POLICY

    def get_wsgi_headers(self, environ: Any) -> Headers:
        self.headers.update(_HEADERS | {"Content-Security-Policy": self.policy})
        return super().get_wsgi_headers(environ)


def with_headers(response: Response, kind: type[Page] = Page) -> Response:
    response.headers.update(_HEADERS | {"Content-Security-Policy": kind.policy})  # for those functions to see
    response.headers["X-Request-ID"] = request_id_of(request.environ)
    return kind.force_type(response)  # type: ignore[return-value]  # the same object, of another class
