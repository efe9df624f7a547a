"""Standard input and output when they are closed, full, or of a language that has not all characters."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from .output import point_to_nowhere


class _Output(io.FileIO):
    """Remembers that it could not be written: Python's own buffer forgets, and would let the command end well."""

    failure: OSError | None = None

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def open_standard_files() -> None:
    """Call it first. A standard file that is closed is opened such that its use fails: no other file gets its number.

    Characters that the terminal's encoding lacks are written as escapes.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest free number, which is this
    # Python has None in the place of those that were closed.
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    encoding = sys.stdout.encoding if sys.stdout is not None else None
    output = io.BufferedWriter(_Output(1, "w", closefd=False))
    sys.stdout = io.TextIOWrapper(output, encoding, "backslashreplace", line_buffering=os.isatty(1))
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")


def output_error() -> OSError | None:
    """Why standard output could not be written, if so; what was left to be written is thrown away then."""
    try:
        sys.stdout.flush()
    except OSError as error:
        point_to_nowhere(sys.stdout)
        return error
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return getattr(raw, "failure", None)
