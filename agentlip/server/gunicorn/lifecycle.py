"""The hooks of gunicorn.conf.py: checks before the first worker, server.json, and an orderly end.

The master process imports this; it opens the database once, before it forks, and closes it again.
"""

from __future__ import annotations

import atexit
import gc
import logging
import mmap
import os
import secrets
import signal
import struct
import sys
import tempfile
import time
from contextlib import suppress
from typing import Any

from gunicorn.sock import create_sockets

from ... import concurrency, listening
from ...config import PREFIX, Settings, is_given, service_links
from ...errors import AgentlipError, ConfigError, LockHeld, StorageError
from ...model import timestamp
from ...store.database import Database
from ...store.schema import SCHEMA_VERSION
from ...workspace.finding import check_not_lost
from ...workspace.folder import prepare_folder
from ...workspace.login_codes import make_login_code
from ...workspace.processes import parent_of
from ...workspace.server_file import remove_server_file, write_server_file
from ...workspace.token import load_or_make_token
from ...workspace.writer_lock import WriterLock
from .. import descriptors, logs
from ..state import PROTOCOL_VERSION, HubState

# Also the exit code of `agentlip up`.
EXIT_LOCK_HELD = 10
_POLL_SECONDS = 0.1
_DRAIN_SECONDS = 2.5
# With thousands of open sockets Python's default (700, 10, 10) looks through all of them again and again while
# connections come in: a third more are accepted per second with these.
_GC_THRESHOLDS = (20_000, 20, 50)
# The time of the last call or WebSocket at any worker (`time.monotonic`), shared between the processes.
_last_active = mmap.mmap(-1, 8)
# Shared as well: the pid of each worker, and how many WebSockets it has.
_SLOT = struct.Struct("ii")
_SLOTS = 256
_open_sockets = mmap.mmap(-1, _SLOT.size * _SLOTS)

logger = logging.getLogger("agentlip.lifecycle")


def settings_or_exit() -> Settings:
    """The settings from the environment; a bad one ends the process with one line and exit code 1."""
    # Workers inherit it, and a reload keeps it: all processes of a hub share one instance id.
    os.environ.setdefault(PREFIX + "INSTANCE_ID", secrets.token_hex(16))
    for name in service_links(os.environ):
        value = os.environ.pop(name)
        print(
            f"agentlip: {name}={value} is ignored: it describes a service, and is not a setting of the hub",
            file=sys.stderr,
        )
    try:
        return Settings.load(os.environ)
    except ConfigError as error:
        sys.exit(f"agentlip: {error}")


def find_temporary_folder(settings: Settings) -> None:
    """Where the whole file system is read-only, but for the workspace, that has to do."""
    try:
        tempfile.gettempdir()
    except OSError:
        os.environ["TMPDIR"] = tempfile.tempdir = str(settings.db.parent)


def _terminal() -> int | None:
    """The descriptor of the terminal in whose foreground this process runs, unless it is to survive it (nohup)."""
    for descriptor in (0, 1, 2):
        with suppress(OSError):
            if os.tcgetpgrp(descriptor) == os.getpgrp() and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                return descriptor
    return None


def _has_hung_up(terminal: int) -> bool:
    try:
        os.tcgetpgrp(terminal)
    except OSError:
        return True
    return False


def on_starting(server: Any) -> None:
    """Take the workspace and make or migrate its files before any worker does.

    A failure is one line and exit code 1, or 10 when another hub has the workspace.
    """
    settings = settings_or_exit()
    descriptors.allow_all()  # the workers inherit it
    lock = WriterLock(settings.db.parent)
    try:
        for place in server.cfg.address:
            if isinstance(place, tuple):
                listening.check_network(settings, place[0])
        prepare_folder(settings.db.parent)
        lock.acquire()
        check_not_lost(settings.db)
        _take_a_port(server, settings)
        database = Database(settings.db, settings.synchronous)
        server.agentlip_db_id = database.prepare()
        database.hand_down(server.agentlip_db_id)
        _take_token(server, settings)  # last: a token tells that there was a database
    except LockHeld as error:
        print(f"agentlip: {error}", file=sys.stderr)
        sys.exit(EXIT_LOCK_HELD)
    except (ConfigError, StorageError) as error:
        lock.release()
        sys.exit(f"agentlip: {error}")
    server.agentlip_settings = settings
    server.agentlip_terminal = _terminal()
    server.agentlip_lock = lock
    server.agentlip_started_at = timestamp(time.time_ns() // 1_000_000)
    _be_active()


def _take_a_port(server: Any, settings: Settings) -> None:
    """Listen on the usual port, or on a free one when it is taken and nobody has asked for it.

    gunicorn itself only knows ports that are asked for. The lock is held: workers that a killed hub of this workspace
    left behind have let go of the port.
    """
    asked = is_given(os.environ, "PORT") or server.cfg.bind != [listening.bind_address(settings)]
    if asked or settings.bind is not None or server.LISTENERS or {"LISTEN_FDS", "GUNICORN_FD"} & os.environ.keys():
        return
    taken = listening.listen_somewhere(settings.host, settings.port, server.cfg.backlog)
    server.LISTENERS = create_sockets(server.cfg, server.log, [taken.detach()])


def _take_token(server: Any, settings: Settings) -> None:
    """Workers inherit the token: all of them and server.json have the same, whatever happens to the file."""
    token = load_or_make_token(settings.db.parent) if settings.auth_token is None else settings.auth_token
    server.agentlip_token = os.environ[PREFIX + "AUTH_TOKEN"] = token


def when_ready(server: Any) -> None:
    """The socket listens: tell clients where, in server.json."""
    try:
        _write_server_file(server)
    except OSError as error:
        server.agentlip_lock.release()
        sys.exit(f"agentlip: cannot write server.json: {error.strerror}")
    atexit.register(_clean_up, server, os.getpid())
    if sys.stderr.isatty():
        _welcome(server)


def _welcome(server: Any) -> None:
    """The first lines on a terminal: how a person signs in, and where the hub is."""
    settings: Settings = server.agentlip_settings
    url = str(server.LISTENERS[0]).replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    lines = [f"The hub runs: {url}, process {os.getpid()}. Ctrl-C stops it."]
    if settings.ui and server.agentlip_token and url.startswith("http"):
        with suppress(ConfigError):
            link = f"{url}/ui/login#{make_login_code(settings.db.parent)}"
            lines.insert(0, f"Sign in, once within ten minutes: {link}\n`agentlip ui` makes another link.")
    print("\n".join(lines), file=sys.stderr)


def _clean_up(server: Any, pid: int) -> None:
    """gunicorn calls no hook when it fails after its start."""
    if os.getpid() == pid:
        on_exit(server)


def on_reload(server: Any) -> None:
    """HUP: read the token again, for the new workers and server.json. A damaged one changes nothing.

    When it comes because the terminal was closed, the hub ends, as with TERM.
    """
    if server.agentlip_terminal is not None and _has_hung_up(server.agentlip_terminal):
        raise StopIteration  # gunicorn's own way
    try:
        _take_token(server, server.agentlip_settings)
        _write_server_file(server)
    except (ConfigError, OSError) as error:
        logger.error("The token in server.json was not updated: %s", error)


def _write_server_file(server: Any) -> None:
    settings: Settings = server.agentlip_settings
    address = server.LISTENERS[0].sock.getsockname()
    content = {
        "instance_id": settings.instance_id,
        "db_id": server.agentlip_db_id,
        **listening.place_of(settings, address),
        "auth_token": server.agentlip_token,
        "pid": os.getpid(),
        "started_at": server.agentlip_started_at,
        "protocol_version": PROTOCOL_VERSION,
        "schema_version": SCHEMA_VERSION,
    }
    write_server_file(settings.db.parent, content)


def post_fork(server: Any, worker: Any) -> None:
    """Until gunicorn sets its own handlers the child has the master's, and a SIGTERM would be lost in them."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def post_worker_init(worker: Any) -> None:
    """Watch for the end of the worker: gunicorn itself tells open WebSockets nothing."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # of a terminal that is closed: the first process tells what is to do
    gc.set_threshold(*_GC_THRESHOLDS)
    state = _state_of(worker)
    if state is not None:
        state.count_all_connections = lambda: _count_open_sockets(worker.ppid)
    concurrency.spawn(_drain_at_end, worker)


def _tell_open_sockets(worker: Any, count: int) -> None:
    _SLOT.pack_into(_open_sockets, _SLOT.size * (worker.age % _SLOTS), os.getpid(), count)


def _count_open_sockets(master: int) -> int:
    """Of all workers, as of a tenth of a second ago; a killed one leaves its slot behind."""
    return sum(count for pid, count in _SLOT.iter_unpack(_open_sockets[:]) if count and parent_of(pid) == master)


def _drain_at_end(worker: Any) -> None:
    state = _state_of(worker)
    idle = None if state is None else state.settings.idle_shutdown
    calls = 0
    while worker.alive:
        time.sleep(_POLL_SECONDS)
        logs.flush()
        if state is not None:
            _tell_open_sockets(worker, state.connection_count())
        if idle is not None and state is not None:
            calls = _stop_when_idle(worker, state, calls, idle)
    _tell_open_sockets(worker, 0)
    getattr(worker, "stop_accepting", lambda: None)()  # other classes of workers do so later
    _shut_down(worker, _DRAIN_SECONDS)


def _stop_when_idle(worker: Any, state: HubState, calls: int, idle: float) -> int:
    """Look whether this worker had something to do since it had served that many calls; returns how many now.

    Stops the whole hub when no worker had for `idle` seconds.
    """
    if state.calls != calls or state.is_in_use:
        _be_active()
    elif time.monotonic() - struct.unpack("d", _last_active[:])[0] > idle:
        logger.warning("No calls for %g seconds: the hub stops", idle)
        if os.getppid() == worker.ppid:  # a killed master leaves its workers to another process
            os.kill(worker.ppid, signal.SIGTERM)
        _be_active()  # once is enough
    return state.calls


def _be_active() -> None:
    _last_active[:] = struct.pack("d", time.monotonic())


def worker_int(worker: Any) -> None:
    """SIGINT or SIGQUIT: gunicorn ends the worker right after this returns.

    Ctrl-C brings both, the terminal's and the master's; only the first may end the process.
    """
    if getattr(worker, "agentlip_ending", False):
        time.sleep(60)
    worker.agentlip_ending = True
    _shut_down(worker, _DRAIN_SECONDS)


def _shut_down(worker: Any, timeout: float) -> None:
    state = _state_of(worker)
    if state is not None:
        state.shut_down(timeout)


def _state_of(worker: Any) -> HubState | None:
    state: HubState | None = getattr(worker.wsgi, "extensions", {}).get("agentlip")
    return state


def on_exit(server: Any) -> None:
    """The master ends: server.json goes, the database is one file again, and the workspace is free."""
    settings: Settings | None = getattr(server, "agentlip_settings", None)
    if settings is not None and settings.instance_id is not None:
        remove_server_file(settings.db.parent, settings.instance_id)
        _fold_wal(settings)
    lock: WriterLock | None = getattr(server, "agentlip_lock", None)
    if lock is not None:
        lock.release()
    server.agentlip_settings = None  # once is enough


def _fold_wal(settings: Settings) -> None:
    """Workers end without closing their connections; the last one to be closed puts the WAL into the database file."""
    database = Database(settings.db, settings.synchronous)
    with suppress(AgentlipError), database.reading():
        pass
    database.close()
