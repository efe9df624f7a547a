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
from ...model import Identity
from ..state import Authorize, HubState
from . import logins, tokens
from .limits import PERSON, PUBLIC, TOKEN, Caller

logger = logging.getLogger("agentlip.request")

_AGENT = Caller(TOKEN, "the token")
_SOMEBODY, _ANYBODY = Caller(PERSON), Caller(PUBLIC)  # of this address
_READS = ("read", "page")
# Which of its scopes an agent's token needs; the pages of people are not for it.
_NEEDED = {"read": "read", "connect": "read", "write": "write", "admin": "admin"}


def admit(state: HubState, environ: Mapping[str, Any], action: str) -> Caller:
    """Who asks; raises unless the request may do what an endpoint's access says, or `connect` (open a WebSocket)."""
    query_token = tokens.query_token(environ) if action == "connect" else None
    identity = _agent_of(state, environ, query_token)
    if identity is not None:
        if action != "token" and _NEEDED.get(action) not in identity.token.scopes:
            raise Forbidden("This token may not do that")
        return Caller(TOKEN, identity.token.token_id, identity)
    if state.authorize is not None:
        return _admit_user(state, state.authorize, environ, action)
    login = _login_of(state, environ, action) if query_token is None else None
    if login is not None:
        return Caller(PERSON, login)
    if action in _READS and state.settings.public_reads:
        return _AGENT if tokens.bears_token(state.token, environ) else _ANYBODY
    tokens.check_token(state.token, environ.get("HTTP_AUTHORIZATION"), query_token)
    return _AGENT


def _agent_of(state: HubState, environ: Mapping[str, Any], query_token: str | None) -> Identity | None:
    """The agent whose token the request shows, if it does; the hub's own token may look like one, too."""
    shown = tokens.shown(environ.get("HTTP_AUTHORIZATION"), query_token)
    if shown is None or not tokens.OF_AGENTS.fullmatch(shown) or (not state.token and state.authorize is None):
        return None
    return state.directory.find(shown)


def _admit_user(state: HubState, authorize: Authorize, environ: Mapping[str, Any], action: str) -> Caller:
    """A user of the application that the hub lives in. Agents are managed with the hub's own token alone."""
    asked = action if action in ("write", "connect") else "read"
    if action not in _READS:  # a browser sends the host's cookies along, whichever page makes it call
        check_origin(state.settings, environ.get("HTTP_ORIGIN"), environ.get("HTTP_HOST", ""))
    _ask_host(authorize, asked)
    bears = tokens.bears_token(state.token, environ)
    if action == "admin" and not bears:
        raise Forbidden()
    return _AGENT if bears else _SOMEBODY


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
    if login is not None and action not in _READS:  # browsers name the origin of each such call
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
