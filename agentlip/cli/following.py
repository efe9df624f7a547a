"""Following the log without end: how each event is printed, and when to stop."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable

import click

from .. import wire
from ..model import Event
from . import output, telling
from .places import Places


def print_event(event: Event, places: Places | None) -> None:
    """A line for people when `places` are given, else JSON as it is on the wire. Raises OSError."""
    if places is not None:
        click.echo(telling.line(event, places))
        return
    envelope = wire.envelope(event.event_id, event.ts, event.name, event.scope, *event.entity, event.data_json)
    sys.stdout.buffer.write(envelope + b"\n")
    sys.stdout.buffer.flush()


def note_break(reason: str, pause: float) -> None:
    output.note(f"{reason}; trying again in {pause:.1f} s")


def end_with_0_when_terminated() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def when_nobody_reads(close: Callable[[], None]) -> None:
    """Call `close` when the reader of the pipe that is our output has gone, also while there is nothing to print."""

    def watch() -> None:
        poller = select.poll()
        poller.register(sys.stdout.fileno(), 0)  # errors are reported without being asked for
        poller.poll()
        close()

    if not os.isatty(sys.stdout.fileno()):
        threading.Thread(target=watch, daemon=True).start()
