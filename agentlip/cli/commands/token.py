"""`agentlip token`: the token that clients of the workspace's hub must show."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import click

from ...client import HubClient
from ...client.address import url_in
from ...config import Settings
from ...errors import AgentlipError, ConfigError, MissingAuth
from ...workspace import writer_lock
from ...workspace.finding import TOKEN_FILE
from ...workspace.server_file import read_server_file
from ...workspace.token import load_or_make_token, replace_token
from ..support import output
from ..support.command import Group
from ..support.context import Context
from ..support.hub_process import HubProcess
from ..support.running import Running

_RELOAD_SECONDS = 20.0
_NOT_USED = "the file auth_token is not used"


@click.group(cls=Group)
def token() -> None:
    """Show or replace the token of the workspace."""


@token.command()
@click.pass_obj
def show(context: Context) -> None:
    """Print the token, and nothing else.

    It is that of the running hub, or else the one that the next hub will have.
    """
    folder = context.database.parent
    running = Running.look(folder)
    configured = _configured()
    if running.health is not None and running.server is not None:
        found = str(running.server.get("auth_token", ""))
    else:
        found = load_or_make_token(folder) if configured is None else configured
    if not found:
        raise ConfigError(f"AGENTLIP_AUTH_TOKEN is empty: no token is configured, and {_NOT_USED}")
    if found != _kept(folder):
        click.echo(f"agentlip: {_NOT_USED}: AGENTLIP_AUTH_TOKEN gives the token", err=True)
    output.json_value({"token": found}) if context.as_json else click.echo(found)


@token.command()
@click.pass_obj
def rotate(context: Context) -> None:
    """Replace the token with a new one. A running hub uses it at once.

    Its WebSockets are closed with 1001, and clients need the new token from then on.
    """
    folder = context.database.parent
    if _configured() is not None:
        raise ConfigError(f"AGENTLIP_AUTH_TOKEN gives the token, {_NOT_USED}; change it there and start the hub again")
    running, old = Running.look(folder), _kept(folder)
    is_there = running.health is not None or running.holder is not None
    if is_there and running.server is not None and running.server.get("auth_token") != old:
        raise ConfigError(
            f"the running hub has another token than the file auth_token: AGENTLIP_AUTH_TOKEN gives it, or the file "
            f"was changed since; stop the hub first, {_NOT_USED} by it"
        )
    process = HubProcess.find(folder) if is_there else None
    is_certain = process is not None and running.server is not None and process.pid == running.server.get("pid")
    if running.holder is not None and running.url is None and not is_certain:
        raise ConfigError(
            f"{f'process {running.holder}' if running.holder else 'a process'} has the workspace, but does not answer: "
            "it would keep the old token. Wait until it has started, or stop it; nothing was changed"
        )
    new = replace_token(folder)
    if is_there:
        if process is None or running.server is None or not is_certain:
            raise ConfigError(f"the new token is made, but the hub at {running.url} keeps the old one: start it again")
        _reload(process, folder, url_in(running.server), old or "", new)
    _report(context, process)


def _configured() -> str | None:
    """What AGENTLIP_AUTH_TOKEN says here; the running hub may have been started with something else."""
    configured = os.environ.get("AGENTLIP_AUTH_TOKEN")
    return None if configured is None else Settings.load({"AGENTLIP_AUTH_TOKEN": configured}).auth_token


def _kept(folder: Path) -> str | None:
    """What the file holds, whether it makes sense or not; None when there is none."""
    try:
        return (folder / TOKEN_FILE).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def _reload(process: HubProcess, folder: Path, url: str, old: str, new: str) -> None:
    """Have the hub's workers replaced, and wait until none is left that takes the old token."""
    workers = {worker.pid for worker in process.workers(folder)}
    process.send(signal.SIGHUP)
    deadline = time.monotonic() + _RELOAD_SECONDS
    while not (_tells(folder, new) and not workers & writer_lock.users(folder) and _is_refused(url, old)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the new token is made, but the hub, process {process.pid}, has not taken it yet")
        time.sleep(0.1)


def _tells(folder: Path, new: str) -> bool:
    server = read_server_file(folder)
    return server is not None and server.get("auth_token") == new


def _is_refused(url: str, old: str) -> bool:
    try:
        with HubClient(url, old, timeout=5) as client:
            client.ping()
    except MissingAuth:
        return True
    except AgentlipError:
        pass  # not there for a moment, or shutting down
    return False


def _report(context: Context, process: HubProcess | None) -> None:
    if context.as_json:
        output.json_value({"rotated": True, "hub_pid": None if process is None else process.pid})
    elif process is None:
        click.echo("There is a new token, which the next hub will use. `agentlip token show` prints it.")
    else:
        click.echo(
            f"There is a new token, and the hub, process {process.pid}, refuses the old one. Its WebSockets were "
            "closed with 1001; clients need the new token to come back. `agentlip token show` prints it."
        )
