"""A Flask application with a hub that tells of how many of its WebSockets the request is still in memory."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response, request

from agentlip import Agentlip

app = Flask(__name__)
app.config |= {"AGENTLIP_DB": os.environ["FORGOTTEN_DB"], "AGENTLIP_AUTH_TOKEN": os.environ["FORGOTTEN_TOKEN"]}
Agentlip(app, url_prefix="/hub")


class Mark:
    """Lives as long as the environment that it is put into."""


marks: weakref.WeakSet[Mark] = weakref.WeakSet()


@app.before_request
def remember() -> None:
    if request.path == "/hub/ws":
        request.environ["mark"] = mark = Mark()
        marks.add(mark)


@app.get("/seen")
def tell() -> Response:
    gc.collect()
    return Response(str(len(marks)))


@app.get("/known")
def known() -> str:
    return "hello"


class Copying:
    """Passes on a copy of the environment, as the middleware of some hosts does."""

    def __init__(self, below: WSGIApplication) -> None:
        self._below = below

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._below(dict(environ), start_response)


if os.environ.get("FORGOTTEN_COPIES"):
    app.wsgi_app = Copying(app.wsgi_app)  # type: ignore[method-assign]
