"""The hub's token: whether a request shows it."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from ...errors import InvalidAuth, MissingAuth, NoAuthConfigured

OF_AGENTS = re.compile(r"alp_[A-Za-z0-9_-]{43}")


def check_token(configured: str, authorization: str | None, query_token: str | None = None) -> None:
    """Raise unless `Authorization: Bearer` or, where allowed, `?token=` holds the configured token."""
    if not configured:
        raise NoAuthConfigured()
    given = shown(authorization, query_token)
    if not given:
        raise MissingAuth()
    if not hmac.compare_digest(given.encode("utf-8", "replace"), configured.encode()):
        raise InvalidAuth()


def shown(authorization: str | None, query_token: str | None = None) -> str | None:
    """The token that a request shows; the header's wins. None for a header of another scheme."""
    if authorization:
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return credentials.strip()
    return query_token


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
