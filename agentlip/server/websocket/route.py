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
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
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
    ServiceUnavailable,
    ShuttingDown,
    StorageError,
    UpgradeRequired,
)
from ...hub.session import Session
from .. import logs
from ..access import auth, logins
from ..access.limits import PERSON
from ..http import capacity, connections
from ..http.call import Call
from ..http.dispatch import METHODS, RULE, Answer, answer_error, bare_answer, view_of
from ..http.request_socket import find_socket, keep_socket
from ..state import HubState
from . import handover
from .stream import stream_of
from .transport import SocketTransport, switch_protocols

logger = logging.getLogger("agentlip.ws")


class HubSock(Sock):  # type: ignore[misc]
    """flask-sock, with a gate before the handshake and the session run outside the request context."""

    def route(self, path: str, bp: Blueprint, **kwargs: Any) -> Callable[[Callable[..., Any]], Answer]:
        """Register `view(accepted, socket)` for WebSocket requests to `path`; it runs a whole session."""

        def decorator(view: Callable[..., Any]) -> Answer:
            def answer(state: HubState, request: Request) -> Response:
                call = Call(state, request)
                try:
                    _check(call)
                    return _accept(call, view)
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
    answer = sock.route("/ws", bp=bp)(run_session)
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


def _accept(call: Call, view: Callable[..., Any]) -> Response:
    """See that there is room and a socket; the rest is left to the time when the server iterates the response.

    Functions that a host runs after each request come between, and may fail, or put another answer in its place.
    """
    call.state.calls += 1
    try:
        taken = find_socket(call.environ)
    except Exception as error:
        raise InvalidInput("The WebSocket handshake failed") from error
    capacity.check(
        call.state.hub, call.environ, "WebSockets"
    )  # not before: a test client, which has no socket, says nothing of the server
    if not call.state.hub.has_room:
        raise ServiceUnavailable("connection limit")
    response = (current_app.response_class if current_app else Response)(status=101)
    session = partial(_hold, _Accepted(call), view, taken)
    # An attribute and not a class of ours, in whose place Flask would put the class of a host.
    at_the_end = response._on_close  # not the response itself, which would stay as long as the WebSocket
    response.get_app_iter = lambda environ: _Iteration(environ, session, at_the_end)  # type: ignore[method-assign]
    return response


class _Accepted:
    """What a WebSocket still needs of the request that opened it, which is dropped."""

    __slots__ = ("is_welcome", "key", "path", "request_id", "state")

    def __init__(self, call: Call) -> None:
        self.state = call.state
        self.path = call.path
        self.request_id = call.request_id
        self.key: str = call.environ["HTTP_SEC_WEBSOCKET_KEY"]
        self.is_welcome = _welcome(call)

    def log(self, event: str, fields: dict[str, Any]) -> None:
        if logger.isEnabledFor(logging.INFO):
            names = {"path": self.path, "request_id": self.request_id, "instance_id": self.state.instance_id}
            logs.log_fields(logger, event, {"event": event} | names | fields)


class _Iteration:
    """The body of the response: it yields nothing, and its first step is the whole session.

    Our own worker runs it later, when the request is forgotten.
    """

    def __init__(
        self, environ: dict[str, Any], session: Callable[[], None], at_the_end: Sequence[Callable[[], Any]]
    ) -> None:
        self._run: Callable[[], None] | None = session
        self._environ = environ
        self._at_the_end = at_the_end

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        run, self._run = self._run, None
        if run is not None and not handover.hand_over(self._environ, run):
            run()
        raise StopIteration

    def close(self) -> None:
        """Call what was given to `response.call_on_close`."""
        for function in self._at_the_end:
            function()


def _hold(accepted: _Accepted, view: Callable[..., Any], taken: Any) -> None:
    """Run the view in a connection slot. Never raises; the connection is over afterwards."""
    hub = accepted.state.hub
    reserved = hub.reserve()
    try:
        if reserved:
            switch_protocols(taken, accepted.key, accepted.state.settings.send_timeout)
            view(accepted, taken)
        else:  # others came in since `_accept`
            taken.sendall(bare_answer(ServiceUnavailable("connection limit")))
    except OSError:
        pass  # the peer has left already
    finally:
        if reserved:
            hub.release()
        with suppress(OSError):
            taken.shutdown(socket.SHUT_RDWR)


def run_session(accepted: _Accepted, taken: Any) -> None:
    """Run one WebSocket to its end. Never raises: the server would write an error page into the stream."""
    hub = accepted.state.hub
    session: Session | None = None
    transport: SocketTransport | None = None
    started = time.monotonic()
    try:
        transport = SocketTransport(stream_of(taken), accepted.state.settings)
        session = hub.open(transport)
        session.is_welcome = accepted.is_welcome
        accepted.log("connect", {})
        transport.run(session)
    except Exception:
        logger.exception("A WebSocket failed")
    finally:
        if transport is not None:
            transport.finish()
        if session is not None:
            hub.leave(session)
        closed = session.closed_with if session is not None else None
        code = closed.code if closed is not None else 1006
        accepted.log("disconnect", {"code": code, "duration_ms": round(1000 * (time.monotonic() - started), 1)})


def _welcome(call: Call) -> Callable[[], bool] | None:
    """Whether the browser's session that opened the WebSocket is still good; None when it was opened by other right."""
    if call.caller is None or call.caller.lane != PERSON or not call.caller.credential:
        return None
    state = call.state
    return partial(logins.is_good, state.settings.db.parent, state.token, call.caller.credential)
