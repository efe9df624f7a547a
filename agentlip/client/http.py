"""Calls over HTTP: connections that are kept for a moment, JSON both ways, and errors with a type.

A change is sent once. When it cannot be known whether it was made, that is said, and nothing is tried again here:
whether the hub makes a change with a key once, however often it is sent, `takes_keys` tells.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NameResolutionError, ReadTimeoutError

from ..errors import WriteUnknown
from .address import Address, socket_in
from .errors import HubUnreachable, OutcomeUnknown, error_of, silent
from .giving_up import giving_up

# Servers close a connection that is idle for some seconds, gunicorn after two. A change that meets this would have
# an unknown outcome, so connections are thrown away well before.
_IDLE_SECONDS = 1.0
_MAX_IDLE = 16
# What proxies and servers refuse in front of the hub, in words of their own.
_IN_FRONT = {
    413: ("PAYLOAD_TOO_LARGE", "The call is too large for the server"),
    414: ("INVALID_INPUT", "The call's URL is too long for the server; name fewer channels and topics"),
    429: ("RATE_LIMITED", "Too many requests for the server"),
    431: ("INVALID_INPUT", "The call's headers are too large for the server"),
}


class Http:
    """Any thread or greenlet may call. A call blocks until it is answered, or nothing came for `timeout` seconds."""

    def __init__(self, timeout: float, ssl_context: ssl.SSLContext | None) -> None:
        self._timeout = timeout
        self._ssl_context = ssl_context
        self._lock = threading.Lock()
        self._idle: list[tuple[float, str, HTTPConnection]] = []  # since when, of which URL
        self._max_idle = _MAX_IDLE
        self._taking_keys: set[str] = set()

    def call(
        self,
        address: Address,
        method: str,
        path: str,
        query: Sequence[tuple[str, Any]] = (),
        body: dict[str, Any] | None = None,
        key: str | None = None,
    ) -> dict[str, Any]:
        """The JSON object of a 2xx answer. Raises HubUnreachable, OutcomeUnknown, or the hub's error."""
        path = urlsplit(address.url).path + path
        chosen = [(name, value) for name, value in query if value is not None]
        if chosen:
            path += "?" + urlencode(chosen)
        headers = {"Accept": "application/json"}
        if address.token is not None:
            headers["Authorization"] = f"Bearer {address.token}"
        if key is not None:
            headers["Idempotency-Key"] = key
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
        status, answered, text = self._exchange(address.url, method, path, headers, data)
        if "X-Protocol-Version" in answered:
            taking = answered.get("Idempotency-Keys") == "accepted"
            (self._taking_keys.add if taking else self._taking_keys.discard)(address.url)
        return _decoded(address, method, status, answered, text)

    def takes_keys(self, url: str) -> bool:
        """Whether the hub there has said, in its latest answer, that it makes a change with a key once."""
        return url in self._taking_keys

    def _exchange(self, base: str, method: str, path: str, headers: dict[str, str], data: bytes | None) -> Any:
        """Status, headers and body. A GET is sent once more when a kept connection turns out to be closed."""
        while True:
            kept, connection = self._take(base)
            try:
                if not kept:
                    _open(connection, base)
                with giving_up(connection):
                    with suppress(BrokenPipeError):  # the answer may be there before all of the body is sent
                        connection.request(method, path, body=data, headers=headers)
                    response = connection.getresponse()
            except (OSError, HTTPError, HTTPException) as error:
                connection.close()
                silence = silent(f"at {base}") if isinstance(error, (TimeoutError, ReadTimeoutError)) else None
                if method != "GET":
                    words = f"{silence}; the change may or may not be made"
                    raise OutcomeUnknown(words if silence is not None else None) from error
                if silence is not None:
                    raise silence from error
                if not kept:
                    raise HubUnreachable(f"{base} does not answer: {type(error).__name__}") from error
            except BaseException:
                connection.close()
                raise
            else:
                self._give(base, connection)
                return response.status, response.headers, response.data

    def _take(self, base: str) -> tuple[bool, HTTPConnection]:
        """A connection that was used a moment ago, and is told to be one; or a new one."""
        with self._lock:
            while self._idle:
                since, url, connection = self._idle.pop()
                if url == base and time.monotonic() - since < _IDLE_SECONDS and connection.is_connected:
                    return True, connection
                connection.close()
        parts = urlsplit(base)
        host = parts.hostname or ""
        path = socket_in(base)
        if path is not None:
            return False, _UnixConnection(path, self._timeout)
        if parts.scheme == "https":
            context = self._ssl_context or ssl.create_default_context()
            return False, HTTPSConnection(host, parts.port or 443, timeout=self._timeout, ssl_context=context)
        return False, HTTPConnection(host, parts.port or 80, timeout=self._timeout)

    def _give(self, base: str, connection: HTTPConnection) -> None:
        with self._lock:
            if connection.sock is not None and len(self._idle) < self._max_idle:
                self._idle.append((time.monotonic(), base, connection))
                return
        connection.close()

    def close(self) -> None:
        """Close the kept connections, and keep none from now on, also of calls that are under way."""
        with self._lock:
            self._max_idle = 0
        self.drop()

    def drop(self) -> None:
        """Close the kept connections; later calls open new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, _, connection in idle:
            connection.close()


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._seconds = timeout

    def _new_conn(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(self._seconds)
            made.connect(self._path)
        except BaseException:
            made.close()
            raise
        return made


def _open(connection: HTTPConnection, base: str) -> None:
    try:
        connection.connect()
    except ssl.SSLError as error:
        raise HubUnreachable(f"No trusted TLS connection to {base}: {error}") from error
    except NameResolutionError as error:
        name, hint = urlsplit(base).hostname, "is the URL right, and the network up?"
        raise HubUnreachable(f"The name {name} cannot be resolved", hint=hint) from error
    except (OSError, HTTPError) as error:
        raise _nobody(base, error) from error


def _nobody(base: str, error: Exception) -> HubUnreachable:
    """Why there is no connection; the library has classes for that, but the one for silence is that of all."""
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, TimeoutError):
        return silent(f"at {base}")
    if isinstance(cause, (ConnectionRefusedError, FileNotFoundError)):
        hint = "nothing listens there; is the URL right, and does the hub run?"
    else:
        hint = getattr(cause, "strerror", None) or type(cause or error).__name__
    return HubUnreachable(f"No hub answers at {base}", hint=hint)


def _decoded(address: Address, method: str, status: int, headers: Any, text: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not (200 <= status < 300 or "code" in answer):
        if status in _IN_FRONT:
            code, words = _IN_FRONT[status]
            raise error_of(status, {"code": code, "error": words}, headers)
        if method != "GET" and (status >= 500 or status < 300):
            raise OutcomeUnknown()  # of a proxy that lost the hub on the way
        raise HubUnreachable(f"{address.url} answers {status}, and not as a hub does")
    if status >= 300:
        error = error_of(status, answer, headers)
        if method != "GET" and error.details.get("reason") == WriteUnknown.reason:
            raise OutcomeUnknown("The hub's storage does not answer; the change may or may not be made") from error
        raise error
    return answer
