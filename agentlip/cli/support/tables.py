"""Tables on a terminal, as wide as it is. Their cells are text that is safe to print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

_MOMENTS, _MOMENT_WIDTH = ("TIME", "UPDATED"), 26


def with_header(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned below the names of the columns; the first one is coloured."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold", min_width=_MOMENT_WIDTH if column in _MOMENTS else None)
    for row in rows:
        shown.add_row(*(Text(cell, style="" if number else "cyan") for number, cell in enumerate(row)))
    _print(shown)


def of_fields(fields: Mapping[str, str]) -> None:
    """One name and value per line."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    shown.add_column(style="bold")
    shown.add_column(overflow="fold")
    for name, value in fields.items():
        shown.add_row(name, Text(value))
    _print(shown)


def _print(shown: Table) -> None:
    Console(highlight=False, soft_wrap=False).print(shown)  # NO_COLOR is respected by the library
