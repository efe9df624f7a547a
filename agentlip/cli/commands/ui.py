"""`agentlip ui`: a link that signs one person in to the web page."""

from __future__ import annotations

import click

from ...client import HubUnreachable
from ...errors import ConfigError
from ...workspace.login_codes import make_login_code
from ..support import output
from ..support.context import Context
from ..support.running import Running


@click.command()
@click.option("--open", "in_browser", is_flag=True, help="Open it in the browser.")
@click.pass_obj
def ui(context: Context, in_browser: bool) -> None:
    """Print a link that signs one person in to the web page.

    It works once, within ten minutes, and needs no token. The hub must run on this machine.
    """
    folder = context.database.parent
    url = Running.look(folder).url
    if url is None:
        raise HubUnreachable(f"No hub is running in {folder.parent}; start one with `agentlip up`")
    if url.startswith("http+unix:"):
        raise ConfigError("this hub listens on a UNIX socket, which browsers cannot open: put a proxy in front of it")
    link = f"{url}/ui/login#{make_login_code(folder)}"
    if context.as_json:
        output.json_value({"url": link})
    else:
        click.echo(link)
    if in_browser:
        click.launch(link)
