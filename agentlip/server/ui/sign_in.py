"""Signing in and out: `/ui/session`. The token, or a login code, is shown once; the browser gets a cookie for it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from ...errors import AgentlipError, InternalError, InvalidAuth, InvalidInput, NoAuthConfigured, ServiceUnavailable
from ...model.fields import Request, key
from ...version import __version__
from ...workspace.login_codes import take_login_code
from ..access import auth, logins, tokens
from ..http.call import Call, Endpoint

Text = Annotated[str, Meta(extra={"check": key})]


class SignOut(Request):
    """`base` is the path of the page."""

    base: Text | None = None


class SignIn(SignOut):
    """Either a token or a login code."""

    token: Text | None = None
    code: Text | None = None


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


def sign_in(call: Call, asked: SignIn) -> tuple[int, dict[str, Any]]:
    state = call.state
    _check_same_origin(call)
    if not state.token:
        raise NoAuthConfigured()
    if state.authorize is not None:
        raise InvalidInput("People sign in to the application itself")
    if asked.code:
        if not take_login_code(state.settings.db.parent, asked.code):
            raise InvalidAuth("This link has been used or has expired; `agentlip ui` makes a new one")
    else:
        tokens.check_token(state.token, f"Bearer {asked.token}" if asked.token else None)
    secure = call.environ.get("HTTP_ORIGIN", "").startswith("https:")
    call.headers["Set-Cookie"] = logins.set_cookie(state.token, asked.base or "", secure=secure)
    return 200, {"signed_in": True}


def sign_out(call: Call, asked: SignOut) -> tuple[int, dict[str, Any]]:
    _check_same_origin(call)
    state = call.state
    call.headers["Set-Cookie"] = logins.clear_cookie(state.token, asked.base or "")
    logins.end(state.settings.db.parent, state.token, call.environ)
    return 200, {"signed_in": False}


def _check_same_origin(call: Call) -> None:
    auth.check_origin(call.state.settings, call.environ.get("HTTP_ORIGIN"), call.environ.get("HTTP_HOST", ""))


_BODY_BYTES = 4096  # from people who have not shown who they are

ENDPOINTS = (
    Endpoint("GET", "/ui/session", show, "anyone"),
    Endpoint("POST", "/ui/session", sign_in, "anyone", max_body=_BODY_BYTES, request=SignIn),
    Endpoint("DELETE", "/ui/session", sign_out, "anyone", max_body=_BODY_BYTES, body_optional=True, request=SignOut),
)
