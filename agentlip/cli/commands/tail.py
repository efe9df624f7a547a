"""`agentlip tail`: what happens, as lines for people."""

from __future__ import annotations

import click

from ..support import pages
from ..support.command import Command, field
from ..support.context import Context
from ..support.following import end_in_good_order, followed, patiently, print_event
from ..support.lookup import scope
from ..support.places import Places


@click.command(cls=Command)
@field("place", "--channel", "--channel-id", "--topic", "--topic-id", needed=False,
       help="The same as PLACE: a channel's id or name, a topic's id, or channel/title.")  # fmt: skip
@click.option(
    "-n", "--number", "--limit", metavar="N", type=click.IntRange(0), default=10, show_default=True,
    help="How many past events to begin with.",
)  # fmt: skip
@click.option("-f", "--follow/--no-follow", default=True, show_default=True, help="Keep following until interrupted.")
@click.pass_obj
def tail(context: Context, place: str | None, number: int, follow: bool) -> None:
    """Print what happens, in readable lines.

    Messages, and also their changes, moves and deletions, new channels and topics, attachments. PLACE is a channel or
    channel/title; without it everything is shown. A topic's lines include what is moved there or away.

    \b
    Example: agentlip tail general
    """
    end_in_good_order()
    with context.reader() as reader:
        wanted = scope(reader, place)
        past, head = pages.last_events(reader, max(number, 1), **wanted)
        places = None if context.as_json else Places(reader)
        for event in past[len(past) - min(number, len(past)) :]:
            print_event(event, places)
    if not follow or context.offline:
        return
    with patiently(context.client) as client:
        places = None if context.as_json else Places(client)
        with followed(client, head, wanted) as stream:
            for event in stream:
                print_event(event, places)
