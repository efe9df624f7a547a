"""The state of one hub in one Flask application: `app.extensions["agentlip"]`."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, finalize

from flask import Response, request

from .. import concurrency
from ..commands.commands import Commands
from ..config import Settings
from ..errors import AgentlipError, ConfigError, ServiceUnavailable, ShuttingDown, StorageError
from ..hub.hub import Hub
from ..model import Event
from ..store.log import Entry
from ..store.schema import SCHEMA_VERSION
from ..store.store import Store
from ..workspace.folder import prepare_folder
from ..workspace.token import load_or_make_token
from .access import tokens
from .access.directory import Directory
from .access.hosts import AllowedHosts
from .access.limits import RateLimiter
from .http.deadlines import Deadlines

# Asked in the request's context whether its user may `read`, `write` or `connect`.
Authorize = Callable[[str], bool | None]
PROTOCOL_VERSION = "v1"
# How long a failure to start is believed: meanwhile nobody tries again.
_FAILED_SECONDS = 1.0
# How long the same failure is not logged again.
_LOGGED_SECONDS = 60.0
_EXIT_SECONDS = 0.5

logger = logging.getLogger("agentlip.state")

_process = object()


def _forked() -> None:
    global _process
    _process = object()


os.register_at_fork(after_in_child=_forked)


# Of parent processes. A connection that was open at a fork must not be closed in the child, not even by the garbage
# collector: SQLite would take the child for the last user of the file.
_inherited: list[object] = []
_started: WeakSet[HubState] = WeakSet()


@atexit.register
def _close_all() -> None:
    for state in list(_started):
        state.close(_EXIT_SECONDS)


def _end(store: Store, hub: Hub, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    hub.close(timeout)
    store.close(max(0.1, deadline - time.monotonic()))


def _abandon(process: object, spawn: Callable[..., object], store: Store, hub: Hub) -> None:
    """The application is gone, and nobody has closed its hub. Called by the garbage collector."""
    if process is _process:
        spawn(_end, store, hub, _EXIT_SECONDS)
    else:
        _inherited.extend((store, hub))


def _failure_of(error: Exception) -> Exception:
    """A failed start as what callers are promised: one line for a human."""
    if isinstance(error, ConfigError | StorageError):
        return error
    if not isinstance(error, AgentlipError | OSError | RuntimeError):
        logger.error("A failure that nobody thought of", exc_info=error)
    reason = error.details.get("reason") if isinstance(error, AgentlipError) else None
    return StorageError(f"the hub cannot be started: {reason or error}")


class HubState:
    """Starts its store and hub on first use in a process, so that nothing survives into a forked child.

    `hub` and `store` may block on the disk the first time; any thread or greenlet may use them. All of `commands` may
    also be called on the object itself.
    """

    def __init__(self, settings: Settings, authorize: Authorize | None = None) -> None:
        concurrency.remember_loop()
        self.settings = settings
        self.commands = Commands(self)
        self.authorize = authorize
        self.instance_id = settings.instance_id or secrets.token_hex(16)
        self._started = time.monotonic()
        self.limiter = (
            RateLimiter(settings.rate_limit_per_client, settings.rate_limit_global, settings.rate_limit_burst)
            if settings.rate_limits
            else None
        )
        self._lock = threading.Lock()
        self._started_in: object = None  # the process, by a mark that costs no system call
        self._closed = False
        self._store: Store
        self._hub: Hub
        self._token: str
        self._directory: Directory
        self._finalizer: finalize[..., HubState]
        self._failure: tuple[float, Exception] | None = None  # when the last start failed, and why
        self._logged: tuple[float, str] = (0.0, "")
        self.deadlines = Deadlines()
        self.draining = False
        self.count_all_connections: Callable[[], int] = self.connection_count  # of all workers, where they are known
        self.calls = 0  # HTTP calls and WebSockets so far, but for /health
        self.hosts: AllowedHosts | None = None
        self.answers: Mapping[str, Callable[..., Response]] = {}  # of the URLs without parameters

    if not TYPE_CHECKING:  # our own code names `commands`

        def __getattr__(self, name):
            if name.startswith("_") or name == "commands":
                raise AttributeError(name)
            return getattr(self.commands, name)

    def start(self) -> None:
        """Open the files and start the hub in this process, once. Raises ConfigError or StorageError.

        A failure leaves nothing open, and is raised for a second without another try. After `close`: ShuttingDown.
        """
        with self._lock:
            if self._closed:
                raise ShuttingDown("The hub was closed")
            if self._started_in is _process:
                return
            if self._failure is not None and time.monotonic() < self._failure[0] + _FAILED_SECONDS:
                raise self._failure[1].with_traceback(None)
            try:
                concurrency.run_at_home(self._open)
            except ShuttingDown:
                raise
            except Exception as error:
                failure = _failure_of(error)
                self._failure = time.monotonic(), failure
                raise failure from (None if failure is error else error)
            self._failure = None

    def _open(self) -> None:
        """The lock is held; under gevent it runs on the event loop's thread, whoever is first.

        The store and the hub know nothing of this object: when it is dropped, they end.
        """
        settings = self.settings
        with ExitStack() as half_made:
            prepare_folder(settings.db.parent)
            token = load_or_make_token(settings.db.parent) if settings.auth_token is None else settings.auth_token

            def committed(entries: Sequence[Entry]) -> None:
                hub.feed.wake(entries)

            store = Store(settings.db, settings.synchronous, settings.write_timeout, committed)
            half_made.callback(store.close)
            hub = Hub(store, settings, self.instance_id)
            half_made.callback(hub.close, _EXIT_SECONDS)
            hub.start()
            store.listen(hub.feed.look)
            hub.feed.wake()  # for what was committed between the hub's first look and its listening
            if self._closed:  # meanwhile
                raise ShuttingDown("The hub was closed")
            if self._started_in is not None:
                self._finalizer.detach()
                self.deadlines = Deadlines()  # nobody watches those of the parent here
                _inherited.extend((self._store, self._hub))
            self._finalizer = finalize(self, _abandon, _process, concurrency.spawner(), store, hub)
            self._finalizer.atexit = False
            half_made.pop_all()
        self._token, self._store, self._hub, self._directory = token, store, hub, Directory(store)
        self._started_in = _process
        _started.add(self)

    def unavailable(self, error: Exception) -> ServiceUnavailable:
        """What callers get to know of a hub that cannot be started; the log says why, once a minute."""
        now, text = time.monotonic(), str(error)
        if text != self._logged[1] or now > self._logged[0] + _LOGGED_SECONDS:
            self._logged = now, text
            logger.error("The hub cannot be started: %s", text)
        if isinstance(error.__cause__, ServiceUnavailable):
            return error.__cause__
        return ServiceUnavailable("configuration error" if isinstance(error, ConfigError) else "database unusable")

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

    @property
    def directory(self) -> Directory:
        """The agents' tokens."""
        if self._started_in is not _process:
            self.start()
        return self._directory

    def bears_token(self) -> bool:
        """Whether the current request shows the hub's token; for `authorize`, where logins and agents both come."""
        return tokens.bears_token(self.token, request.environ)

    @property
    def uptime_seconds(self) -> int:
        """Whole seconds since this process made the state, whatever happens to the clock."""
        return int(time.monotonic() - self._started)

    def identity(self) -> dict[str, Any]:
        """What /health and server.json both say."""
        return {
            "instance_id": self.instance_id,
            "db_id": self.store.db_id,
            "schema_version": SCHEMA_VERSION,
            "protocol_version": PROTOCOL_VERSION,
        }

    def publish_event(self, event: Event | Mapping[str, Any]) -> None:
        """See Feed.publish_event."""
        self.hub.feed.publish_event(event)

    def publish_event_ids(self, event_ids: Iterable[int]) -> None:
        """See Feed.publish_event_ids."""
        self.hub.feed.publish_event_ids(event_ids)

    def connection_count(self) -> int:
        """See Hub.connection_count."""
        return self._hub.connection_count() if self._started_in is _process else 0

    @property
    def is_in_use(self) -> bool:
        """See Hub.is_in_use."""
        return self._started_in is _process and self._hub.is_in_use

    def close_all(self) -> None:
        """See Hub.close_all."""
        if self._started_in is _process:
            self._hub.close_all()

    def close(self, timeout: float = 5.0) -> None:
        """End the hub of this process: WebSockets (1001), followers, threads, files. Also twice, and before its start.

        Waits up to `timeout` seconds for all that. A closed hub stays closed: calls are answered 503 `SHUTTING_DOWN`,
        and host code gets `ShuttingDown`. From any thread or greenlet.
        """
        self.draining = self._closed = True
        if not self._lock.acquire(timeout=timeout):
            return  # it is being started, and will see that it was closed
        try:
            running = self._started_in is _process
            self._started_in = None if running else self._started_in
        finally:
            self._lock.release()
        if running:
            self._finalizer.detach()
            _end(self._store, self._hub, timeout)

    def __enter__(self) -> HubState:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def shut_down(self, timeout: float = 0.0) -> None:
        """Answer SHUTTING_DOWN from now on and close all sockets with 1001; waits up to `timeout` seconds."""
        self.draining = True
        if self._started_in is _process:
            self._hub.shut_down(timeout)
            self._store.listen(None)
