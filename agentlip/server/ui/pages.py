"""The two documents of the page and its static files. They hold no data and no token, so nobody is asked.

All URLs in them are relative, so that they work below a prefix, and below a path that only a proxy knows of.
"""

from __future__ import annotations

from flask import Blueprint, Response, make_response, redirect, render_template, send_from_directory

from ...version import __version__
from ..api.dispatch import RULE

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
    assets = Blueprint("ui", __name__, template_folder="templates")

    @assets.get("/ui", **RULE)
    def without_slash() -> Response:
        return _with_headers(redirect("ui/", 308))  # type: ignore[arg-type]

    @assets.get("/ui/", **RULE)
    def index() -> Response:
        return _with_headers(make_response(render_template("agentlip/index.html", version=__version__)))

    @assets.get("/ui/login", **RULE)
    def login() -> Response:
        return _with_headers(make_response(render_template("agentlip/login.html", version=__version__)))

    @assets.get("/ui/static/<path:name>", **RULE)
    def static(name: str) -> Response:
        return _with_headers(send_from_directory(f"{assets.root_path}/{_FOLDER}", name))

    bp.register_blueprint(assets)


def _with_headers(response: Response) -> Response:
    response.headers.update(_HEADERS)
    return response
