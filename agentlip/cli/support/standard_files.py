"""Standard input and output when they are closed, full, or of a language that has not all characters."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .output import point_to_nowhere


class _Output(io.BufferedWriter):
    """Remembers that it could not be written: what is too large for the buffer is forgotten when it fails.

    Not the file below it does so: a signal's exception between its write and its return would have all written twice.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        with self._remembering():
            return super().write(data)

    def flush(self) -> None:
        with self._remembering():
            super().flush()

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        try:
            yield
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
    output = _Output(io.FileIO(1, "w", closefd=False))
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
    return getattr(sys.stdout.buffer, "failure", None)
