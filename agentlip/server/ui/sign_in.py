"""Signing in and out: `/ui/session`. The token, or a login code, is shown once; the browser gets a cookie for it."""

from __future__ import annotations

from typing import Any

from ...errors import AgentlipError, InternalError, InvalidAuth, InvalidInput, NoAuthConfigured, ServiceUnavailable
from ...version import __version__
from ...workspace.login_codes import take_login_code
from ..access import auth, logins, tokens
from ..http.call import Call, Endpoint


def show(call: Call) -> tuple[int, dict[str, Any]]:
    """Whether this browser may read, and who decides: a session, or the host application."""
    state = call.state
    how = "session" if state.authorize is None else "host"
    try:
        if how == "session":
            auth.check_login(state, call.environ)
        else:
            auth.admit(state, call.environ, "read")
    except (InternalError, ServiceUnavailable):
        raise  # nobody knows: the host's login has failed
    except AgentlipError as error:
        return 200, {"signed_in": False, "how": how, "code": error.code, "login_url": state.settings.login_url}
    return 200, {
        "signed_in": True,
        "how": how,
        "db_id": state.store.db_id,
        "instance_id": state.instance_id,
        "version": __version__,
    }


def sign_in(call: Call) -> tuple[int, dict[str, Any]]:
    state = call.state
    _check_same_origin(call)
    token, code, base = (_text(call, name) for name in ("token", "code", "base"))
    if not state.token:
        raise NoAuthConfigured()
    if state.authorize is not None:
        raise InvalidInput("People sign in to the application itself")
    if code:
        if not take_login_code(state.settings.db.parent, code):
            raise InvalidAuth("This link has been used or has expired; `agentlip ui` makes a new one")
    else:
        tokens.check_token(state.token, f"Bearer {token}" if token else None)
    secure = call.environ.get("HTTP_ORIGIN", "").startswith("https:")
    call.headers["Set-Cookie"] = logins.set_cookie(state.token, base, secure=secure)
    return 200, {"signed_in": True}


def sign_out(call: Call) -> tuple[int, dict[str, Any]]:
    _check_same_origin(call)
    state = call.state
    call.headers["Set-Cookie"] = logins.clear_cookie(state.token, _text(call, "base"))
    logins.end(state.settings.db.parent, state.token, call.environ)
    return 200, {"signed_in": False}


def _check_same_origin(call: Call) -> None:
    auth.check_origin(call.state.settings, call.environ.get("HTTP_ORIGIN"), call.environ.get("HTTP_HOST", ""))


def _text(call: Call, name: str) -> str:
    value = call.field(name)
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{name} must be a string")
    return value or ""


_BODY_BYTES = 4096  # from people who have not shown who they are

ENDPOINTS = (
    Endpoint("GET", "/ui/session", show, "anyone"),
    Endpoint("POST", "/ui/session", sign_in, "anyone", max_body=_BODY_BYTES),
    Endpoint("DELETE", "/ui/session", sign_out, "anyone", max_body=_BODY_BYTES, body_optional=True),
)
