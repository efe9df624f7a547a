"""The standalone hub: a Flask application that is nothing but the hub."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException

from ..config import Settings
from ..errors import AgentlipError, InternalError, InvalidInput, MethodNotAllowed, NotFound
from . import descriptors, logs
from .access.hosts import AllowedHosts
from .access.proxies import TrustedProxies
from .extension import Agentlip
from .http.call import Call
from .http.dispatch import answer_error
from .plain_lane import PlainLane
from .state import HubState

logger = logging.getLogger("agentlip.app")


class _Standalone(Agentlip):
    _embedded = False

    def _hosts(self, settings: Settings) -> AllowedHosts:
        return AllowedHosts(settings.allowed_hosts or (), settings.host)


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The hub as an application; `config` holds AGENTLIP_* settings that win over the environment.

    Opens the database. Raises ConfigError or StorageError, each with one line for a human.
    """
    return _behind_proxies(_create(config or {}))


def standalone() -> Flask:
    """The same for a server that serves nothing else, `wsgi.py` and `agentlip up`: most calls take the plain lane."""
    app = _create({})
    app.wsgi_app = PlainLane(app)  # type: ignore[method-assign]
    return _behind_proxies(app)


def _create(config: Mapping[str, Any]) -> Flask:
    app = Flask("agentlip", static_folder=None)
    app.config.update(config)
    _Standalone(app)
    state: HubState = app.extensions["agentlip"]
    logs.log_to_stderr(state.settings.log_level)
    descriptors.allow_all()
    state.start()

    @app.errorhandler(Exception)
    def answer(error: Exception) -> Response:
        return answer_error(Call(state, request_ctx.request), _public(error))

    return app


def _behind_proxies(app: Flask) -> Flask:
    trusted = app.extensions["agentlip"].settings.trusted_proxies
    if trusted is not None:
        app.wsgi_app = TrustedProxies(app.wsgi_app, trusted)  # type: ignore[method-assign]
    return app


def _public(error: Exception) -> AgentlipError:
    """The hub's own error for one that was raised before a route was found, or outside of one."""
    if isinstance(error, HTTPException):
        if error.code == 404:
            return NotFound()
        if error.code == 405:
            return MethodNotAllowed(", ".join(sorted(getattr(error, "valid_methods", None) or ())))
        if error.code is not None and error.code < 500:
            return InvalidInput()
    return InternalError.of(error)
