"""The body of a request: read in time, of a bounded size, and one JSON object."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import orjson

from ... import concurrency
from ...errors import BodyTimeout, InvalidInput, PayloadTooLarge, UnknownCoding, UnsupportedMediaType
from .call import Call, Endpoint
from .request_socket import socket_of

_MAX_BRACKETS = 200
_CHUNKED_PIECE = 4096
# A body has the time of the setting, and more when it is large.
_SLOWEST_BYTES_PER_SECOND = 16 * 1024

logger = logging.getLogger("agentlip.request")


def read_body(call: Call, endpoint: Endpoint) -> dict[str, Any]:
    """The JSON object that a call brings; an empty one where it may bring none. Raises AgentlipError."""
    request, environ, length = call.request, call.environ, call.request.content_length
    coding, announced = environ.get("HTTP_TRANSFER_ENCODING"), environ.get("CONTENT_LENGTH")
    if announced and (coding is not None or not (announced.isascii() and announced.isdecimal())):
        _give_up_connection(call)
        raise InvalidInput("The length of the body is ambiguous")
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
    call.body = raw
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
    """Read so many bytes of the body, fewer where it ends. What the server cannot make sense of is a bad body."""
    state, sock = call.state, socket_of(call.environ)
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


def _refuse_deep(body: dict[str, Any]) -> None:
    # orjson reads deeper nesting than it writes.
    try:
        orjson.dumps({"deeper by": [body]})
    except TypeError:
        raise InvalidInput("The body is nested too deeply") from None
