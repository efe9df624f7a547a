"""The exit codes, and the words that go with them."""

from __future__ import annotations

from typing import Any

from ...client import HubUnreachable
from ...errors import AgentlipError, ConfigError, Forbidden, LockHeld, MissingAuth, StorageError, VersionConflict

OK, ERROR, CONFLICT, NOT_RUNNING, NOT_AUTHORISED, LOCK_HELD, INTERRUPTED = 0, 1, 2, 3, 4, 10, 130

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (VersionConflict, CONFLICT),
    (HubUnreachable, NOT_RUNNING),
    (MissingAuth, NOT_AUTHORISED),
    (Forbidden, NOT_AUTHORISED),
    (LockHeld, LOCK_HELD),
)
# What errors that no hub answers are called with --json.
NAMES: tuple[tuple[type[Exception], str], ...] = (
    (ConfigError, "CONFIG_ERROR"),
    (StorageError, "STORAGE_ERROR"),
    (LockHeld, "LOCK_HELD"),
    (TimeoutError, "TIMEOUT"),
    (OSError, "IO_ERROR"),
)
_TOKEN_HINT = "`agentlip token show` where the hub runs prints it; give it as AGENTLIP_TOKEN, or with --token @FILE"


def exit_code(error: Exception) -> int:
    return next((code for kind, code in _CODES if isinstance(error, kind)), ERROR)


def name_of(error: Exception) -> str:
    """The `code` of the error with --json."""
    if isinstance(error, AgentlipError):
        return error.code
    return next((code for kind, code in NAMES if isinstance(error, kind)), "INTERNAL_ERROR")


def details_of(error: Exception) -> dict[str, Any]:
    """What is known besides: that of the hub, and a `hint` at what to do."""
    hint = {"hint": _TOKEN_HINT} if isinstance(error, MissingAuth) else {}
    return error.details | hint if isinstance(error, AgentlipError) else {}


def one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    told = details_of(error)
    shown = ", ".join(f"{key} {value}" for key, value in told.items() if key != "hint")
    hint = told.get("hint")
    return " ".join(f"{error}{f' ({shown})' if shown else ''}{f'; {hint}' if hint else ''}".split())
