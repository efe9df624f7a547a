"""The Flask extension: `Agentlip(app)` adds the hub to an application."""

from __future__ import annotations

import os

from flask import Blueprint, Flask

from ..config import Settings
from . import api, logs, ws
from .state import HubState


class Agentlip:
    """Adds the hub's routes to an application, under `url_prefix` if given.

    All state is per application, in `app.extensions["agentlip"]`: the extension object holds none,
    so one object may serve several applications, which do not see each other.
    """

    def __init__(self, app: Flask | None = None, url_prefix: str | None = None) -> None:
        self._url_prefix = url_prefix
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, url_prefix: str | None = None) -> None:
        """Read the settings (raises ConfigError) and register the routes; files are opened on first use."""
        settings = Settings.load(os.environ, app.config)
        logs.redact_server_logs()
        state = app.extensions["agentlip"] = HubState(settings)
        blueprint = Blueprint("agentlip", __name__)
        state.answers = ws.register(blueprint) | api.register(blueprint)
        app.register_blueprint(blueprint, url_prefix=url_prefix or self._url_prefix)
