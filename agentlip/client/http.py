"""Calls over HTTP: connections that are kept for a moment, JSON both ways, and errors with a type.

A change is sent once. When it can not be known whether it was made, that is said, and nothing is tried again.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from urllib3 import HTTPConnectionPool, Timeout, connection_from_url
from urllib3.exceptions import ConnectTimeoutError as ConnectTimeout
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError

from .address import Address
from .errors import HubUnreachable, OutcomeUnknown, error_of

# Servers close a connection that is idle for some seconds, gunicorn after two. A change that meets this would have
# an unknown outcome, so connections are thrown away well before.
_IDLE_SECONDS = 1.0
_MAX_IDLE = 16


class Http:
    """Any thread or greenlet may call. A call blocks until it is answered, at most `timeout` seconds."""

    def __init__(self, timeout: float, ssl_context: ssl.SSLContext | None) -> None:
        self._timeout = timeout
        self._ssl_context = ssl_context
        self._lock = threading.Lock()
        self._idle: list[tuple[float, str, HTTPConnectionPool]] = []  # since when, of which URL

    def call(
        self,
        address: Address,
        method: str,
        path: str,
        query: Sequence[tuple[str, Any]] = (),
        body: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The JSON object of a 2xx answer. Raises HubUnreachable, OutcomeUnknown, or the hub's error."""
        url = address.url + path
        chosen = [(name, value) for name, value in query if value is not None]
        if chosen:
            url += "?" + urlencode(chosen)
        headers = {"Accept": "application/json"}
        if address.token is not None:
            headers["Authorization"] = f"Bearer {address.token}"
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
        status, answered, text = self._exchange(address.url, method, url, headers, data)
        return _decoded(address, method, status, answered, text)

    def _exchange(self, base: str, method: str, url: str, headers: dict[str, str], data: bytes | None) -> Any:
        repeat = method == "GET"
        while True:
            connection = self._take(base)
            try:
                response = connection.urlopen(
                    method, url, body=data, headers=headers, retries=False, redirect=False, assert_same_host=False
                )
                self._give(base, connection)
                return response.status, response.headers, response.data
            except (NewConnectionError, ConnectTimeout) as error:
                raise HubUnreachable(f"No hub answers at {base}") from error
            except SSLError as error:
                raise HubUnreachable(f"No trusted TLS connection to {base}: {error}") from error
            except HTTPError as error:
                connection.close()
                if method != "GET":
                    raise OutcomeUnknown() from error
                if not repeat:
                    raise HubUnreachable(f"{base} does not answer: {type(error).__name__}") from error
                repeat = False  # the server may have closed a kept connection just now
            except BaseException:
                connection.close()
                raise

    def _take(self, base: str) -> HTTPConnectionPool:
        """A connection that was used a moment ago, or a new one."""
        with self._lock:
            while self._idle:
                since, url, connection = self._idle.pop()
                if url == base and time.monotonic() - since < _IDLE_SECONDS:
                    return connection
                connection.close()
        options: dict[str, Any] = {"ssl_context": self._ssl_context} if base.startswith("https") else {}
        return connection_from_url(base, maxsize=1, timeout=Timeout(total=self._timeout), **options)

    def _give(self, base: str, connection: HTTPConnectionPool) -> None:
        with self._lock:
            if len(self._idle) < _MAX_IDLE:
                self._idle.append((time.monotonic(), base, connection))
                return
        connection.close()

    def close(self) -> None:
        """Close the kept connections; later calls open new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, _, connection in idle:
            connection.close()


def _decoded(address: Address, method: str, status: int, headers: Any, text: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not (200 <= status < 300 or "code" in answer):
        if method != "GET" and (status >= 500 or status < 300):
            raise OutcomeUnknown()  # of a proxy that lost the hub on the way
        raise HubUnreachable(f"{address.url} answers {status}, and not as a hub does")
    if status >= 300:
        raise error_of(status, answer, headers)
    return answer
