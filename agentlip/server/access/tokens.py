"""The hub's token: whether a request shows it."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from ...errors import InvalidAuth, MissingAuth, NoAuthConfigured


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


def bears_token(configured: str, environ: Mapping[str, Any]) -> bool:
    """Whether the request shows the token, in the header or as `?token=`."""
    try:
        check_token(configured, environ.get("HTTP_AUTHORIZATION"), query_token(environ))
    except (MissingAuth, NoAuthConfigured):
        return False
    return True


def query_token(environ: Mapping[str, Any]) -> str | None:
    """The token in the URL, which only a WebSocket may bring there."""
    values = parse_qs(environ.get("QUERY_STRING", "")).get("token")
    return values[0] if values else None
