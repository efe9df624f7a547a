"""How things are printed: tables and colour for people, plain lines for pipes, JSON on demand.

What hubs send is the text of strangers: nothing of it reaches a terminal as an escape sequence, or breaks a line.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

import click
from msgspec import Struct
from msgspec.structs import asdict

from ...model import Event

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


def moment(timestamp: object) -> str:
    """A time stamp as it is (UTC) for programs, and for people to the second in their own time, with its zone."""
    text = _text(timestamp)
    if not is_terminal():
        return text
    try:
        local = datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):  # other programs write, too
        return text
    return f"{local:%Y-%m-%d %H:%M:%S} {local.isoformat()[-6:]}"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned, with a header, on a terminal; else one line per row, separated by tabs."""
    if not is_terminal():
        for row in rows:
            click.echo("\t".join(one_line(cell) for cell in row))
        return
    from . import tables  # its library takes longer to import than most commands to run

    tables.with_header(columns, [[_of_terminal(cell) for cell in row] for row in rows])


def record(fields: Mapping[str, object]) -> None:
    """One name and value per line."""
    if not is_terminal():
        for name, value in fields.items():
            click.echo(f"{name}\t{one_line(value)}")
        return
    from . import tables

    tables.of_fields({name: _of_terminal(value) for name, value in fields.items()})


def _of_terminal(value: object) -> str:
    return several_lines(value).rstrip("\n")


def json_value(value: Any, **beside: object) -> None:
    """One JSON object: `status` and what is said `beside`, then the value, of the model as the HTTP API answers it."""
    click.echo(json.dumps({"status": "ok", **beside, **_jsonable(value)}, indent=2 if is_terminal() else None))


def json_list(name: str, items: Sequence[Any], **beside: object) -> None:
    """The same for a list, with its `count`."""
    json_value({name: items}, count=len(items), **beside)


def json_error(error: str, code: str, details: Mapping[str, object]) -> None:
    json_value({}, status="error", error=error, code=code, details=_jsonable(details))


def json_line(value: Any) -> None:
    """A JSON document in one line, of several."""
    click.echo(json.dumps(_jsonable(value)))


def _jsonable(value: Any) -> Any:
    if isinstance(value, Event):
        fields = value._asdict() | {"data_json": value.data}
        return {name: _jsonable(item) for name, item in fields.items()}
    if hasattr(value, "_asdict"):
        return {name: _jsonable(item) for name, item in value._asdict().items()}
    if isinstance(value, Struct):
        return {name: _jsonable(item) for name, item in asdict(value).items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _jsonable(item) for name, item in value.items()}
    return value


def made(identifier: str, friendly: str) -> None:
    """What a command has made: a sentence on a terminal, the bare id in a pipe."""
    click.echo(one_line(friendly) if is_terminal() else one_line(identifier))


def note(text: str) -> None:
    """News beside the output, in one line."""
    say(f"agentlip: {one_line(text)}")


def say(text: str) -> None:
    """Write to standard error; what cannot be written there is lost."""
    try:
        click.echo(text, err=True)
    except OSError:
        point_to_nowhere(sys.stderr)


def point_to_nowhere(file: TextIO) -> None:
    """Let what is still to be written disappear: Python writes it at its end, and would exit with 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, file.fileno())
    os.close(nowhere)
