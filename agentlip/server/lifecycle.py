"""The hooks of gunicorn.conf.py: checks before the first worker, server.json, and an orderly end.

The master process imports this; it opens the database once, before it forks, and closes it again.
"""

from __future__ import annotations

import gc
import os
import secrets
import signal
import sys
import time
from typing import Any

from .. import concurrency
from ..config import PREFIX, Settings
from ..errors import ConfigError, StorageError
from ..model import timestamp
from ..store.database import Database
from ..store.schema import SCHEMA_VERSION
from ..workspace import load_or_make_token, prepare_folder, remove_server_file, write_server_file
from .state import PROTOCOL_VERSION

_POLL_SECONDS = 0.1
_DRAIN_SECONDS = 2.5
# With thousands of open sockets Python's default (700, 10, 10) looks through all of them again and again while
# connections come in: a third more are accepted per second with these.
_GC_THRESHOLDS = (20_000, 20, 50)


def settings_or_exit() -> Settings:
    """The settings from the environment; a bad one ends the process with one line and exit code 1."""
    # Workers inherit it, and a reload keeps it: all processes of a hub share one instance id.
    os.environ.setdefault(PREFIX + "INSTANCE_ID", secrets.token_hex(16))
    try:
        return Settings.load(os.environ)
    except ConfigError as error:
        sys.exit(f"agentlip: {error}")


def bind_address(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


def on_starting(server: Any) -> None:
    """Make or migrate the files before any worker does; a failure is one line and exit code 1."""
    settings = settings_or_exit()
    try:
        prepare_folder(settings.db.parent)
        server.agentlip_token = (
            load_or_make_token(settings.db.parent) if settings.auth_token is None else settings.auth_token
        )
        database = Database(settings.db, settings.synchronous)
        server.agentlip_db_id = database.prepare()
        database.close_lock()
    except (ConfigError, StorageError) as error:
        sys.exit(f"agentlip: {error}")
    server.agentlip_settings = settings


def when_ready(server: Any) -> None:
    """The socket listens: tell clients where, in server.json."""
    settings: Settings = server.agentlip_settings
    address = server.LISTENERS[0].sock.getsockname()
    content = {
        "instance_id": settings.instance_id,
        "db_id": server.agentlip_db_id,
        "port": address[1],
        "host": settings.host,
        "auth_token": server.agentlip_token,
        "pid": os.getpid(),
        "started_at": timestamp(time.time_ns() // 1_000_000),
        "protocol_version": PROTOCOL_VERSION,
        "schema_version": SCHEMA_VERSION,
    }
    try:
        write_server_file(settings.db.parent, content)
    except OSError as error:
        sys.exit(f"agentlip: can not write server.json: {error.strerror}")


def post_fork(server: Any, worker: Any) -> None:
    """Until gunicorn sets its own handlers the child has the master's, and a SIGTERM would be lost in them."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def post_worker_init(worker: Any) -> None:
    """Watch for the end of the worker: gunicorn itself tells open WebSockets nothing."""
    gc.set_threshold(*_GC_THRESHOLDS)
    concurrency.spawn(_drain_at_end, worker)


def _drain_at_end(worker: Any) -> None:
    while worker.alive:
        time.sleep(_POLL_SECONDS)
    getattr(worker, "stop_accepting", lambda: None)()  # other classes of workers do so later
    _shut_down(worker, _DRAIN_SECONDS)


def worker_int(worker: Any) -> None:
    """SIGINT or SIGQUIT: gunicorn ends the worker right after this returns.

    Ctrl-C brings both, the terminal's and the master's; only the first may end the process.
    """
    if getattr(worker, "agentlip_ending", False):
        time.sleep(60)
    worker.agentlip_ending = True
    _shut_down(worker, _DRAIN_SECONDS)


def _shut_down(worker: Any, timeout: float) -> None:
    state = getattr(worker.wsgi, "extensions", {}).get("agentlip")
    if state is not None:
        state.shut_down(timeout)


def on_exit(server: Any) -> None:
    """The master ends: server.json goes."""
    settings: Settings | None = getattr(server, "agentlip_settings", None)
    if settings is not None and settings.instance_id is not None:
        remove_server_file(settings.db.parent, settings.instance_id)
