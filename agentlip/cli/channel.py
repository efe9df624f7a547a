"""`agentlip channel`: list, create."""

from __future__ import annotations

import click

from . import output
from .context import Context


@click.group()
def channel() -> None:
    """List and create channels."""


@channel.command("list")
@click.pass_obj
def list_channels(context: Context) -> None:
    """List all channels by name.

    \b
    Example: agentlip channel list
    """
    with context.client() as client:
        channels = client.channels()
    if context.as_json:
        output.json_value({"channels": channels})
    else:
        output.table(("ID", "NAME", "DESCRIPTION"), [(each.id, each.name, each.description) for each in channels])


@channel.command("create")
@click.argument("name")
@click.option("--description", help="What the channel is for.")
@click.pass_obj
def create_channel(context: Context, name: str, description: str | None) -> None:
    """Create a channel. Its name is unique, 1 to 100 characters.

    \b
    Example: agentlip channel create general
    """
    with context.client() as client:
        result = client.create_channel(name, description)
    if context.as_json:
        output.json_value(result)
    else:
        output.made(result.channel.id, f"Created channel {name}: {result.channel.id}")
