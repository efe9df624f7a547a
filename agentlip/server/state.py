"""The state of one hub in one Flask application: `app.extensions["agentlip"]`."""

from __future__ import annotations

import atexit
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flask import Response, request

from ..config import Settings
from ..hub.hub import Hub
from ..model import Event
from ..store.log import Entry
from ..store.schema import SCHEMA_VERSION
from ..store.store import Store
from ..workspace import load_or_make_token, prepare_folder
from . import auth
from .commands import Commands
from .limits import RateLimiter

PROTOCOL_VERSION = "v1"


_process = object()


def _forked() -> None:
    global _process
    _process = object()


os.register_at_fork(after_in_child=_forked)


# Of parent processes. A connection that was open at a fork must not be closed in the child, not even by the garbage
# collector: SQLite would take the child for the last user of the file.
_inherited: list[object] = []


class HubState(Commands):
    """Starts its store and hub on first use in a process, so that nothing survives into a forked child.

    `hub` and `store` may block on the disk the first time; any thread or greenlet may use them.
    """

    def __init__(self, settings: Settings, authorize: auth.Authorize | None = None) -> None:
        self.settings = settings
        self.authorize = authorize
        self.instance_id = settings.instance_id or secrets.token_hex(16)
        self.started_at = time.time()
        self.limiter = (
            RateLimiter(settings.rate_limit_per_client, settings.rate_limit_global) if settings.rate_limits else None
        )
        self._lock = threading.Lock()
        self._started_in: object = None  # the process, by a mark that costs no system call
        self._store: Store
        self._hub: Hub
        self._token: str
        self.draining = False
        self.count_all_connections: Callable[[], int] = self.connection_count  # of all workers, where they are known
        self.calls = 0  # HTTP calls and WebSockets so far, but for /health
        self.answers: Mapping[str, Callable[..., Response]] = {}  # of the URLs without parameters

    def start(self) -> None:
        """Open the files and start the hub in this process, once. Raises ConfigError or StorageError."""
        with self._lock:
            if self._started_in is _process:
                return
            settings = self.settings
            if self._started_in is not None:
                _inherited.extend((self._store, self._hub))
            prepare_folder(settings.db.parent)
            self._token = load_or_make_token(settings.db.parent) if settings.auth_token is None else settings.auth_token
            self._store = Store(settings.db, settings.synchronous, settings.write_timeout, self._committed)
            self._hub = Hub(self._store, settings, self.instance_id)
            self._hub.start()
            self._store.listen(self._hub.look)
            self._hub.wake()  # for what was committed between the hub's first look and its listening
            self._started_in = _process
        atexit.register(self.shut_down, 0.5)

    def _committed(self, entries: Sequence[Entry]) -> None:
        self._hub.wake(entries)

    @property
    def store(self) -> Store:
        if self._started_in is not _process:
            self.start()
        return self._store

    @property
    def hub(self) -> Hub:
        if self._started_in is not _process:
            self.start()
        return self._hub

    @property
    def token(self) -> str:
        """The token clients must show; empty when none is configured."""
        if self._started_in is not _process:
            self.start()
        return self._token

    def bears_token(self) -> bool:
        """Whether the current request shows the hub's token; for `authorize`, where logins and agents both come."""
        return auth.bears_token(self.token, request.environ)

    def identity(self) -> dict[str, Any]:
        """What /health and server.json both say."""
        return {
            "instance_id": self.instance_id,
            "db_id": self.store.db_id,
            "schema_version": SCHEMA_VERSION,
            "protocol_version": PROTOCOL_VERSION,
        }

    def publish_event(self, event: Event | Mapping[str, Any]) -> None:
        """See Hub.publish_event."""
        self.hub.publish_event(event)

    def publish_event_ids(self, event_ids: Iterable[int]) -> None:
        """See Hub.publish_event_ids."""
        self.hub.publish_event_ids(event_ids)

    def connection_count(self) -> int:
        """See Hub.connection_count."""
        return self.hub.connection_count()

    def close_all(self) -> None:
        """See Hub.close_all."""
        self.hub.close_all()

    def shut_down(self, timeout: float = 0.0) -> None:
        """Answer SHUTTING_DOWN from now on and close all sockets with 1001; waits up to `timeout` seconds."""
        self.draining = True
        if self._started_in is _process:
            self._hub.shut_down(timeout)
            self._store.listen(None)
