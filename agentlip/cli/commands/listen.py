"""`agentlip listen`: the event log as JSON lines, forever."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ...client import HubClient, HubUnreachable, Stream
from ..support import output
from ..support.command import Command, of_places
from ..support.context import Context
from ..support.cursor_file import CursorFile
from ..support.following import end_in_good_order, followed, print_event
from ..support.lookup import channel_id, topic_id
from ..support.places import Places

_LOOK_SECONDS = 0.5


@click.command(cls=Command)
@click.option(
    "--since",
    metavar="ID",
    type=click.IntRange(0),
    help="Start after this event id; 0 is the start of the log. [default: from now on]",
)
@click.option(
    "--cursor-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the position in this file, and continue from there next time.",
)
@of_places
@click.option("--wait", is_flag=True, help="If no hub is running, wait for one.")
@click.pass_obj
def listen(
    context: Context,
    since: int | None,
    cursor_file: Path | None,
    channels: tuple[str, ...],
    topics: tuple[str, ...],
    wait: bool,
) -> None:
    """Print every event, in a pipe as JSON lines.

    On a terminal it prints the readable lines of `agentlip tail`, unless --json is given. It never stops by itself: it
    reconnects after every break and continues where it was. Notes about the connection go to standard error. It ends
    when it is interrupted, or when nobody reads its output any more.

    \b
    Example: agentlip listen --since 0 | jq .name
    """
    end_in_good_order()
    file = CursorFile(cursor_file) if cursor_file is not None else None
    after, db_id = (file.read() if file is not None else None) or (since, None)

    def connected(stream: Stream) -> None:
        if file is not None:
            file.write(stream.cursor, stream.db_id)

    with _client(context, wait) as client:
        wanted = {
            "channels": [channel_id(client, each) for each in channels],
            "topics": [topic_id(client, each) for each in topics],
        }
        places = Places(client) if output.is_terminal() and not context.as_json else None
        selected = wanted if channels or topics else {}
        with followed(client, after, selected, db_id=db_id, on_connect=connected, is_quiet=False) as stream:
            for event in stream:
                print_event(event, places)
                if file is not None:
                    file.write(event.event_id, stream.db_id)


def _client(context: Context, wait: bool) -> HubClient:
    while True:
        try:
            client = context.client()
            client.ping()  # a wrong token shows now, and so does a hub that is not there
            return client
        except HubUnreachable:
            if not wait:
                raise
        time.sleep(_LOOK_SECONDS)
