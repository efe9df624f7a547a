"""Following the log without end: how each event is printed, what is said of breaks, and when to stop."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from ... import wire
from ...client import HubClient, HubUnreachable, Stream
from ...errors import RateLimited, ServiceUnavailable, ShuttingDown
from ...model import Event
from . import output, telling
from .places import Places

_T = TypeVar("_T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


def print_event(event: Event, places: Places | None) -> None:
    """A line for people when `places` are given, else JSON as it is on the wire. Raises OSError."""
    if places is not None:
        click.echo(patiently(telling.line, event, places))
        return
    envelope = wire.envelope(event.event_id, event.ts, event.name, event.scope, *event.entity, event.data_json)
    sys.stdout.buffer.write(envelope + b"\n")
    sys.stdout.buffer.flush()


def followed(
    client: HubClient,
    after: int | None,
    wanted: dict[str, list[str]],
    *,
    db_id: str | None = None,
    on_connect: Callable[[Stream], None] = lambda _stream: None,
    is_quiet: bool = True,
) -> Stream:
    """What comes after an id, also of another log. Breaks are noted, and connections: a quiet one's after a break."""
    has_cursor = after is not None

    def connected(hello: dict[str, Any]) -> None:
        nonlocal has_cursor, is_quiet
        if has_cursor and hello.get("recovered") is False and hello.get("reason") == "ahead":
            output.note(f"the log ends at event {stream.cursor}, before the cursor; going on from there")
        has_cursor = True
        on_connect(stream)
        if not is_quiet:
            output.note(f"connected, at event {stream.cursor} of {hello['replay_until']}")

    def lost(reason: str, pause: float) -> None:
        nonlocal is_quiet
        is_quiet = False
        _note_break(reason, pause)

    stream = client.stream(
        after, **wanted, db_id=db_id, on_new_log="restart", on_connect=connected, on_disconnect=lost
    )  # fmt: skip
    return stream


def patiently(look: Callable[..., _T], *args: object) -> _T:
    """What `look` finds out from the hub. When there is none for a while, that is noted, and it is called again."""
    pause = 0.0
    while True:
        try:
            found = look(*args)
        except (HubUnreachable, RateLimited, ServiceUnavailable, ShuttingDown) as error:
            pause = min(2 * pause or _FIRST_PAUSE, _LONGEST_PAUSE)
            _note_break(str(error), pause)
            time.sleep(pause)
            continue
        if pause:
            output.note("the hub answers again")
        return found


def _note_break(reason: str, pause: float) -> None:
    output.note(f"{reason}; trying again in {pause:.1f} s")


def end_in_good_order() -> None:
    """Exit with 0 at SIGTERM, and when the reader of the pipe that is our output has gone, whatever is waited for."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    def watch() -> None:
        poller = select.poll()
        poller.register(sys.stdout.fileno(), 0)  # errors are reported without being asked for
        poller.poll()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    if not os.isatty(sys.stdout.fileno()):
        threading.Thread(target=watch, daemon=True).start()
