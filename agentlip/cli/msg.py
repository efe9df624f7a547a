"""`agentlip msg`: send, tail, page, edit, delete, retopic."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from ..client import HubClient
from ..model import Message
from . import output
from .context import Context
from .lookup import channel_id, topic_id

_VERSION = click.option(
    "--expected-version", type=int, help="Change nothing, and exit with 2, when the message has another version."
)


@click.group()
def msg() -> None:
    """Send, read and change messages.

    A TOPIC is given by its id or as channel/title. An ID is that of a message.
    """


@msg.command()
@click.argument("topic")
@click.argument("content", required=False)
@click.option("--sender", envvar="AGENTLIP_SENDER", help="Who says it. [default: AGENTLIP_SENDER or the login name]")
@click.pass_obj
def send(context: Context, topic: str, content: str | None, sender: str | None) -> None:
    """Post CONTENT in TOPIC.

    Without CONTENT, or with -, it is what standard input holds.

    \b
    Example: agentlip msg send "general/First steps" "Hello, hub"
    """
    text = _content(content)
    with context.client() as client:
        result = client.post_message(topic_id(client, topic), sender or _login_name(), text)
    if context.as_json:
        output.json_value(result)
    else:
        output.made(result.message.id, f"Sent {result.message.id}")


def _content(given: str | None) -> str:
    if given is not None and given != "-":
        return given
    if given is None and sys.stdin.isatty():
        raise click.UsageError("Say something: agentlip msg send TOPIC CONTENT")
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise click.UsageError("Standard input is not UTF-8 text") from None


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name, as in some containers
        raise click.UsageError("Say who you are: --sender NAME") from None


@msg.command()
@click.argument("topic")
@click.option("-n", "--number", metavar="N", default=20, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new ones, until interrupted.")
@click.pass_obj
def tail(context: Context, topic: str, number: int, follow: bool) -> None:
    """Print the latest messages of TOPIC, the newest last.

    \b
    Example: agentlip msg tail "general/First steps" -f
    """
    with context.client() as client:
        wanted = topic_id(client, topic)
        head = client.events(tail=1).replay_until  # before the page: what comes in between is then told, not lost
        messages = client.messages(topic_id=wanted, limit=number).messages
        _show(context, reversed(messages))
        if follow:
            _follow(context, client, wanted, head, {message.id for message in messages})


def _follow(context: Context, client: HubClient, wanted: str, head: int, shown: set[str]) -> None:
    with client.stream(head, topics=[wanted], on_new_log="restart", on_disconnect=_tell) as stream:
        for event in stream:
            if event.name == "message.created" and event.entity.id not in shown:
                _show(context, [Message(**event.data["message"])])


def _tell(reason: str, pause: float) -> None:
    output.note(f"{reason}; trying again in {pause:.1f} s")


@msg.command()
@click.argument("topic", required=False)
@click.option("--channel", help="Of all topics of this channel.")
@click.option("--limit", metavar="N", default=50, show_default=True, help="At most so many.")
@click.option("--before", metavar="ID", help="Those before this message.")
@click.option("--after", metavar="ID", help="Those right after this message.")
@click.pass_obj
def page(
    context: Context, topic: str | None, channel: str | None, limit: int, before: str | None, after: str | None
) -> None:
    """Print one page of messages, the newest first.

    \b
    Example: agentlip msg page --channel general --limit 10
    """
    if (topic is None) == (channel is None):
        raise click.UsageError("Give either a TOPIC or --channel")
    with context.client() as client:
        found = client.messages(
            channel_id=channel_id(client, channel) if channel else None,
            topic_id=topic_id(client, topic) if topic else None,
            limit=limit,
            before_id=before,
            after_id=after,
        )
    if context.as_json:
        output.json_value(found)
        return
    _show(context, found.messages)
    if found.has_more and found.messages:
        output.note(f"there are more: {_next_page(after, found.messages)}")


def _next_page(after: str | None, messages: list[Message]) -> str:
    return f"--before {messages[-1].id}" if after is None else f"--after {messages[0].id}"


@msg.command()
@click.argument("id")
@click.argument("content")
@_VERSION
@click.pass_obj
def edit(context: Context, id: str, content: str, expected_version: int | None) -> None:
    """Replace the content of a message.

    The content - takes it from standard input.

    \b
    Example: agentlip msg edit msg_... "Better words" --expected-version 1
    """
    text = _content(content)
    _change(context, lambda client: client.edit(id, text, expected_version), "Edited")


@msg.command()
@click.argument("id")
@click.option("--actor", envvar="AGENTLIP_SENDER", help="Who deletes it. [default: as the sender of `msg send`]")
@_VERSION
@click.pass_obj
def delete(context: Context, id: str, actor: str | None, expected_version: int | None) -> None:
    """Delete a message. Its place stays, as a tombstone.

    \b
    Example: agentlip msg delete msg_... --actor alice
    """
    _change(context, lambda client: client.delete(id, actor or _login_name(), expected_version), "Deleted")


def _change(context: Context, change: Callable[[HubClient], Any], done: str) -> None:
    with context.client() as client:
        result = change(client)
    if context.as_json:
        output.json_value(result)
    else:
        version = result.message.version
        output.made(result.message.id, f"{done} {result.message.id}, now version {version}")


@msg.command()
@click.argument("id")
@click.option("--to", "to", metavar="TOPIC", required=True, help="Where it goes: an id, or channel/title.")
@click.option(
    "--mode",
    type=click.Choice(["one", "later", "all"]),
    default="one",
    show_default=True,
    help="The message alone, with all later ones of its topic, or all of its topic.",
)
@_VERSION
@click.pass_obj
def retopic(context: Context, id: str, to: str, mode: str, expected_version: int | None) -> None:
    """Move a message to another topic of its channel.

    \b
    Example: agentlip msg retopic msg_... --to "general/Old news" --mode later
    """
    with context.client() as client:
        result = client.move(id, topic_id(client, to), mode, expected_version)
    if context.as_json:
        output.json_value(result)
    else:
        output.made(str(result.affected_count), f"Moved {result.affected_count} messages")


def _show(context: Context, messages: Iterable[Message]) -> None:
    show_messages(messages, as_json=context.as_json)


def show_messages(messages: Iterable[Message], *, as_json: bool) -> None:
    """Messages as they come: JSON lines, a conversation on a terminal, else id, time, sender and content."""
    for message in messages:
        if as_json:
            output.json_line(message)
        elif output.is_terminal():
            click.secho(output.one_line(message.sender), bold=True, nl=False)
            click.secho(f"  {output.moment(message.created_at)}  {message.id}{_mark(message)}", dim=True)
            click.echo(output.several_lines(message.content_raw).rstrip("\n"))
        else:
            fields = (message.id, message.created_at, message.sender, message.content_raw)
            click.echo("\t".join(output.one_line(field) for field in fields))
    sys.stdout.flush()


def _mark(message: Message) -> str:
    if message.deleted_at is not None:
        return f"  deleted by {output.one_line(message.deleted_by)}"
    return "  edited" if message.edited_at is not None else ""
