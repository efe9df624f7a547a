"""Sessions of browsers: a signed cookie that a person gets for the token, or for a login code.

The key is derived from the token. A new token ends all sessions, every worker knows every session, and nothing is
stored. The cookie holds no token, and its name differs from hub to hub: browsers keep no cookies apart by port.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.http import dump_cookie, parse_cookie

SESSION_SECONDS = 7 * 24 * 3600
_BASE = re.compile(r"/(?:(?!\.\.?/)[A-Za-z0-9._~-]+/)*")


def cookie_name(token: str) -> str:
    return f"agentlip_{hashlib.sha256(_key(token)).hexdigest()[:12]}"


def _key(token: str) -> bytes:
    return hmac.digest(token.encode(), b"agentlip session cookie", "sha256")


def _serializer(token: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(_key(token), salt="agentlip.session", signer_kwargs={"digest_method": hashlib.sha256})


def session_of(token: str, environ: Mapping[str, Any]) -> str | None:
    """The session of the hub with this token that the request bears, as its cookie has it; None also when too old."""
    cookies = environ.get("HTTP_COOKIE", "")
    if not token or "agentlip_" not in cookies:
        return None
    value = parse_cookie(cookies).get(cookie_name(token))
    try:
        if value is not None and _serializer(token).loads(value, max_age=SESSION_SECONDS) == "person":
            return value
    except BadData:
        pass
    return None


def set_cookie(token: str, base: str, *, secure: bool) -> str:
    """The header that starts a session, for URLs below `base`: the path that the browser sees the hub at."""
    return dump_cookie(
        cookie_name(token), str(_serializer(token).dumps("person")), max_age=SESSION_SECONDS, path=_path(base),
        secure=secure, httponly=True, samesite="Strict",
    )  # fmt: skip


def clear_cookie(token: str, base: str) -> str:
    """The header that ends a session in this browser."""
    return dump_cookie(cookie_name(token), "", max_age=0, path=_path(base), httponly=True, samesite="Strict")


def _path(base: str) -> str:
    return base if _BASE.fullmatch(base) else "/"
