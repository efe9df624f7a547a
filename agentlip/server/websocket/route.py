"""The flask-sock route `/ws`: refuse before the handshake, take the socket, run the session.

flask-sock answers 101 before it calls a view, and it gives its options to every route of an
application; a host's own WebSocket routes must keep their behaviour.  So our route has a `Sock`
of its own, which checks first, starts no reader thread, and runs the session while the server
iterates the response: by then Flask's request context is gone and holds no memory.

The response is an ordinary one of the application's class, and its iteration ends like any other, for
the sake of what hosts put between us and the server.  Nothing is taken before that iteration starts.
Afterwards the connection is shut down: the server's own answer, a header with status 101, fails as it
does when a browser has gone away, which all servers pass over in silence.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import Any

from flask import Blueprint, Request, Response, current_app, request
from flask.globals import request_ctx
from flask_sock import Sock

from ...errors import (
    AgentlipError,
    ConfigError,
    InternalError,
    InvalidInput,
    ShuttingDown,
    StorageError,
    UpgradeRequired,
)
from ..access import auth
from ..http import connections
from ..http.call import Call
from ..http.dispatch import METHODS, RULE, Answer, answer_error, view_of
from ..http.request_socket import keep_socket
from ..state import HubState
from .taking import take
from .transport import SocketTransport, switching_protocols

logger = logging.getLogger("agentlip.ws")


class HubSock(Sock):  # type: ignore[misc]
    """flask-sock, with a gate before the handshake and the session run outside the request context."""

    def route(self, path: str, bp: Blueprint, **kwargs: Any) -> Callable[[Callable[..., Any]], Answer]:
        """Register `view(call)` for WebSocket requests to `path`; its response takes the connection."""

        def decorator(view: Callable[..., Any]) -> Answer:
            def answer(state: HubState, request: Request) -> Response:
                call = Call(state, request)
                try:
                    _check(call)
                    response: Response = view(call)
                    return response
                except AgentlipError as error:
                    return answer_error(call, error)
                except (ConfigError, StorageError) as error:
                    return answer_error(call, state.unavailable(error))
                except Exception as error:
                    return answer_error(call, InternalError.of(error))

            def websocket_route() -> Response:
                return answer(current_app.extensions["agentlip"], request_ctx.request)

            methods = ["GET", "HEAD", "OPTIONS"]
            bp.add_url_rule(path, "ws", websocket_route, websocket=True, methods=methods, **RULE, **kwargs)
            return answer

        return decorator


sock = HubSock()


def register(bp: Blueprint) -> dict[str, Answer]:
    """Add the WebSocket route, and the same for plain requests, which get to know what is missing."""
    answer = sock.route("/ws", bp=bp)(_accept)
    bp.add_url_rule("/ws", "ws_plain", view_of(answer, ("GET",)), methods=METHODS, merge_slashes=False)
    return {"/ws": answer}


def empty_bodies(bp: Blueprint) -> None:
    """Let functions of a host read the body of an upgrade: where pywsgi has the connection itself they would wait."""

    @bp.url_value_preprocessor
    def empty(endpoint: str | None, _values: dict[str, object] | None) -> None:
        if endpoint == request.blueprint + ".ws" and not _has_body(request):  # type: ignore[operator]
            with suppress(Exception):  # which `_accept` tells
                keep_socket(request.environ)
            request.environ["wsgi.input"] = BytesIO()


def _has_body(request: Request) -> bool:
    return bool(request.content_length) or "HTTP_TRANSFER_ENCODING" in request.environ


def _words(header: str) -> list[str]:
    return [word.strip() for word in header.lower().split(",")]


def _check(call: Call) -> None:
    """Everything that is refused with an HTTP answer, the token first. Raises AgentlipError."""
    state, request = call.state, call.request
    call.caller = auth.admit(state, request.environ, "connect")
    connections.keep(request.environ)
    auth.check_origin(state.settings, request.headers.get("Origin"), request.environ.get("HTTP_HOST", ""))
    if request.method != "GET":
        raise InvalidInput("A WebSocket must start with GET")
    if request.environ.get("SERVER_PROTOCOL") != "HTTP/1.1":
        raise InvalidInput("A WebSocket needs HTTP/1.1")
    if _has_body(request):
        raise InvalidInput("A WebSocket request has no body")
    if "websocket" not in _words(request.headers.get("Upgrade", "")):
        raise UpgradeRequired()
    if "upgrade" not in _words(request.headers.get("Connection", "")):
        raise InvalidInput("The Connection header must say Upgrade")
    if request.headers.get("Sec-WebSocket-Version", "").strip() != "13":
        raise UpgradeRequired("Only WebSocket version 13 is supported")
    try:
        key = base64.b64decode(request.headers.get("Sec-WebSocket-Key", "").strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        raise InvalidInput("Sec-WebSocket-Key must be 16 bytes in base 64")
    if not request.headers.get("Host"):
        raise InvalidInput("The Host header is missing")
    if state.draining:
        raise ShuttingDown()
    state.store.check_file()


def _accept(call: Call) -> Response:
    """The answer that becomes a WebSocket."""
    call.state.calls += 1
    response = (current_app.response_class if current_app else Response)(status=101)
    greeting = switching_protocols(call.environ["HTTP_SEC_WEBSOCKET_KEY"])
    return take(call, response, lambda _environ: greeting, SocketTransport)
