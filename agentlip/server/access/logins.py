"""Logins of browsers: a signed cookie that a person gets for the token, or for a login code.

The key is derived from the token. A new token ends all logins, every worker knows every login, and none is stored,
only those that were ended. The cookie holds no token, and its name differs from hub to hub: browsers keep no cookies
apart by port.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.http import dump_cookie, parse_cookie

from . import signed_out

LOGIN_SECONDS = 7 * 24 * 3600
_BASE = re.compile(r"/(?:(?!\.\.?/)[A-Za-z0-9._~-]+/)*")


def cookie_name(token: str) -> str:
    return f"agentlip_{hashlib.sha256(_key(token)).hexdigest()[:12]}"


def _key(token: str) -> bytes:
    return hmac.digest(token.encode(), b"agentlip session cookie", "sha256")


def _serializer(token: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(_key(token), salt="agentlip.session", signer_kwargs={"digest_method": hashlib.sha256})


def login_of(folder: Path, token: str, environ: Mapping[str, Any]) -> str | None:
    """The login at the hub with this token that the request bears, as its cookie has it, if it is good."""
    cookies = environ.get("HTTP_COOKIE", "")
    if not token or "agentlip_" not in cookies:
        return None
    ours = cookies.encode("ascii", "replace").decode()  # those of other programs may hold anything
    value = parse_cookie(ours).get(cookie_name(token))
    return value if value is not None and is_good(folder, token, value) else None


def is_good(folder: Path, token: str, login: str) -> bool:
    """Whether it is one, is not too old and was not ended; `folder` is where the hub keeps which ones were."""
    try:
        content, began = _serializer(token).loads(login, max_age=LOGIN_SECONDS, return_timestamp=True)
    except BadData:
        return False
    is_person = content == "person" or (isinstance(content, list) and content[:1] == ["person"])
    return is_person and not signed_out.has_ended(folder, login, began.timestamp())


def set_cookie(token: str, base: str, *, secure: bool) -> str:
    """The header that starts a login, for URLs below `base`: the path that the browser sees the hub at."""
    value = _serializer(token).dumps(["person", secrets.token_hex(8)])  # no two are the same, so each ends by itself
    return dump_cookie(
        cookie_name(token), str(value), max_age=LOGIN_SECONDS, path=_path(base),
        secure=secure, httponly=True, samesite="Strict",
    )  # fmt: skip


def end(folder: Path, token: str, environ: Mapping[str, Any]) -> None:
    """End the login that the request bears, if it does, for whoever has its cookie. Raises ServiceUnavailable."""
    login = login_of(folder, token, environ)
    if login is not None:
        signed_out.end(folder, login, LOGIN_SECONDS)


def clear_cookie(token: str, base: str) -> str:
    """The header that makes the browser forget its login."""
    return dump_cookie(cookie_name(token), "", max_age=0, path=_path(base), httponly=True, samesite="Strict")


def _path(base: str) -> str:
    return base if _BASE.fullmatch(base) else "/"
