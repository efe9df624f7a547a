"""Who may call: the token in constant time, a browser's session, or the host's own login; and origins of browsers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from werkzeug.exceptions import HTTPException

from ...config import Settings
from ...errors import (
    AgentlipError,
    Forbidden,
    InternalError,
    MissingAuth,
    NoAuthConfigured,
    OriginNotAllowed,
    ServiceUnavailable,
)
from ..state import Authorize, HubState
from . import logins, tokens
from .limits import PERSON, PUBLIC, TOKEN, Caller

logger = logging.getLogger("agentlip.request")

_AGENT = Caller(TOKEN, "the token")
_SOMEBODY, _ANYBODY = Caller(PERSON), Caller(PUBLIC)  # of this address


def admit(state: HubState, environ: Mapping[str, Any], action: str) -> Caller:
    """Who asks; raises unless the request may `read`, `write` or `connect` (open a WebSocket)."""
    if state.authorize is not None:
        if action != "read":  # a browser sends the host's cookies along, whichever page makes it call
            check_origin(state.settings, environ.get("HTTP_ORIGIN"), environ.get("HTTP_HOST", ""))
        _ask_host(state.authorize, action)
        return _AGENT if tokens.bears_token(state.token, environ) else _SOMEBODY
    query_token = tokens.query_token(environ) if action == "connect" else None
    login = _login_of(state, environ, action) if query_token is None else None
    if login is not None:
        return Caller(PERSON, login)
    if action == "read" and state.settings.public_reads:
        return _AGENT if tokens.bears_token(state.token, environ) else _ANYBODY
    tokens.check_token(state.token, environ.get("HTTP_AUTHORIZATION"), query_token)
    return _AGENT


def check_login(state: HubState, environ: Mapping[str, Any]) -> None:
    """Raise unless the request bears the cookie of a person who has signed in."""
    if not state.token:
        raise NoAuthConfigured()
    if logins.login_of(state.settings.db.parent, state.token, environ) is None:
        raise MissingAuth()


def _login_of(state: HubState, environ: Mapping[str, Any], action: str) -> str | None:
    """The login of a person who asks on a page of ours. Raises OriginNotAllowed for a page of another site."""
    if "HTTP_AUTHORIZATION" in environ:
        return None
    login = logins.login_of(state.settings.db.parent, state.token, environ)
    if login is not None and action != "read":  # browsers name the origin of each such call
        check_origin(state.settings, environ.get("HTTP_ORIGIN", "null"), environ.get("HTTP_HOST", ""))
    return login


def _ask_host(authorize: Authorize, action: str) -> None:
    """True: welcome. None: nobody is logged in. False: this user may not. `abort`, or a response, works as well."""
    try:
        answer: object = authorize(action)
    except HTTPException as error:
        answer = error
    status = _status_of(answer)
    if answer is None or status == 401 or 300 <= status < 400:
        raise MissingAuth()
    if status >= 500:
        raise _failure(answer, status)
    if answer is not True:
        raise Forbidden()


def _status_of(answer: object) -> int:
    """The status that the host would answer itself; 0 when it is neither a response nor an `abort`."""
    response = answer.response if isinstance(answer, HTTPException) else answer
    status = getattr(response, "status_code", None) or getattr(answer, "code", None)
    return status if isinstance(status, int) else 500 if isinstance(answer, HTTPException) else 0


def _failure(answer: object, status: int) -> AgentlipError:
    """The host cannot say who it is. Logged here, or where an InternalError is answered."""
    cause = answer if isinstance(answer, HTTPException) else RuntimeError(f"the login answered with status {status}")
    if status != 503:
        return InternalError.of(cause)
    logger.warning("The login of the application is not available", exc_info=cause)
    return ServiceUnavailable("the login of the application is not available")


def check_origin(settings: Settings, origin: str | None, host: str) -> None:
    """Raise OriginNotAllowed for a browser page of another site; clients without Origin pass."""
    if origin is None or origin.lower().rstrip("/") in settings.allowed_origins:
        return
    try:
        netloc = urlsplit(origin.lower()).netloc
    except ValueError:
        netloc = ""
    if not netloc or netloc != host.lower():
        raise OriginNotAllowed()
