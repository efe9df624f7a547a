"""`agentlip events`."""

from __future__ import annotations

import click

from ..model import Event
from . import output
from .context import Context
from .lookup import channel_id, topic_id


@click.command()
@click.option("--after", metavar="N", type=int, help="Those after this event id. [default: 0, from the start]")
@click.option("--tail", metavar="N", type=int, help="The last ones: how many.")
@click.option("--limit", metavar="N", default=100, show_default=True, help="At most so many.")
@click.option(
    "--channel",
    "channels",
    metavar="CHANNEL",
    multiple=True,
    help="Only of this channel (id or name); may be given again.",
)
@click.option(
    "--topic",
    "topics",
    metavar="TOPIC",
    multiple=True,
    help="Only of this topic (id, or channel/title); may be given again.",
)
@click.pass_obj
def events(
    context: Context,
    after: int | None,
    tail: int | None,
    limit: int,
    channels: tuple[str, ...],
    topics: tuple[str, ...],
) -> None:
    """Print a page of the event log. To follow it, use `agentlip listen`.

    \b
    Example: agentlip events --tail 20
    """
    if after is not None and tail is not None:
        raise click.UsageError("Give either --after or --tail")
    with context.client() as client:
        page = client.events(
            after or 0,
            limit,
            tail=tail,
            channels=[channel_id(client, each) for each in channels],
            topics=[topic_id(client, each) for each in topics],
        )
    if context.as_json:
        output.json_value(page)
        return
    output.table(("EVENT", "TIME", "NAME", "ENTITY"), [_row(event) for event in page.events])
    if tail is None and len(page.events) == limit and page.events[-1].event_id < page.replay_until:
        output.note(f"there are more: --after {page.events[-1].event_id}")


def _row(event: Event) -> tuple[object, ...]:
    return event.event_id, output.moment(event.ts), event.name, event.entity.id
