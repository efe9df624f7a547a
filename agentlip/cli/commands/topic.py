"""`agentlip topic`: list, create, rename."""

from __future__ import annotations

import click

from ...client import HubClient
from ...errors import InvalidInput
from ...model import Topic
from ..support import output, pages
from ..support.command import Group, field
from ..support.context import Context
from ..support.lookup import channel_id, topic_id, topic_titled


@click.group(cls=Group)
def topic() -> None:
    """List, create and rename topics.

    A TOPIC is given by its id or as channel/title, a CHANNEL by its id or name.
    """


@topic.command("list")
@field("channel", "--channel-id", "--channel")
@click.option("--limit", metavar="N", type=click.IntRange(1), default=50, show_default=True, help="At most this many.")
@click.option("--offset", metavar="N", type=click.IntRange(0), default=0, show_default=True, help="Skip this many.")
@click.pass_obj
def list_topics(context: Context, channel: str, limit: int, offset: int) -> None:
    """List the topics of CHANNEL.

    Those with the latest activity come first.

    \b
    Example: agentlip topic list general
    """
    with context.reader() as reader:
        wanted = channel_id(reader, channel)
        page = pages.topics(reader, wanted, limit, offset)
    if context.as_json:
        output.json_list("topics", page.topics, has_more=page.has_more, channel_id=wanted)
        return
    rows = [(each.id, each.title, output.moment(each.updated_at)) for each in page.topics]
    output.table(("ID", "TITLE", "UPDATED"), rows)
    if page.has_more:
        output.note(f"there are more: --offset {offset + len(page.topics)}")


@topic.command("create")
@field("channel", "--channel-id", "--channel")
@field("title", "--title")
@click.option("--if-missing", is_flag=True, help="Succeed if the channel already has a topic of this title.")
@click.pass_obj
def create_topic(context: Context, channel: str, title: str, if_missing: bool) -> None:
    """Create a topic in CHANNEL. Its title is unique there, 1 to 200 characters.

    \b
    Example: agentlip topic create general "First steps"
    """
    with context.client() as client:
        made, event_id = create(client, channel_id(client, channel), title, if_missing)
    done = "Created topic" if event_id is not None else "There is already a topic"
    _show(context, made, event_id, f"{done} {made.title}: {made.id}")


def create(client: HubClient, channel: str, title: str, if_missing: bool) -> tuple[Topic, int | None]:
    """The new topic of the channel of this id, and its event; with `if_missing` also the old one, and None."""
    try:
        made = client.create_topic(channel, title)
        return made.topic, made.event_id
    except InvalidInput as error:
        old = topic_titled(client, channel, getattr(error, "existing_id", title)) if if_missing else None
        if old is None:
            raise
        return old, None


@topic.command("rename")
@field("topic", "--topic-id", "--topic")
@field("title", "--title", "--new-title")
@click.pass_obj
def rename_topic(context: Context, topic: str, title: str) -> None:
    """Give TOPIC another title.

    \b
    Example: agentlip topic rename "general/First steps" "Old news"
    """
    with context.client() as client:
        renamed, event_id = client.rename_topic(topic_id(client, topic), title)
    _show(context, renamed, event_id, f"Topic {renamed.id} is now called {renamed.title}")


def _show(context: Context, topic: Topic, event_id: int | None, friendly: str) -> None:
    if context.as_json:
        output.json_value({"topic": topic, "event_id": event_id}, topic_id=topic.id)
    else:
        output.made(topic.id, friendly)
