"""Who may call: the token in constant time, and the browser origins of WebSockets."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from ..config import Settings
from ..errors import InvalidAuth, MissingAuth, NoAuthConfigured, OriginNotAllowed


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
