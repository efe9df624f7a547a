"""The exit codes, and the line that goes with them."""

from __future__ import annotations

from ..client import HubUnreachable
from ..errors import AgentlipError, Forbidden, LockHeld, MissingAuth, VersionConflict

OK, ERROR, CONFLICT, NOT_RUNNING, NOT_AUTHORISED, LOCK_HELD = 0, 1, 2, 3, 4, 10

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (VersionConflict, CONFLICT),
    (HubUnreachable, NOT_RUNNING),
    (MissingAuth, NOT_AUTHORISED),
    (Forbidden, NOT_AUTHORISED),
    (LockHeld, LOCK_HELD),
)


def exit_code(error: Exception) -> int:
    return next((code for kind, code in _CODES if isinstance(error, kind)), ERROR)


def one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    details = error.details if isinstance(error, AgentlipError) else {}
    shown = ", ".join(f"{key} {value}" for key, value in details.items())
    return " ".join(f"{error} ({shown})".split() if shown else str(error).split())
