"""`agentlip events`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import click

from ...model import Event
from ..support import output, pages, telling
from ..support.command import Command, of_places
from ..support.context import Context, Reader
from ..support.lookup import channel_id, topic_id
from ..support.places import Places


@click.command(cls=Command)
@click.option(
    "--after", "--since", metavar="N", type=click.IntRange(0), help="Only events after this id. [default: 0, all]"
)
@click.option("--tail", metavar="N", type=click.IntRange(1), help="Only the last N events.")
@click.option("--limit", metavar="N", type=click.IntRange(1), default=100, show_default=True, help="At most this many.")
@of_places
@click.pass_obj
def events(
    context: Context,
    after: int | None,
    tail: int | None,
    limit: int,
    channels: tuple[str, ...],
    topics: tuple[str, ...],
) -> None:
    """Print a part of the event log. To follow it, use `agentlip tail` or `agentlip listen`.

    \b
    Example: agentlip events --tail 20
    """
    if after is not None and tail is not None:
        raise click.UsageError("Give either --after or --tail")
    with context.reader() as reader:
        wanted = [channel_id(reader, each) for each in channels], [topic_id(reader, each) for each in topics]
        if tail is not None:
            (found, head), more = pages.last_events(reader, tail, *wanted), False
        else:
            head = reader.events(tail=1).replay_until
            rest = pages.events(reader, after or 0, *wanted)
            found, more = list(islice(rest, limit)), next(rest, None) is not None
        if context.as_json:
            output.json_list("events", found, replay_until=head, has_more=more)
        else:
            _print(reader, found)
    if more and not context.as_json:
        output.note(f"there are more: --after {found[-1].event_id}")


def _print(reader: Reader, found: Sequence[Event]) -> None:
    if not output.is_terminal():
        output.table((), [(event.event_id, event.ts, event.name, event.entity.id) for event in found])
        return
    places = Places(reader)
    rows = [
        (each.event_id, output.moment(each.ts), telling.where(each, places), telling.what(each, places))
        for each in found
    ]
    output.table(("EVENT", "TIME", "WHERE", "WHAT"), rows)
