"""`agentlip up`: run the hub of a workspace, in the foreground or in the background."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click

from ... import listening
from ...config import PREFIX, Settings, is_given
from ...errors import ConfigError, LockHeld
from ...workspace import processes, writer_lock
from ..support import output
from ..support.context import Context
from ..support.detached import start_detached
from ..support.running import Running, database_to_be
from .init import make_workspace

_PACKAGES = Path(__file__).resolve().parents[3]
# Safe path: no file of the folder where the user happens to be is taken for a module.
_PROGRAM = (
    *(sys.executable, "-P", "-m", "gunicorn", "-c", "python:agentlip.server.gunicorn.settings"),
    "agentlip.server.app:standalone()",
)


def _duration(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """Seconds, or a number with `s`, `m` or `h`."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smh]?)", value.strip())
    if found is None:
        raise click.BadParameter(f"{value!r} is not a duration such as 90, 90s, 15m or 2h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


@click.command()
@click.option("--host", metavar="ADDRESS", help="The address to listen on. [default: AGENTLIP_HOST, or 127.0.0.1]")
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    help="The port; 0 takes a free one. [default: AGENTLIP_PORT, or 8787]",
)
@click.option(
    "--workers", metavar="N", type=click.IntRange(1, 256), help="Worker processes. [default: AGENTLIP_WORKERS, or 1]"
)
@click.option(
    "--idle-shutdown",
    metavar="DURATION",
    callback=_duration,
    help="Stop after this long (90, 90s, 15m, 2h) without a call or a WebSocket. [default: AGENTLIP_IDLE_SHUTDOWN]",
)
@click.option("--detach", is_flag=True, help="Run in the background, with the output in .agentlip/hub.log.")
@click.option("--new", is_flag=True, help="Make an empty database if the old one is gone.")
@click.pass_obj
def up(
    context: Context,
    host: str | None,
    port: int | None,
    workers: int | None,
    idle_shutdown: float | None,
    detach: bool,
    new: bool,
) -> None:
    """Run the workspace's hub.

    It runs until Ctrl-C or `agentlip down`, and makes a workspace here if there is none. All other settings are
    AGENTLIP_* variables. Exits with 10 if a hub is already running.
    """
    given = {"HOST": host, "PORT": port, "WORKERS": workers, "IDLE_SHUTDOWN": idle_shutdown}
    environ = dict(os.environ) | {PREFIX + name: str(value) for name, value in given.items() if value is not None}
    environ[PREFIX + "DB"] = str(database_to_be(context, environ))
    settings = Settings.load(environ)
    folder = settings.db.parent
    _refuse_second(folder)
    if make_workspace(settings, new):
        click.echo(f"Made a workspace: {folder}", err=context.as_json)
    if not writer_lock.wait_for_orphans(folder):  # they have the port, too
        raise LockHeld(f"another hub serves {folder.parent}, or workers that it left behind do")
    _check_address(settings, is_given(environ, "PORT"))
    _make_paths_absolute(environ)
    if detach:
        start_detached(_PROGRAM, environ, _PACKAGES, folder, context.as_json)
        return
    if settings.ui and output.is_terminal() and not sys.stderr.isatty():  # the hub itself tells those who see it
        click.echo("Run `agentlip ui` for a link to the web page.")
    sys.stdout.flush()
    os.chdir(_PACKAGES)
    os.execve(sys.executable, _PROGRAM, environ)


def _refuse_second(folder: Path) -> None:
    """Raise LockHeld when a hub serves the workspace; workers that a killed hub left behind do not count."""
    pid = writer_lock.holder(folder)
    if not pid or not processes.is_running(pid):
        return
    running = Running.look(folder)
    url = running.url or running.https_url
    if url is not None:
        raise LockHeld(f"a hub already serves {folder.parent}: process {pid}, {url}")
    if writer_lock.hub_process(folder) == pid:
        raise LockHeld(f"process {pid} has {folder.parent}, but does not answer: it may be starting")
    raise LockHeld(writer_lock.foreign_holder(pid, folder / writer_lock.LOCK_FILE))


def _check_address(settings: Settings, is_asked: bool) -> None:
    """Say at once what gunicorn would say after five attempts."""
    if "LISTEN_FDS" in os.environ or settings.bind is not None:  # systemd has opened the socket
        return
    try:
        listening.probe(settings.host, settings.port if is_asked else 0)
    except ConfigError:
        _refuse_second(settings.db.parent)  # it may have started just now, and have the port
        raise
    listening.check_network(settings, settings.host)


def _make_paths_absolute(environ: dict[str, str]) -> None:
    """The hub runs in another folder than the user."""
    if environ.get("PYTHONPATH"):
        paths = environ["PYTHONPATH"].split(os.pathsep)
        environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in paths)
