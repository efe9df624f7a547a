"""The Flask extension: `Agentlip(app)` adds the hub to an application."""

from __future__ import annotations

import os
from weakref import WeakSet

from flask import Blueprint, Flask, Response, request

from ..config import Settings
from ..errors import ConfigError, HostNotAllowed
from . import logs, ui
from .access.hosts import AllowedHosts
from .http import table
from .http.call import Call
from .http.dispatch import answer_error, answer_unknown
from .state import Authorize, HubState
from .ui import reference
from .websocket import route


class Agentlip:
    """Adds the hub's routes to an application, under `url_prefix` if given.

    All state is per application, in `app.extensions["agentlip"]`: the extension object holds none,
    so one object may serve several applications, which do not see each other. It knows their hubs,
    to close them; as a context manager it does so at the end.
    """

    _embedded = True

    def __init__(
        self, app: Flask | None = None, url_prefix: str | None = None, authorize: Authorize | None = None
    ) -> None:
        """`authorize(action)` says in place of the token who may `read`, `write` and `connect`: docs/embedding.md."""
        self._url_prefix = url_prefix
        self._authorize = authorize
        self._states: WeakSet[HubState] = WeakSet()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, url_prefix: str | None = None, authorize: Authorize | None = None) -> None:
        """Read the settings (raises ConfigError) and register the routes; files are opened on first use."""
        prefix, authorize = url_prefix or self._url_prefix, authorize or self._authorize
        if "<" in (prefix or ""):
            raise ConfigError(f"the hub's url_prefix cannot hold parameters: {prefix}")
        if app.url_map.host_matching:  # each of its rules names a host, so none of ours would ever match
            raise ConfigError("the hub cannot live in an application with host_matching")
        settings = Settings.load(os.environ, app.config, embedded=self._embedded)
        logs.redact_server_logs()
        state = app.extensions["agentlip"] = HubState(settings, authorize and app.ensure_sync(authorize))
        self._states.add(state)
        blueprint = Blueprint("agentlip", __name__)
        state.answers = route.register(blueprint) | table.register(blueprint, ui.ENDPOINTS if settings.ui else ())
        reference.register(blueprint)
        if settings.ui:
            ui.register(blueprint)
        state.hosts = self._hosts(settings)
        if state.hosts is not None:
            _refuse_other_hosts(blueprint, state, state.hosts)
        if self._embedded:
            _exempt_from_csrf(app, blueprint)
            route.empty_bodies(blueprint)
        app.register_blueprint(blueprint, url_prefix=prefix)
        answer_unknown(app, blueprint, prefix or "", everything=bool(prefix) or not self._embedded)

    def _hosts(self, settings: Settings) -> AllowedHosts | None:
        """Which names the hub answers to; None where that is the host's affair."""
        return None if settings.allowed_hosts is None else AllowedHosts(settings.allowed_hosts)

    def close(self, timeout: float = 5.0) -> None:
        """End the hubs of all applications that this object was given to, in this process; see HubState.close."""
        for state in list(self._states):
            state.close(timeout)

    def __enter__(self) -> Agentlip:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _refuse_other_hosts(blueprint: Blueprint, state: HubState, hosts: AllowedHosts) -> None:
    @blueprint.before_request
    def check_host() -> Response | None:
        if request.endpoint == "agentlip.unknown":
            return None  # any page may be told that there is no such URL
        try:
            hosts.check(request.environ.get("HTTP_HOST"))
        except HostNotAllowed as error:
            return answer_error(Call(state, request), error)
        return None


def _exempt_from_csrf(app: Flask, blueprint: Blueprint) -> None:
    """Tell Flask-WTF that our calls carry no form token: they need a JSON content type, and a token or a known Origin.

    The host may set its protection up after us, so it is told before the first request to one of our URLs.
    """
    told: set[object] = set()

    @blueprint.url_value_preprocessor
    def exempt(_endpoint: str | None, _values: dict[str, object] | None) -> None:
        protection = app.extensions.get("csrf")
        if protection is not None and protection not in told and hasattr(protection, "exempt"):
            protection.exempt(blueprint)
            told.add(protection)
