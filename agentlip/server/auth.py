"""Who may call: the token in constant time, a browser's session, or the host's own login; and origins of browsers."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from werkzeug.exceptions import HTTPException

from ..config import Settings
from ..errors import Forbidden, InvalidAuth, MissingAuth, NoAuthConfigured, OriginNotAllowed
from . import sessions

if TYPE_CHECKING:
    from .state import HubState

# Asked in the request's context whether its user may `read`, `write` or `connect`.
Authorize = Callable[[str], bool | None]


def admit(state: HubState, environ: Mapping[str, Any], action: str) -> None:
    """Raise unless the request may `read`, `write` or `connect` (open a WebSocket)."""
    if state.authorize is not None:
        if action != "read":  # a browser sends the host's cookies along, whichever page makes it call
            check_origin(state.settings, environ.get("HTTP_ORIGIN"), environ.get("HTTP_HOST", ""))
        _ask_host(state.authorize, action)
    elif action == "connect":
        token = _query_token(environ)
        if token is not None or not _has_session(state, environ, action):
            check_token(state.token, environ.get("HTTP_AUTHORIZATION"), token)
    elif (action == "write" or not state.settings.public_reads) and not _has_session(state, environ, action):
        check_token(state.token, environ.get("HTTP_AUTHORIZATION"))


def check_session(state: HubState, environ: Mapping[str, Any]) -> None:
    """Raise unless the request bears the cookie of a person who has signed in."""
    if not state.token:
        raise NoAuthConfigured()
    if not sessions.is_signed_in(state.token, environ):
        raise MissingAuth()


def _has_session(state: HubState, environ: Mapping[str, Any], action: str) -> bool:
    """Whether a signed-in person asks, on a page of ours. Raises OriginNotAllowed for one of another site."""
    if "HTTP_AUTHORIZATION" in environ or not sessions.is_signed_in(state.token, environ):
        return False
    if action != "read":  # browsers name the origin of each such call
        check_origin(state.settings, environ.get("HTTP_ORIGIN", "null"), environ.get("HTTP_HOST", ""))
    return True


def bears_token(configured: str, environ: Mapping[str, Any]) -> bool:
    """Whether the request shows the token, in the header or as `?token=`."""
    try:
        check_token(configured, environ.get("HTTP_AUTHORIZATION"), _query_token(environ))
    except (MissingAuth, NoAuthConfigured):
        return False
    return True


def _query_token(environ: Mapping[str, Any]) -> str | None:
    values = parse_qs(environ.get("QUERY_STRING", "")).get("token")
    return values[0] if values else None


def _ask_host(authorize: Authorize, action: str) -> None:
    """True: welcome. None: nobody is logged in. False: this user may not. `abort` works as well."""
    try:
        answer = authorize(action)
    except HTTPException as error:
        answer = None if error.code == 401 else False
    if answer is None:
        raise MissingAuth()
    if answer is not True:
        raise Forbidden()


def check_token(configured: str, authorization: str | None, query_token: str | None = None) -> None:
    """Raise unless `Authorization: Bearer` or, where allowed, `?token=` holds the configured token."""
    if not configured:
        raise NoAuthConfigured()
    shown = query_token
    if authorization:
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() == "bearer":
            shown = credentials.strip()
        elif query_token is None:
            raise MissingAuth()
    if not shown:
        raise MissingAuth()
    if not hmac.compare_digest(shown.encode("utf-8", "replace"), configured.encode()):
        raise InvalidAuth()


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
