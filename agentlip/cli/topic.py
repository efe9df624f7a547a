"""`agentlip topic`: list, create, rename."""

from __future__ import annotations

import click

from ..model import TopicResult
from . import output
from .context import Context
from .lookup import channel_id, topic_id


@click.group()
def topic() -> None:
    """List, create and rename topics.

    A TOPIC is given by its id or as channel/title, a CHANNEL by its id or name.
    """


@topic.command("list")
@click.argument("channel")
@click.option("--limit", metavar="N", default=50, show_default=True, help="At most so many.")
@click.option("--offset", metavar="N", default=0, show_default=True, help="Leave out the first ones.")
@click.pass_obj
def list_topics(context: Context, channel: str, limit: int, offset: int) -> None:
    """List the topics of CHANNEL.

    Those with the latest activity come first.

    \b
    Example: agentlip topic list general
    """
    with context.client() as client:
        page = client.topics(channel_id(client, channel), limit, offset)
    if context.as_json:
        output.json_value(page)
    else:
        output.table(
            ("ID", "TITLE", "UPDATED"), [(each.id, each.title, output.moment(each.updated_at)) for each in page.topics]
        )
        if page.has_more:
            output.note(f"there are more: --offset {offset + len(page.topics)}")


@topic.command("create")
@click.argument("channel")
@click.argument("title")
@click.pass_obj
def create_topic(context: Context, channel: str, title: str) -> None:
    """Create a topic in CHANNEL. Its title is unique there, 1 to 200 characters.

    \b
    Example: agentlip topic create general "First steps"
    """
    with context.client() as client:
        result = client.create_topic(channel_id(client, channel), title)
    _show(context, result, f"Created topic {title}: {result.topic.id}")


@topic.command("rename")
@click.argument("topic")
@click.argument("title")
@click.pass_obj
def rename_topic(context: Context, topic: str, title: str) -> None:
    """Give TOPIC another title.

    \b
    Example: agentlip topic rename "general/First steps" "Old news"
    """
    with context.client() as client:
        result = client.rename_topic(topic_id(client, topic), title)
    _show(context, result, f"Topic {result.topic.id} is now called {title}")


def _show(context: Context, result: TopicResult, friendly: str) -> None:
    if context.as_json:
        output.json_value(result)
    else:
        output.made(result.topic.id, friendly)
