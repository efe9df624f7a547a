"""The exception tree of the hub.

Every error that can reach a client is a class here, with the HTTP `status` and the `code` that
docs/protocol.md promises.  `message` is written for the client: it never holds user content,
tokens or internals.  Close codes of the WebSocket are values, not exceptions: see `wire.Close`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ConfigError(Exception):
    """A setting, or a file the settings point at, is invalid; the text is one line for a human."""


class StorageError(Exception):
    """The database file cannot be used at all (newer schema, not ours, unreadable)."""


class LockHeld(Exception):
    """Another hub serves this workspace; the text is one line for a human."""


class AgentlipError(Exception):
    """Base of all errors that are answered to a caller."""

    code = "INTERNAL_ERROR"
    status = 500
    message = "Internal error"

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.message = message or self.message
        self.details = details
        super().__init__(self.message)

    @property
    def headers(self) -> Mapping[str, str]:
        """Extra HTTP headers of the answer."""
        return {}


class InternalError(AgentlipError):
    """Something failed that the caller can do nothing about; the log has the traceback."""

    @classmethod
    def of(cls, cause: BaseException) -> InternalError:
        """As with `raise ... from cause`: whoever answers it logs the cause."""
        error = cls()
        error.__cause__ = cause
        return error


class InvalidInput(AgentlipError):
    code = "INVALID_INPUT"
    status = 400
    message = "Invalid input"


class AlreadyExists(InvalidInput):
    """`details` holds `reason`, which is `ALREADY_EXISTS`, and `id`: of the row that has the name or title."""

    def __init__(self, message: str, existing_id: str) -> None:
        super().__init__(message, reason="ALREADY_EXISTS", id=existing_id)

    @property
    def existing_id(self) -> str:
        return str(self.details["id"])


class UnsupportedMediaType(InvalidInput):
    status = 415
    message = "Content-Type must be application/json"


class BodyTimeout(InvalidInput):
    """The connection is closed: whatever comes now is the rest of the body."""

    status = 408
    message = "The body did not come in time"


class UriTooLong(InvalidInput):
    status = 414
    message = "The request line is over 8190 bytes"


class ExpectationFailed(InvalidInput):
    status = 417
    message = "The only expectation supported is 100-continue"


class UpgradeRequired(InvalidInput):
    status = 426
    message = "This is a WebSocket endpoint"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}


class HeadersTooLarge(InvalidInput):
    status = 431
    message = "There are too many headers, or one is over 8190 bytes"


class UnknownCoding(InvalidInput):
    status = 501
    message = "The only transfer coding supported is chunked"


class CrossChannelMove(AgentlipError):
    code = "CROSS_CHANNEL_MOVE"
    status = 400
    message = "Messages can only move to a topic of the same channel"


class MissingAuth(AgentlipError):
    code = "MISSING_AUTH"
    status = 401
    message = "Authentication required"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class InvalidAuth(MissingAuth):
    code = "INVALID_AUTH"
    message = "Invalid token"


class OriginNotAllowed(AgentlipError):
    code = "ORIGIN_NOT_ALLOWED"
    status = 403
    message = "This origin may not connect"


class HostNotAllowed(AgentlipError):
    code = "HOST_NOT_ALLOWED"
    status = 403
    message = "The hub does not answer to this host name; see AGENTLIP_ALLOWED_HOSTS"


class Forbidden(AgentlipError):
    """The application that the hub lives in does not let this user do it."""

    code = "FORBIDDEN"
    status = 403
    message = "Not allowed"


class SenderMismatch(AgentlipError):
    """An agent's token speaks for that agent alone."""

    code = "SENDER_MISMATCH"
    status = 403
    message = "The sender is not the agent whose token this is"


class Conflict(AgentlipError):
    """`details` holds `reason`, which is `ALREADY_EXISTS`, and `id`: of what has the name."""

    code = "CONFLICT"
    status = 409
    message = "There is one already"


class NotFound(AgentlipError):
    code = "NOT_FOUND"
    status = 404
    message = "Not found"


class MethodNotAllowed(NotFound):
    status = 405
    message = "Method not allowed"

    def __init__(self, allowed: str) -> None:
        super().__init__()
        self.allowed = allowed

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Allow": self.allowed}


class VersionConflict(AgentlipError):
    """`details` holds `current` and `expected`, both versions of the named message."""

    code = "VERSION_CONFLICT"
    status = 409
    message = "The message has a different version"


class PayloadTooLarge(AgentlipError):
    code = "PAYLOAD_TOO_LARGE"
    status = 413
    message = "Payload too large"


class IdempotencyMismatch(AgentlipError):
    code = "IDEMPOTENCY_MISMATCH"
    status = 422
    message = "This Idempotency-Key was used for another call"


class RateLimited(AgentlipError):
    """`details` holds `limit` (requests), `window` (seconds) and `retry_after` (seconds)."""

    code = "RATE_LIMITED"
    status = 429
    message = "Too many requests"

    @property
    def retry_after(self) -> float:
        """Seconds; 1 when the hub has not said it in a way that makes sense."""
        given = self.details.get("retry_after")
        return float(given) if isinstance(given, (int, float)) and given > 0 else 1.0

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self.details["retry_after"])}


class ServiceUnavailable(AgentlipError):
    """`details["reason"]` says what is in the way; trying again later is right."""

    code = "SERVICE_UNAVAILABLE"
    status = 503
    message = "Service unavailable"

    def __init__(self, reason: str, message: str | None = None) -> None:
        super().__init__(message, reason=reason)

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": "1"}


class ThreadLimit(ServiceUnavailable, RuntimeError):
    """The machine gives this process no further thread at the moment."""

    def __init__(self) -> None:
        super().__init__("no thread can be started")


class WriteUnknown(ServiceUnavailable):
    """A write has begun, and nobody knows what became of it: trying again may do it twice."""

    reason = "the storage does not answer"  # a client knows it by this

    def __init__(self) -> None:
        super().__init__(self.reason)


class DatabaseLost(ServiceUnavailable):
    """The database was removed or replaced while it was in use: nothing is written, and nothing read."""


class LogAtEnd(ServiceUnavailable):
    """Another program has taken the last possible event id: nothing can be written to this log any more."""

    def __init__(self) -> None:
        super().__init__("no event ids are left", "The event log has no ids left; `agentlip doctor` says more")


class NoAuthConfigured(AgentlipError):
    code = "NO_AUTH_CONFIGURED"
    status = 503
    message = "No auth token is configured on this hub"


class ShuttingDown(AgentlipError):
    code = "SHUTTING_DOWN"
    status = 503
    message = "The hub is shutting down"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": "1"}
