"""The standalone hub: a Flask application that is nothing but the hub."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from ..errors import AgentlipError, InternalError, InvalidInput, MethodNotAllowed, NotFound
from . import logs
from .api.dispatch import Call, answer_error
from .extension import Agentlip

logger = logging.getLogger("agentlip.app")


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The hub as an application; `config` holds AGENTLIP_* settings that win over the environment.

    Opens the database. Raises ConfigError or StorageError, each with one line for a human.
    """
    app = Flask("agentlip", static_folder=None)
    app.config.update(config or {})
    Agentlip(app)
    state = app.extensions["agentlip"]
    logs.log_to_stderr(state.settings.log_level)
    state.start()

    @app.errorhandler(Exception)
    def answer(error: Exception) -> Response:
        return answer_error(Call(state), _public(error))

    return app


def _public(error: Exception) -> AgentlipError:
    """The hub's own error for one that Flask raised before a route was found, or outside of one."""
    if isinstance(error, HTTPException):
        if error.code == 404:
            return NotFound()
        if error.code == 405 and request.headers.get("Upgrade"):
            return InvalidInput("A WebSocket starts with GET")
        if error.code == 405:
            return MethodNotAllowed(", ".join(sorted(getattr(error, "valid_methods", None) or ())))
        if error.code is not None and error.code < 500:
            return InvalidInput()
    logger.error("A request failed", exc_info=error)
    return InternalError()
