"""`agentlip search`."""

from __future__ import annotations

import click
from msgspec.structs import asdict

from ...model import SearchPage
from ..support import conversation, output, pages
from ..support.command import Command, field
from ..support.context import Context
from ..support.lookup import channel_id, topic_id
from ..support.places import Places


@click.command(cls=Command)
@field("query", "--query", "-q")
@click.option("--channel", "--channel-id", metavar="CHANNEL", help="Only in this channel: its id or name.")
@click.option("--topic", "--topic-id", metavar="TOPIC", help="Only in this topic: its id, or channel/title.")
@click.option("--limit", metavar="N", type=click.IntRange(1), default=50, show_default=True, help="At most this many.")
@click.pass_obj
def search(context: Context, query: str, channel: str | None, topic: str | None, limit: int) -> None:
    """Find the messages that contain all words of QUERY.

    The newest come first, each with its channel and topic. "Quoted words" stay together.

    \b
    Example: agentlip search "release notes" --channel general
    """
    with context.reader() as reader:
        found = pages.search(
            reader,
            query,
            limit,
            channel_id(reader, channel) if channel else None,
            topic_id(reader, topic) if topic else None,
        )
        places = Places(reader)
        if context.as_json:
            _print_json(found, query, places)
        else:
            conversation.show(found.messages, places)
    if found.has_more and not context.as_json:
        output.note("there are more; raise --limit or narrow the search")


def _print_json(found: SearchPage, query: str, places: Places) -> None:
    messages = [
        asdict(each)
        | {"channel": places.channel(each.channel_id), "topic": places.topic(each.channel_id, each.topic_id)}
        for each in found.messages
    ]
    output.json_list("messages", messages, has_more=found.has_more, fts_used=found.fts_used, query=query)
