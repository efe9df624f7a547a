"""Messages as they come: JSON lines, a conversation on a terminal, else one line each."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from ...model import Message
from . import output
from .places import Places


def show(messages: Iterable[Message], places: Places | None = None, *, as_json: bool = False) -> None:
    """Print id, time, sender and content; and with `places` the channel and topic. Others see it at once."""
    for message in messages:
        place = None if places is None else places.name(message.channel_id, message.topic_id)
        if as_json:
            output.json_line(message)
        elif output.is_terminal():
            _show_on_terminal(message, place)
        else:
            fields = [message.id, message.created_at, message.sender, message.content_raw]
            click.echo("\t".join(output.one_line(field) for field in (*fields, *([] if place is None else [place]))))
    sys.stdout.flush()


def _show_on_terminal(message: Message, place: str | None) -> None:
    where = "" if place is None else f"  {output.one_line(place)}"
    click.secho(output.one_line(message.sender), bold=True, nl=False)
    click.secho(f"{where}  {output.moment(message.created_at)}  {message.id}{_mark(message)}", dim=True)
    click.echo(output.several_lines(message.content_raw).rstrip("\n"))


def _mark(message: Message) -> str:
    if message.deleted_at is not None:
        return f"  deleted by {output.one_line(message.deleted_by)}"
    return "  edited" if message.edited_at is not None else ""
