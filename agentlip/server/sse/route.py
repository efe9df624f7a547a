"""The answer that becomes a stream of events: its head, and the session behind it."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Response, current_app

from ... import wire
from ...errors import InvalidInput, ShuttingDown
from ..http import connections
from ..http.call import Call
from ..http.dispatch import HEADERS
from ..websocket.taking import take
from .transport import EventStream

# What the head of a stream that ends with its connection cannot have.
_OF_BODIES = ("Content-Length", "Transfer-Encoding", "Content-Encoding", "Connection", "Keep-Alive")


def accept(call: Call, hello: wire.Hello) -> Response:
    """Stream what a hello asks for. Raises InvalidInput, ShuttingDown and ServiceUnavailable."""
    state = call.state
    response = (current_app.response_class if current_app else Response)(status=200)
    response.headers.clear()
    response.headers.extend([("Content-Type", "text/event-stream"), *HEADERS[1:], ("X-Accel-Buffering", "no")])
    response.headers["X-Request-ID"] = call.request_id
    response.headers.update(call.headers)
    if call.environ.get("SERVER_PROTOCOL") != "HTTP/1.1":
        raise InvalidInput("A stream needs HTTP/1.1")
    if call.method == "HEAD":
        return response
    if state.draining:
        raise ShuttingDown()
    state.store.check_file()
    connections.keep(call.environ)
    feed = state.hub.feed
    made = partial(EventStream, lambda: feed.position)
    return take(call, response, partial(_head_of, response), made, lambda session: session.answer(hello))


def _head_of(response: Response, environ: dict[str, Any]) -> bytes:
    """The head as it is when the server asks for the body: functions of a host may have added to it."""
    headers = response.get_wsgi_headers(environ)
    for name in _OF_BODIES:
        headers.pop(name, None)
    headers["Connection"] = "close"
    lines = [f"{name}: {value}" for name, value in headers.to_wsgi_list()]
    return "\r\n".join([f"HTTP/1.1 {response.status}", *lines, "", ""]).encode("latin-1")
