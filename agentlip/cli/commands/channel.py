"""`agentlip channel`: list, create."""

from __future__ import annotations

import click

from ...client import HubClient
from ...errors import InvalidInput
from ...model import Channel
from ..support import output
from ..support.command import Group, field
from ..support.context import Context
from ..support.lookup import channel_named


@click.group(cls=Group)
def channel() -> None:
    """List and create channels."""


@channel.command("list")
@click.pass_obj
def list_channels(context: Context) -> None:
    """List all channels by name.

    \b
    Example: agentlip channel list
    """
    with context.reader() as reader:
        channels = reader.channels()
    if context.as_json:
        output.json_list("channels", channels, has_more=False)
    else:
        output.table(("ID", "NAME", "DESCRIPTION"), [(each.id, each.name, each.description) for each in channels])


@channel.command("create")
@field("name", "--name")
@click.option("--description", help="What the channel is for.")
@click.option("--if-missing", is_flag=True, help="Succeed if there is already a channel of this name.")
@click.pass_obj
def create_channel(context: Context, name: str, description: str | None, if_missing: bool) -> None:
    """Create a channel. Its name is unique, 1 to 100 characters.

    \b
    Example: agentlip channel create general
    """
    with context.client() as client:
        made, event_id = create(client, name, description, if_missing)
    if context.as_json:
        output.json_value({"channel": made, "event_id": event_id}, channel_id=made.id)
    else:
        done = "Created channel" if event_id is not None else "There is already a channel"
        output.made(made.id, f"{done} {made.name}: {made.id}")


def create(client: HubClient, name: str, description: str | None, if_missing: bool) -> tuple[Channel, int | None]:
    """The new channel and its event; with `if_missing` also the old one of this name, and None."""
    try:
        made = client.create_channel(name, description)
        return made.channel, made.event_id
    except InvalidInput as error:
        old = channel_named(client, getattr(error, "existing_id", name)) if if_missing else None
        if old is None:
            raise
        return old, None
