"""`agentlip search`."""

from __future__ import annotations

import click

from . import output
from .context import Context
from .lookup import channel_id, topic_id
from .msg import show_messages


@click.command()
@click.argument("query")
@click.option("--channel", help="Only in this channel: its id or name.")
@click.option("--topic", help="Only in this topic: its id, or channel/title.")
@click.option("--limit", metavar="N", default=50, show_default=True, help="At most so many.")
@click.pass_obj
def search(context: Context, query: str, channel: str | None, topic: str | None, limit: int) -> None:
    """Find the messages that hold all words of QUERY.

    The newest come first. "Quoted words" stay together.

    \b
    Example: agentlip search "release notes" --channel general
    """
    with context.client() as client:
        found = client.search(
            query,
            channel_id=channel_id(client, channel) if channel else None,
            topic_id=topic_id(client, topic) if topic else None,
            limit=limit,
        )
    if context.as_json:
        output.json_value(found)
        return
    show_messages(found.messages, as_json=False)
    if found.has_more:
        output.note("there are more; raise --limit or narrow the search")
