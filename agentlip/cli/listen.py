"""`agentlip listen`: the event log as JSON lines, for ever."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .. import wire
from ..client import HubClient, HubUnreachable, Stream
from ..model import Event
from . import output
from .context import Context
from .cursor_file import CursorFile
from .lookup import channel_id, topic_id

_LOOK_SECONDS = 0.5


@click.command()
@click.option(
    "--since",
    metavar="ID",
    type=click.IntRange(0),
    help="Begin after this event id; 0: at the start. [default: from now on]",
)
@click.option(
    "--cursor-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep in this file how far it is, and go on from there the next time.",
)
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
@click.option("--wait", is_flag=True, help="When no hub is running, wait for one.")
@click.pass_obj
def listen(
    context: Context,
    since: int | None,
    cursor_file: Path | None,
    channels: tuple[str, ...],
    topics: tuple[str, ...],
    wait: bool,
) -> None:
    """Print every event as a JSON line, for ever.

    It connects again after every break, and goes on where it was. News about the connection go to standard error.
    It ends when it is interrupted, or when nobody reads its output any more.

    \b
    Example: agentlip listen --since 0 | jq .name
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    file = CursorFile(cursor_file) if cursor_file is not None else None
    after, db_id = (file.read() if file is not None else None) or (since, None)
    with _client(context, wait) as client:
        wanted = {
            "channels": [channel_id(client, each) for each in channels],
            "topics": [topic_id(client, each) for each in topics],
        }
        stream = client.stream(
            after,
            **(wanted if channels or topics else {}),
            db_id=db_id,
            on_new_log="restart",
            on_connect=lambda hello: _connected(stream, hello, file),
            on_disconnect=lambda reason, pause: output.note(f"{reason}; trying again in {pause:.1f} s"),
        )
        with stream:
            _when_nobody_reads(stream.close)
            for event in stream:
                _print(event)
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


def _connected(stream: Stream, hello: dict[str, Any], file: CursorFile | None) -> None:
    if hello.get("recovered") is False and hello.get("reason") == "ahead":
        output.note(f"the log ends at event {stream.cursor}, before the cursor; going on from there")
    if file is not None:
        file.write(stream.cursor, stream.db_id)
    output.note(f"connected, at event {stream.cursor} of {hello['replay_until']}")


def _print(event: Event) -> None:
    envelope = wire.envelope(event.event_id, event.ts, event.name, event.scope, *event.entity, event.data_json)
    sys.stdout.buffer.write(envelope + b"\n")
    sys.stdout.buffer.flush()


def _when_nobody_reads(close: Callable[[], None]) -> None:
    """Call `close` when the reader of the pipe that is our output has gone, also while there is nothing to print."""

    def watch() -> None:
        poller = select.poll()
        poller.register(sys.stdout.fileno(), 0)  # errors are reported without being asked for
        poller.poll()
        close()

    if not os.isatty(sys.stdout.fileno()):
        threading.Thread(target=watch, daemon=True).start()
