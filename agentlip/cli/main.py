"""The entry point: global options, and one exit code for each kind of failure."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from ..errors import AgentlipError, ConfigError, LockHeld, StorageError
from ..version import __version__
from .context import Context
from .exits import exit_code, one_line

# The file of each command. They are imported when they are asked for, so that `agentlip --help` is quick.
COMMANDS = {
    "init": "init",
    "up": "up",
    "down": "down",
    "status": "status",
    "ui": "ui",
    "doctor": "doctor",
    "backup": "backup",
    "restore": "restore",
    "token": "token",
    "channel": "channel",
    "topic": "topic",
    "msg": "msg",
    "attachment": "attachment",
    "search": "search",
    "events": "events",
    "listen": "listen",
}


class Commands(click.Group):
    """Finds commands by the table above, and turns every expected failure into one line and an exit code."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"{__package__}.{COMMANDS[name]}"), name)
        return command

    def invoke(self, context: click.Context) -> Any:
        """Run the command; it has done its work when nobody reads its output any more."""
        try:
            return super().invoke(context)
        except BrokenPipeError:  # click itself would call it a failure
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
            return 0

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command line and exit with the code of docs/cli.md."""
        try:
            sys.exit(super().main(*args, **{"prog_name": "agentlip"} | kwargs | {"standalone_mode": False}) or 0)
        except click.exceptions.Exit as end:
            sys.exit(end.exit_code)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(1)
        except click.ClickException as error:
            click.echo(f"agentlip: {_usage_line(error)}", err=True)
            sys.exit(1)  # click's own 2 means a conflict here
        except (click.Abort, KeyboardInterrupt):
            sys.exit(130)
        except (AgentlipError, ConfigError, StorageError, LockHeld, OSError) as error:
            click.echo(f"agentlip: {one_line(error)}", err=True)
            sys.exit(exit_code(error))


def _usage_line(error: click.ClickException) -> str:
    line = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None or line.endswith("?"):
        return line
    return f"{line}; see `{context.command_path} --help`"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--workspace", metavar="DIR", help="The folder that holds .agentlip. [default: found from here upwards]")
@click.option("--url", envvar="AGENTLIP_URL", metavar="URL", help="A remote hub, for example https://hub.example.")
@click.option(
    "--token",
    envvar="AGENTLIP_TOKEN",
    metavar="TOKEN",
    help="The remote hub's token; @FILE reads it from a file. Better in AGENTLIP_TOKEN: others see command lines.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.version_option(__version__)
@click.pass_context
def main(context: click.Context, workspace: str | None, url: str | None, token: str | None, as_json: bool) -> None:
    """Run a hub for AI agents and people, and talk to one."""
    if os.environ.get("NO_COLOR"):
        context.color = False
    context.obj = Context(workspace, url, token, as_json)
