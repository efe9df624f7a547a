"""How things are printed: tables and colour for people, plain lines for pipes, JSON on demand.

What hubs send is the text of strangers: nothing of it reaches a terminal as an escape sequence, or breaks a line.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..model import Event

_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
# Control characters, marks that reorder what is written, and halves of characters.
_UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def is_terminal() -> bool:
    return sys.stdout.isatty()


def one_line(value: object) -> str:
    """The text in one line without control characters; backslash, tab and newline as `\\\\`, `\\t` and `\\n`."""
    return _UNSAFE.sub(_REPLACEMENT, "".join(_ESCAPES.get(char, char) for char in _text(value)))


def several_lines(value: object) -> str:
    """The text with its line ends, and without any other control character."""
    return _UNSAFE.sub(_REPLACEMENT, _text(value).replace("\r\n", "\n").expandtabs(4))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def moment(timestamp: str) -> str:
    """A time stamp as it is for programs, and without the parts of a second for people; both in UTC."""
    return f"{timestamp[:10]} {timestamp[11:19]}" if is_terminal() else timestamp


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned, with a header, on a terminal; else one line per row, separated by tabs."""
    if not is_terminal():
        for row in rows:
            click.echo("\t".join(one_line(cell) for cell in row))
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(_of_terminal(cell), style="" if number else "cyan") for number, cell in enumerate(row)))
    _console().print(shown)


def record(fields: Mapping[str, object]) -> None:
    """One name and value per line."""
    if not is_terminal():
        for name, value in fields.items():
            click.echo(f"{name}\t{one_line(value)}")
        return
    shown = Table(box=None, pad_edge=False, show_header=False)
    shown.add_column(style="bold")
    shown.add_column(overflow="fold")
    for name, value in fields.items():
        shown.add_row(name, Text(_of_terminal(value)))
    _console().print(shown)


def _of_terminal(value: object) -> str:
    return several_lines(value).rstrip("\n")


def _console() -> Console:
    return Console(highlight=False, soft_wrap=False)  # NO_COLOR is respected by the library


def json_value(value: Any) -> None:
    """One JSON document; values of the model as the objects of the HTTP API."""
    click.echo(json.dumps(_jsonable(value), indent=2 if is_terminal() else None))


def json_line(value: Any) -> None:
    """A JSON document in one line, of several."""
    click.echo(json.dumps(_jsonable(value)))


def _jsonable(value: Any) -> Any:
    if isinstance(value, Event):
        fields = value._asdict() | {"data_json": value.data}
        return {name: _jsonable(item) for name, item in fields.items()}
    if hasattr(value, "_asdict"):
        return {name: _jsonable(item) for name, item in value._asdict().items()}
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _jsonable(item) for name, item in value.items()}
    return value


def made(identifier: str, friendly: str) -> None:
    """What a command has made: a sentence on a terminal, the bare id in a pipe."""
    click.echo(one_line(friendly) if is_terminal() else one_line(identifier))


def note(text: str) -> None:
    """News beside the output, to standard error."""
    click.echo(f"agentlip: {one_line(text)}", err=True)
