"""The standalone hub: a Flask application that is nothing but the hub."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from flask import (
    Flask,
    Request,
    Response,
    appcontext_popped,
    appcontext_pushed,
    appcontext_tearing_down,
    request,
    request_finished,
    request_started,
    request_tearing_down,
)
from flask.globals import request_ctx
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from ..errors import AgentlipError, HostNotAllowed, InternalError, InvalidInput, MethodNotAllowed, NotFound
from . import descriptors, logs
from .access.hosts import AllowedHosts
from .access.proxies import TrustedProxies
from .extension import Agentlip
from .http.call import Call
from .http.dispatch import METHODS, Answer, answer_error
from .state import HubState

logger = logging.getLogger("agentlip.app")


_SIGNALS = (
    appcontext_pushed,
    appcontext_popped,
    appcontext_tearing_down,
    request_started,
    request_finished,
    request_tearing_down,
)


class HubApp(Flask):
    """Answers the hub's URLs that have no parameters before Flask makes contexts and looks for a route.

    That saves a fifth of a request. As soon as somebody hooks into the application's requests, all of
    them take Flask's way.
    """

    answers: Mapping[str, Answer] = MappingProxyType({})
    hosts = AllowedHosts(("*",))

    def wsgi_app(self, environ: Any, start_response: Any) -> Any:
        answer = self.answers.get(environ["PATH_INFO"])
        if answer is None or not _is_usual(environ) or self._is_hooked():
            return super().wsgi_app(environ, start_response)
        state, our_request = self.extensions["agentlip"], Request(environ)
        try:
            self.hosts.check(environ.get("HTTP_HOST"))
        except HostNotAllowed as error:
            return answer_error(Call(state, our_request), error)(environ, start_response)
        return answer(state, our_request)(environ, start_response)

    def dispatch_request(self) -> ResponseReturnValue:
        """On Flask's way, after all hooks. That there is no such route may be told to any page."""
        if request.routing_exception is None and request.endpoint != "agentlip.unknown":
            self.hosts.check(request.environ.get("HTTP_HOST"))
        return super().dispatch_request()

    def _is_hooked(self) -> bool:
        return bool(
            self.before_request_funcs
            or self.after_request_funcs
            or self.teardown_request_funcs
            or self.teardown_appcontext_funcs
            or self.url_value_preprocessors
            or self.config.get("TRUSTED_HOSTS")
            or any(signal.receivers for signal in _SIGNALS)
        )


def _is_usual(environ: Mapping[str, Any]) -> bool:
    """Whether routing would find nothing to object to: a known method, and an upgrade only where one is expected."""
    method = environ["REQUEST_METHOD"]
    if "HTTP_UPGRADE" in environ:
        return bool(method == "GET" and environ["PATH_INFO"] == "/ws")
    return method in METHODS


class _Standalone(Agentlip):
    _embedded = False


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The hub as an application; `config` holds AGENTLIP_* settings that win over the environment.

    Opens the database. Raises ConfigError or StorageError, each with one line for a human.
    """
    app = HubApp("agentlip", static_folder=None)
    app.config.update(config or {})
    _Standalone(app)
    state: HubState = app.extensions["agentlip"]
    app.answers = state.answers
    app.hosts = AllowedHosts(state.settings.allowed_hosts or (), state.settings.host)
    if state.settings.trusted_proxies is not None:
        app.wsgi_app = TrustedProxies(app.wsgi_app, state.settings.trusted_proxies)  # type: ignore[method-assign]
    logs.log_to_stderr(state.settings.log_level)
    descriptors.allow_all()
    state.start()

    @app.errorhandler(Exception)
    def answer(error: Exception) -> Response:
        return answer_error(Call(state, request_ctx.request), _public(error))

    return app


def _public(error: Exception) -> AgentlipError:
    """The hub's own error for one that was raised before a route was found, or outside of one."""
    if isinstance(error, HostNotAllowed):
        return error
    if isinstance(error, HTTPException):
        if error.code == 404:
            return NotFound()
        if error.code == 405:
            return MethodNotAllowed(", ".join(sorted(getattr(error, "valid_methods", None) or ())))
        if error.code is not None and error.code < 500:
            return InvalidInput()
    return InternalError.of(error)
