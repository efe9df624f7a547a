"""From a request to a handler and back: token, rate limit, body, answer, headers, log line.

Each URL is one Flask rule for all methods, so that a wrong method and an unknown path are answered
here, as JSON, also inside a host application whose error pages stay its own.
"""

from __future__ import annotations

import logging
import random
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

import orjson
from flask import Blueprint, Flask, Request, Response, current_app
from flask.globals import request_ctx
from werkzeug.datastructures import Headers, MultiDict
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from ... import concurrency
from ...errors import (
    AgentlipError,
    BodyTimeout,
    ConfigError,
    Forbidden,
    InternalError,
    InvalidAuth,
    InvalidInput,
    MethodNotAllowed,
    MissingAuth,
    NotFound,
    OriginNotAllowed,
    PayloadTooLarge,
    RateLimited,
    ShuttingDown,
    StorageError,
    UnknownCoding,
    UnsupportedMediaType,
)
from ...store.decoding import bytes_as_text
from .. import auth, connections, limits, logs
from ..state import PROTOCOL_VERSION, HubState
from ..transport import find_socket

# Of every rule: we answer OPTIONS and doubled slashes; Flask's redirect would name whatever host the request names.
RULE: dict[str, Any] = {"provide_automatic_options": False, "merge_slashes": False}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# 65,536 bytes of content grow at most sixfold when escaped; the rest is room for the other fields.
BODY_BYTES = 512 * 1024
_MAX_BRACKETS = 200
_CHUNKED_PIECE = 4096
# A body has the time of the setting, and more when it is large.
_SLOWEST_BYTES_PER_SECOND = 16 * 1024

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_HEADERS = (
    ("Content-Type", "application/json"),
    ("X-Protocol-Version", PROTOCOL_VERSION),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cache-Control", "no-store"),
)


_PROTECTING = _HEADERS[2:6]

logger = logging.getLogger("agentlip.request")


class Call:
    """One request on its way through the API. `event_ids` is what it appended, for the log."""

    def __init__(self, state: HubState, request: Request) -> None:
        self.state = state
        self.started = time.perf_counter()
        self.request = request
        self.environ = request.environ
        self.method: str = self.environ["REQUEST_METHOD"]
        self.path = request.path
        self.request_id = request_id_of(self.environ)
        self.headers: dict[str, str] = {}
        self.body: dict[str, Any] = {}
        self.body_received = False
        self.event_ids: list[int] = []
        self.caller: limits.Caller | None = None  # of a WebSocket, once it is let in

    @property
    def args(self) -> MultiDict[str, str]:
        """The parameters of the query string."""
        return self.request.args

    def field(self, name: str) -> Any:
        """A field of the body as it came, None when it is absent; `commands` checks it."""
        return self.body.get(name)

    def written(self, status: int, result: Any) -> tuple[int, dict[str, Any]]:
        """The answer of a change: the result's fields, of which `event_id` is noted for the log."""
        if result.event_id is not None:
            self.event_ids.append(result.event_id)
        return status, result._asdict()


Handler = Callable[..., tuple[int, Any]]
# (state, request, **parameters of the URL); needs no context of Flask's and raises nothing.
Answer = Callable[..., Response]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method of a URL: its handler `(call, **path parameters) -> (status, JSON)` and who may call it.

    `access` is `open` (nobody is asked, nothing is counted), `anyone`, `read` or `write`; `max_body` is in bytes.
    """

    method: str
    path: str
    handler: Handler
    access: str
    max_body: int = BODY_BYTES
    body_optional: bool = False


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
            error = InvalidInput("A WebSocket starts with GET")
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
            _admit(call, endpoint)
            status, payload = endpoint.handler(call, **params)
            return _answer(call, status, orjson.dumps(payload, bytes_as_text))
        except AgentlipError as error:
            return answer_error(call, error)
        except (ConfigError, StorageError) as error:
            return answer_error(call, state.unavailable(error))
        except HTTPException:
            return answer_error(call, InvalidInput())
        except Exception as error:
            return answer_error(call, InternalError.of(error))

    return answer


def _admit(call: Call, endpoint: Endpoint) -> None:
    """Token, rate limit, shutdown and body, in this order. Raises AgentlipError."""
    if endpoint.access == "open":
        return
    state = call.state
    state.calls += 1
    if endpoint.access != "anyone":
        caller = auth.admit(state, call.environ, endpoint.access)
        if caller.lane != limits.PUBLIC:
            connections.keep(call.environ)
        if state.limiter is not None:
            call.headers.update(state.limiter.take(caller, call.environ.get("REMOTE_ADDR", "")))
    if endpoint.access == "write" and state.draining:
        raise ShuttingDown()
    if endpoint.method != "GET":
        call.body = _read_body(call, endpoint)


def _read_body(call: Call, endpoint: Endpoint) -> dict[str, Any]:
    request, environ, length = call.request, call.environ, call.request.content_length
    coding, announced = environ.get("HTTP_TRANSFER_ENCODING"), environ.get("CONTENT_LENGTH")
    if announced and (coding is not None or not (announced.isascii() and announced.isdecimal())):
        _give_up_connection(call)
        raise InvalidInput("The length of the body is not clear")
    may_be_empty = endpoint.body_optional and not length
    if may_be_empty and coding is None:
        return {}
    if coding is not None and coding.strip().lower() != "chunked":
        _give_up_connection(call)
        raise UnknownCoding()
    is_json = environ.get("CONTENT_TYPE") == "application/json" or request.mimetype == "application/json"
    if not is_json and not may_be_empty:
        raise UnsupportedMediaType()
    if length is not None and length > endpoint.max_body:
        raise PayloadTooLarge()
    if length is None and not environ.get("wsgi.input_terminated"):
        raise InvalidInput("The body needs a Content-Length")
    call.body_received = True
    if vars(request).keys() & {"stream", "_cached_data"}:  # a hook of the host has read the body already
        raw = request.get_data()
    else:
        # Not through Flask, whose limit is for the host's own forms. A chunked body is ended by the server below.
        read = environ["wsgi.input"].read if length is not None else partial(_read_chunks, environ["wsgi.input"])
        raw = _receive(call, read, endpoint.max_body + 1 if length is None else length)
        if length is not None and len(raw) < length:
            raise InvalidInput("The body ended early")
    if may_be_empty and not raw:
        return {}
    if not is_json:
        raise UnsupportedMediaType()
    if len(raw) > endpoint.max_body:
        raise PayloadTooLarge()
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise InvalidInput("The body is not valid JSON") from None
    if not isinstance(body, dict):
        raise InvalidInput("The body must be a JSON object")
    if raw.count(b"[") + raw.count(b"{") > _MAX_BRACKETS:
        _refuse_deep(body)
    return body


def _read_chunks(stream: Any, most: int) -> bytes:
    """A body in chunks, which may be tiny: taking half a megabyte of them apart takes the server a second."""
    pieces: list[bytes] = []
    while most > 0 and (piece := stream.read(min(most, _CHUNKED_PIECE))):
        pieces.append(piece)
        most -= len(piece)
        concurrency.cede()
    return b"".join(pieces)


def _receive(call: Call, read: Callable[[int], bytes], most: int) -> bytes:
    """Read so many bytes of the body, fewer where it ends. What the server can not make sense of is a bad body."""
    state, sock = call.state, _socket_of(call.environ)
    if sock is not None:
        state.deadlines.start(sock, state.settings.body_timeout + most / _SLOWEST_BYTES_PER_SECOND)
    raw: bytes | None = None
    in_time = True
    try:
        raw = read(most)
    except Exception as error:
        logger.debug("A body could not be read", exc_info=error)
    finally:
        if sock is not None:
            in_time = state.deadlines.stop(sock)
    if in_time and raw is not None:
        return raw
    _give_up_connection(call)
    raise InvalidInput("The body could not be read") if in_time else BodyTimeout()


def _give_up_connection(call: Call) -> None:
    """Where the next request would begin nobody knows: told to servers that listen to us, and in gunicorn's way."""
    call.headers["Connection"] = "close"
    with suppress(AttributeError):
        call.environ["wsgi.input"].failed = True


def _socket_of(environ: dict[str, Any]) -> Any:
    """The connection of the request; None when the server does not show it."""
    try:
        return find_socket(environ)
    except Exception:
        return None


def _limit_connection(call: Call) -> None:
    """What our own worker does for its connections: no server may wait for ever, to send or for a refused body."""
    sock = _socket_of(call.environ)
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


def _refuse_deep(body: dict[str, Any]) -> None:
    # orjson reads deeper nesting than it writes.
    try:
        orjson.dumps({"deeper by": [body]})
    except TypeError:
        raise InvalidInput("The body is nested too deeply") from None


def answer_error(call: Call, error: AgentlipError) -> Response:
    """The error as JSON; a failure of ours is logged here, once, with its cause."""
    if isinstance(error, InternalError):
        logger.error("A request failed", exc_info=error.__cause__ or error)
    if isinstance(error, MissingAuth | Forbidden | OriginNotAllowed):
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
    return orjson.dumps(payload, bytes_as_text)


def bare_answer(error: AgentlipError) -> bytes:
    """The whole answer to what was no request, so that there is no call; the connection ends with it."""
    body = _payload(error)
    more = (("Content-Length", len(body)), ("X-Request-ID", _new_request_id()), ("Connection", "close"))
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in (*_HEADERS, *error.headers.items(), *more)]
    return "\r\n".join([*lines, "", ""]).encode() + body


def request_id_of(environ: Mapping[str, Any]) -> str:
    """The one that the request brings when it is sane, else a new one."""
    given: str = environ.get("HTTP_X_REQUEST_ID", "")
    return given if _REQUEST_ID.fullmatch(given) else _new_request_id()


def _new_request_id() -> str:
    return f"{random.getrandbits(128):032x}"


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
    headers = [*_HEADERS, ("Content-Length", str(len(body))), ("X-Request-ID", call.request_id), *call.headers.items()]
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
        logs.log_fields(logger, "request", fields)
    return response
