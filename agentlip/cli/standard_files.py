"""Standard input and output when they are closed, full, or of a language that has not all characters."""

from __future__ import annotations

import io
import os
import sys

from .output import point_to_nowhere

_failure: OSError | None = None


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
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for file in sys.stdout, sys.stderr:
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(errors="backslashreplace")


def output_error() -> OSError | None:
    """Why standard output could not be written, if so; what was left to be written is thrown away then."""
    global _failure
    try:
        sys.stdout.flush()
    except OSError as error:
        _failure = _failure or error
        point_to_nowhere(sys.stdout)
    return _failure
