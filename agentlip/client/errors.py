"""What goes wrong on the way to a hub, and the hub's own errors made out of its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .. import errors
from ..errors import AgentlipError, AlreadyExists, InvalidInput, MethodNotAllowed, RateLimited, ServiceUnavailable
from ..model import MessageResult


class HubUnreachable(AgentlipError):
    """No hub answers there. What was asked for has not been done. `details["hint"]`, if any, says what to do."""

    code = "HUB_UNREACHABLE"
    status = 0
    message = "The hub cannot be reached"


SILENCE = "it is busy, stopped or hung: see its log; where it runs, `agentlip down --force` ends it"


def silent(where: str) -> HubUnreachable:
    """Something listens there, but says nothing in time."""
    return HubUnreachable(f"The hub {where} does not answer in time", hint=SILENCE)


class OutcomeUnknown(HubUnreachable):
    """The hub, or its storage, was lost while it had a change in hand: it may or may not have been made."""

    message = "The hub was lost in the middle of a change, which may or may not have been made"


class NoAnswer(TimeoutError):
    """Nobody has answered in time. `asked` is what was posted; `asked.event_id` is where to go on listening."""

    def __init__(self, asked: MessageResult) -> None:
        super().__init__("Nobody has answered in time")
        self.asked = asked


class LogChanged(AgentlipError):
    """The cursor is not of the log that the hub has now.

    `reason` is `epoch` (another log: begin at 0) or `ahead` (the log ends before the cursor, as after the restore of
    a backup: what comes after `replay_until` is new).
    """

    code = "LOG_CHANGED"
    status = 0

    def __init__(self, reason: str, db_id: str | None, replay_until: int) -> None:
        told = "is another one" if reason == "epoch" else f"ends at {replay_until}, before the cursor"
        super().__init__(f"The hub's event log {told}")
        self.reason = reason
        self.db_id = db_id
        self.replay_until = replay_until


def _classes(base: type[AgentlipError]) -> Iterator[type[AgentlipError]]:
    yield base
    if base is ServiceUnavailable:
        return  # its kinds are for the hub itself; a client is told the reason
    for derived in base.__subclasses__():
        if derived.__module__ == errors.__name__:
            yield from _classes(derived)


# Of several with the same code and status the most general one; what is more special is told by its details.
_BY_STATUS = {(each.code, each.status): each for each in reversed(list(_classes(AgentlipError))[1:])}
_BY_CODE = {each.code: each for each in reversed(list(_classes(AgentlipError)))}


def error_of(status: int, answer: Mapping[str, Any], headers: Mapping[str, str]) -> AgentlipError:
    """The error that a hub's answer tells of, as an instance of its class in `agentlip.errors`."""
    code = str(answer.get("code"))
    kind = _BY_STATUS.get((code, status)) or _BY_CODE.get(code, AgentlipError)
    given = answer.get("details")
    details = given if isinstance(given, dict) else {}
    if kind is InvalidInput and details.get("reason") == "ALREADY_EXISTS" and isinstance(details.get("id"), str):
        kind = AlreadyExists
    error = kind.__new__(kind)
    AgentlipError.__init__(error, str(answer.get("error") or f"The hub answered {status}"))
    error.details = details
    error.code, error.status = code, status
    if isinstance(error, RateLimited) and "retry_after" not in details:
        error.details = details | {"retry_after": _seconds(headers.get("Retry-After"))}
    if isinstance(error, MethodNotAllowed):
        error.allowed = headers.get("Allow", "")
    return error


def _seconds(retry_after: str | None) -> int:
    """What the header says when it is not a date."""
    return int(retry_after) if retry_after and retry_after.isdecimal() and len(retry_after) < 9 else 1
