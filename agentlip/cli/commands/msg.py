"""`agentlip msg`: send, tail, page, show, edit, delete, retopic."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from ...client import HubClient
from ...errors import ConfigError, NotFound
from ...model import Event, Message, MessageCreated
from ..support import conversation, output, pages
from ..support.command import Group, field
from ..support.context import Context
from ..support.following import end_in_good_order, followed, patiently
from ..support.lookup import channel_id, missing_topic, topic_id
from ..support.places import Places
from . import channel as channels
from . import topic as topics

_VERSION = click.option(
    "--expected-version", type=int, help="Change nothing, and exit with 2, if the message has a different version."
)
_STDIN = click.option("--stdin", is_flag=True, help="Read the content from standard input.")


@click.group(cls=Group)
def msg() -> None:
    """Send, read and change messages.

    A TOPIC is given by its id or as channel/title. An ID is that of a message.
    """


@msg.command()
@field("topic", "--topic-id", "--topic")
@field("content", "--content", needed=False)
@_STDIN
@click.option(
    "--sender", envvar="AGENTLIP_SENDER", help="The name to post under. [default: AGENTLIP_SENDER or the login name]"
)
@click.option("--create", is_flag=True, help="Create the channel and the topic of channel/title if they are missing.")
@click.pass_obj
def send(context: Context, topic: str, content: str | None, stdin: bool, sender: str | None, create: bool) -> None:
    """Post CONTENT to TOPIC.

    Without CONTENT, or with -, it is read from standard input.

    \b
    Example: agentlip msg send "general/First steps" "Hello, hub"
    """
    text = _content(content, stdin)
    with context.client() as client:
        wanted = (_topic_made if create else topic_id)(client, topic)
        result = client.post_message(wanted, sender or _login_name(), text)
    if context.as_json:
        output.json_value(result, message_id=result.message.id)
    else:
        output.made(result.message.id, f"Sent {result.message.id}")


def _topic_made(client: HubClient, wanted: str) -> str:
    """The id of a topic that is made if it is missing, with its channel."""
    try:
        return topic_id(client, wanted)
    except NotFound:
        name, title = missing_topic(client, wanted)
    channel, _ = channels.create(client, name, None, if_missing=True)
    topic, _ = topics.create(client, channel.id, title, if_missing=True)
    return topic.id


def _content(given: str | None, stdin: bool) -> str:
    if given is not None and stdin:
        raise click.UsageError("Give either CONTENT or --stdin")
    if given is not None and given != "-":
        return given
    if given is None and not stdin and sys.stdin.isatty():
        raise click.UsageError("There is nothing to send: agentlip msg send TOPIC CONTENT")
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise click.UsageError("Standard input is not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"cannot read standard input: {error.strerror}") from None


def _login_name() -> str:
    try:
        return getpass.getuser().encode().decode()
    except (KeyError, OSError, UnicodeEncodeError):  # no name, as in some containers, or one that is not text
        raise click.UsageError("The login name is unknown: give --sender NAME") from None


@msg.command()
@field("topic", "--topic-id", "--topic")
@click.option(
    "-n",
    "--number",
    "--limit",
    metavar="N",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="How many messages.",
)
@click.option("-f", "--follow", "go_on", is_flag=True, help="Follow the topic until interrupted.")
@click.pass_obj
def tail(context: Context, topic: str, number: int, go_on: bool) -> None:
    """Print the latest messages of TOPIC, the newest last.

    With -f new ones follow, and those that are edited, deleted or moved here, as they are then.

    \b
    Example: agentlip msg tail "general/First steps" -f
    """
    if go_on:
        end_in_good_order()
        with context.client() as client:
            _follow(context, client, topic_id(client, topic), number)
        return
    with context.reader() as reader:
        wanted = topic_id(reader, topic)
        page = pages.messages(reader, number, topic_id=wanted)
    if context.as_json:
        output.json_list("messages", page.messages, has_more=page.has_more, topic_id=wanted)
    else:
        conversation.show(reversed(page.messages))


def _follow(context: Context, client: HubClient, wanted: str, number: int) -> None:
    head = client.events(tail=1).replay_until  # before the page: what comes in between is then told, not lost
    messages = pages.messages(client, number, topic_id=wanted).messages
    conversation.show(reversed(messages), as_json=context.as_json)
    versions = {message.id: message.version for message in messages}
    with followed(client, head, {"topics": [wanted]}) as stream:
        for event in stream:
            message = patiently(_changed, client, event)
            if message is None or versions.get(message.id, 0) >= message.version:
                continue
            versions[message.id] = message.version
            if message.topic_id == wanted:
                conversation.show([message], as_json=context.as_json)
            else:
                place = patiently(Places(client).name, message.channel_id, message.topic_id)
                output.note(f"{message.id} was moved to {place}")


def _changed(client: HubClient, event: Event) -> Message | None:
    """The message that an event has made, or changed: then as it is now."""
    if isinstance(event.payload, MessageCreated):
        return event.payload.message
    if event.name in ("message.edited", "message.deleted", "message.moved_topic"):
        with suppress(NotFound):  # the hub has another log since
            return client.message(event.entity.id)
    return None


@msg.command()
@field("topic", "--topic-id", "--topic", needed=False)
@click.option("--channel", "--channel-id", metavar="CHANNEL", help="Messages of all topics of this channel.")
@click.option("--limit", metavar="N", type=click.IntRange(1), default=50, show_default=True, help="At most this many.")
@click.option("--before", "--before-id", metavar="ID", help="Messages before this one.")
@click.option("--after", "--after-id", metavar="ID", help="Messages right after this one.")
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
    with context.reader() as reader:
        found = pages.messages(
            reader,
            limit,
            channel_id=channel_id(reader, channel) if channel else None,
            topic_id=topic_id(reader, topic) if topic else None,
            before_id=before,
            after_id=after,
        )
    if context.as_json:
        output.json_list("messages", found.messages, has_more=found.has_more)
        return
    conversation.show(found.messages)
    if found.has_more and found.messages:
        output.note(f"there are more: {_next_page(after, found.messages)}")


def _next_page(after: str | None, messages: list[Message]) -> str:
    return f"--before {messages[-1].id}" if after is None else f"--after {messages[0].id}"


@msg.command("show")
@field("id", "--message-id", "--id")
@click.pass_obj
def show_message(context: Context, id: str) -> None:
    """Print one message and where it is.

    \b
    Example: agentlip msg show msg_...
    """
    with context.reader() as reader:
        message = reader.message(id)
        if context.as_json:
            output.json_value({"message": message}, message_id=message.id)
        else:
            conversation.show([message], Places(reader))


@msg.command()
@field("id", "--message-id", "--id")
@field("content", "--content", needed=False)
@_STDIN
@_VERSION
@click.pass_obj
def edit(context: Context, id: str, content: str | None, stdin: bool, expected_version: int | None) -> None:
    """Replace the content of a message.

    Without CONTENT, or with -, it is read from standard input.

    \b
    Example: agentlip msg edit msg_... "Better words" --expected-version 1
    """
    text = _content(content, stdin)
    _change(context, lambda client: client.edit(id, text, expected_version), "Edited")


@msg.command()
@field("id", "--message-id", "--id")
@click.option(
    "--actor", "--sender", envvar="AGENTLIP_SENDER", help="Who deletes it. [default: as for `msg send --sender`]"
)
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
        output.json_value(result, message_id=result.message.id)
    else:
        version = result.message.version
        output.made(result.message.id, f"{done} {result.message.id}, now version {version}")


@msg.command()
@field("id", "--message-id", "--id")
@field("to", "--to-topic-id", "--to-topic", "--to", help="The topic to move to: an id, or channel/title.")
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
        output.json_value(result, message_id=id)
    else:
        output.made(str(result.affected_count), f"Moved {result.affected_count} messages")


msg.add_command(retopic, "move")
