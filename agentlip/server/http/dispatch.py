"""From a request to a handler and back: token, rate limit, body, answer, headers, log line.

Each URL is one Flask rule for all methods, so that a wrong method and an unknown path are answered
here, as JSON, also inside a host application whose error pages stay its own.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, get_args

import orjson
from flask import Blueprint, Flask, Request, Response, current_app
from flask.globals import request_ctx
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from ...errors import (
    AgentlipError,
    ConfigError,
    Forbidden,
    InternalError,
    InvalidAuth,
    InvalidInput,
    MethodNotAllowed,
    MissingAuth,
    NotFound,
    OriginNotAllowed,
    RateLimited,
    ShuttingDown,
    StorageError,
)
from ...model.fields import request_of
from ...store.decoding import as_json
from .. import logs
from ..access import auth, limits
from ..state import PROTOCOL_VERSION, HubState
from . import connections, query, retried
from .body import read_body
from .call import Call, Endpoint, request_id_of
from .request_socket import socket_of

# Of every rule: we answer OPTIONS and doubled slashes; Flask's redirect would name whatever host the request names.
RULE: dict[str, Any] = {"provide_automatic_options": False, "merge_slashes": False}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
HEADERS = (
    ("Content-Type", "application/json"),
    ("X-Protocol-Version", PROTOCOL_VERSION),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cache-Control", "no-store"),
    ("Idempotency-Keys", "accepted"),  # so that clients know: other hubs would do twice what is asked again
)


_PROTECTING = HEADERS[2:6]
_SIGNED = ("sender", "actor")  # fields that say who does it

logger = logging.getLogger("agentlip.request")


# (state, request, **parameters of the URL); needs no context of Flask's and raises nothing.
Answer = Callable[..., Response]


def register_endpoints(bp: Blueprint, tables: Iterable[Iterable[Endpoint]]) -> dict[str, Answer]:
    """One rule per URL. Returns the URLs without parameters."""
    urls: dict[str, dict[str, Endpoint]] = {}
    for table in tables:
        for endpoint in table:
            urls.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    answers = {path: _answerer(methods) for path, methods in urls.items()}
    for path, answer in answers.items():
        name = re.sub(r"\W+", "_", path).strip("_")
        bp.add_url_rule(path, name, view_of(answer, _allowed(urls[path])), methods=METHODS, **RULE)
    return {path: answer for path, answer in answers.items() if "<" not in path}


def answer_unknown(app: Flask, bp: Blueprint, prefix: str, *, everything: bool) -> None:
    """Answer what has no rule of its own as JSON: all below the prefix, or, where the host has the root, the API's.

    Call it when the blueprint has its rules.
    """
    app.url_map.converters["agentlip_unknown"] = _Unknown if everything else _UnknownApi

    def view(**_params: str) -> Response:
        allowed = sorted(method for method in METHODS if _is_known(method))
        error: AgentlipError = MethodNotAllowed(", ".join(allowed)) if allowed else NotFound()
        if allowed and request_ctx.url_adapter.websocket:  # type: ignore[union-attr]
            error = InvalidInput("A WebSocket must start with GET")
        return answer_error(Call(current_app.extensions["agentlip"], request_ctx.request), error)

    def _is_known(method: str) -> bool:
        try:
            matched = request_ctx.url_adapter.match(method=method)[0]  # type: ignore[union-attr]
        except HTTPException:
            return False
        meant = getattr(current_app.view_functions[matched], "allowed", METHODS)  # its rule is for all methods
        return matched != f"{bp.name}.unknown" and method in meant

    rule, endpoint = app.url_rule_class, f"{bp.name}.unknown"
    path = f"{prefix.rstrip('/')}/<agentlip_unknown:rest>"
    # Of any method, also of those that nobody has heard of; for URLs of ours, too, where a host has the root.
    ours = {each.rule for each in app.url_map.iter_rules() if each.endpoint.startswith(f"{bp.name}.")}
    for known in (path, *(() if everything else ours)):
        app.url_map.add(rule(known, endpoint=endpoint, merge_slashes=False))
    app.url_map.add(rule(path, endpoint=endpoint, websocket=True))
    app.view_functions[endpoint] = view


class _Unknown(BaseConverter):
    """Any path, also with slashes where none should be: Werkzeug would redirect to what it takes for meant."""

    part_isolating = False
    regex = ".*"
    weight = 1000


class _UnknownApi(BaseConverter):
    part_isolating = False
    regex = "/*api/+v1(?:/.*)?"
    weight = 90  # before a host's rule for any path


def view_of(answer: Answer, allowed: Iterable[str]) -> Callable[..., Response]:
    """A view for a rule of all methods, of which those not `allowed` are refused by the answer itself."""

    def view(**params: str) -> Response:
        return answer(current_app.extensions["agentlip"], request_ctx.request, **params)

    view.allowed = allowed  # type: ignore[attr-defined]
    return view


def _allowed(methods: Mapping[str, Endpoint]) -> set[str]:
    return {"HEAD", *methods} if "GET" in methods else set(methods)


def _answerer(methods: Mapping[str, Endpoint]) -> Answer:
    def answer(state: HubState, request: Request, **params: str) -> Response:
        call = Call(state, request)
        try:
            endpoint = methods.get("GET" if call.method == "HEAD" else call.method)
            if endpoint is None:
                raise MethodNotAllowed(", ".join(sorted(_allowed(methods))))
            asked = _admit(call, endpoint)
            if call.retry is not None:
                return _answer(call, *retried.answer(call, call.retry, endpoint, asked, params))
            if endpoint.streams:
                stream: Response = endpoint.handler(call, *asked, **params)
                return stream
            status, payload = endpoint.handler(call, *asked, **params)
            return _answer(call, status, orjson.dumps(payload, as_json))
        except AgentlipError as error:
            return answer_error(call, error)
        except (ConfigError, StorageError) as error:
            return answer_error(call, state.unavailable(error))
        except HTTPException:
            return answer_error(call, InvalidInput())
        except Exception as error:
            return answer_error(call, InternalError.of(error))

    return answer


def _admit(call: Call, endpoint: Endpoint) -> tuple[Any, ...]:
    """Token, rate limit, shutdown, body and fields, in this order: what is asked for, if anything is declared.

    Raises AgentlipError.
    """
    if endpoint.access == "open":
        return ()
    state = call.state
    state.calls += 1
    if endpoint.access != "anyone":
        caller = call.caller = auth.admit(state, call.environ, endpoint.access)
        if caller.lane != limits.PUBLIC:
            connections.keep(call.environ)
        if state.limiter is not None:
            call.headers.update(state.limiter.take(caller, call.environ.get("REMOTE_ADDR", "")))
    if endpoint.method == "GET":
        return () if endpoint.query is None else (query.read(endpoint.query, call.args),)
    if endpoint.access in ("write", "admin", "token") and state.draining:
        raise ShuttingDown()
    body = read_body(call, endpoint)
    if retried.KEY in call.environ and endpoint.takes_key:
        call.retry = retried.retry_of(call, endpoint, caller)
    if endpoint.request is None:
        return ()
    if call.caller is not None and call.caller.identity is not None:
        _sign(endpoint, body, call.caller.identity.agent.name)
    return (request_of(endpoint.request, body),)


def _sign(endpoint: Endpoint, body: dict[str, Any], name: str) -> None:
    """Put an agent's name where a request lacks the name of its sender."""
    for kind in get_args(endpoint.request) or (endpoint.request,):
        for field in kind.__struct_fields__:
            if field in _SIGNED and body.get(field) is None:
                body[field] = name


def _limit_connection(call: Call) -> None:
    """What our own worker does for its connections: no server may wait forever, to send or for a refused body."""
    sock = socket_of(call.environ)
    if sock is None:
        return
    settings = call.state.settings
    limit_sending(sock, settings.send_timeout)
    announced = call.environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in call.environ
    if announced and not call.body_received:
        call.headers["Connection"] = "close"
        call.state.deadlines.start(sock, settings.body_timeout)


def limit_sending(sock: Any, seconds: float) -> None:
    """Have the kernel give up a peer that takes nothing of what is sent for so long, whoever waits for it."""
    with suppress(OSError):  # of another family than TCP
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * seconds))


def answer_error(call: Call, error: AgentlipError) -> Response:
    """The error as JSON; a failure of ours is logged here, once, with its cause."""
    if isinstance(error, InternalError):
        logger.error("A request failed", exc_info=error.__cause__ or error)
    if call.caller is None and isinstance(error, MissingAuth | Forbidden | OriginNotAllowed):  # nobody let it in
        error = _counted(call, error)
    call.headers.update(error.headers)
    if isinstance(error, RateLimited):
        call.headers.update(limits.refusal_headers(error))
    return _answer(call, error.status, _payload(error))


def _counted(call: Call, error: AgentlipError) -> AgentlipError:
    """The answer to a call that nobody let in: the error, or that there were too many of them."""
    limiter = call.state.limiter
    if limiter is None:
        return error
    try:
        address = call.environ.get("REMOTE_ADDR", "")
        call.headers.update(limiter.refuse(address, failed=isinstance(error, InvalidAuth)))
    except RateLimited as limited:
        return limited
    return error


def _payload(error: AgentlipError) -> bytes:
    payload: dict[str, Any] = {"error": error.message, "code": error.code}
    if error.details:
        payload["details"] = error.details
    return orjson.dumps(payload, as_json)


def bare_answer(error: AgentlipError) -> bytes:
    """The whole answer to what was not a request, so that there is no call; the connection ends with it."""
    body = _payload(error)
    more = (("Content-Length", len(body)), ("X-Request-ID", request_id_of({})), ("Connection", "close"))
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in (*HEADERS, *error.headers.items(), *more)]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _CleanHeaders(Headers):
    """Headers that need no check: their names and values are ours, or were checked by us."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._list = pairs


class _JsonResponse(Response):
    """A response whose headers are complete: they go out as they are, which saves two copies of them all.

    Functions that a host runs after each request may add some, but change none that protect.
    """

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        headers = self.headers.to_wsgi_list()
        if tuple(headers[2:6]) != _PROTECTING:
            for name, value in _PROTECTING:
                self.headers[name] = value
            headers = self.headers.to_wsgi_list()
        start_response(self.status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else self.response  # type: ignore[return-value]


def _answer(call: Call, status: int, body: bytes) -> Response:
    if not connections.are_watched:
        _limit_connection(call)
    headers = [*HEADERS, ("Content-Length", str(len(body))), ("X-Request-ID", call.request_id), *call.headers.items()]
    response = _JsonResponse([body], status, _CleanHeaders(headers))
    if logger.isEnabledFor(logging.INFO):
        fields = {
            "method": call.method,
            "path": call.path,
            "status": status,
            "duration_ms": round(1000 * (time.perf_counter() - call.started), 2),
            "request_id": call.request_id,
            "instance_id": call.state.instance_id,
            "event_ids": call.event_ids,
        }
        if call.was_replayed:
            fields["replayed"] = True
        logs.log_fields(logger, "request", fields)
    return response
