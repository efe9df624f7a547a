"""The body of a request in our worker: when it is asked to come, and what becomes of one that nobody reads."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from typing import Any

from ... import concurrency

# What is left of a refused body: so much is read to keep the connection, more is thrown away before it is closed.
KEPT_BYTES = 128 * 1024
_DRAINED_BYTES = 64 << 20
_DRAIN_SECONDS = 5.0
_DRAIN_PIECE = 256 * 1024


class AwaitedBody:
    """A body whose client waits for `100 Continue`; it is asked to come when it is read for the first time."""

    def __init__(self, body: Any, sock: Any) -> None:
        self._body = body
        self._sock = sock
        self._asked = False

    def __getattr__(self, name: str) -> Any:
        if name in ("read", "readline", "readlines") and not self._asked:
            self._asked = True
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return getattr(self._body, name)

    def __iter__(self) -> Any:
        return iter(self.readlines())

    @property
    def failed(self) -> bool:
        """gunicorn's word for: where the next request begins is unknown."""
        return not self._asked or bool(self._body.failed)

    @failed.setter
    def failed(self, failed: bool) -> None:
        self._body.failed = failed


def codings(req: Any) -> list[str]:
    values = [value for name, value in req.headers if name == "TRANSFER-ENCODING"]
    return [coding.strip().lower() for coding in ",".join(values).split(",")]


def is_unread(req: Any, most: int) -> bool:
    """Whether the connection cannot go on because more than so many bytes of the body are still to come."""
    body = req.body
    if body.failed:
        return True
    reader = body.reader
    left = getattr(reader, "length", None)
    return bool(left > most if left is not None else reader.parser is not None)


def drain(sock: Any) -> None:
    """Let the peer read the answer before the connection is closed: bytes that nobody reads would reset it."""
    deadline, left = time.monotonic() + _DRAIN_SECONDS, _DRAINED_BYTES
    with suppress(OSError):
        if not isinstance(sock, ssl.SSLSocket):
            sock.shutdown(socket.SHUT_WR)
        while left > 0 and (patience := deadline - time.monotonic()) > 0:
            sock.settimeout(patience)
            size = len(sock.recv(_DRAIN_PIECE))
            if not size:
                return
            left -= size
            concurrency.cede()  # under gevent a socket that always has bytes never waits
