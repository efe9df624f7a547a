"""The HTTP connections of a worker that may be given up when there is no room for a new one.

Whoever has shown a token, or holds a WebSocket, keeps the connection.  All others, who send their request slowly, do
not read the answer or say nothing at all, make room: the one that has been at it for the longest time goes first.
`agentlip.server.gunicorn.worker` fills this; below other servers it stays empty.  For the event loop's thread.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ... import concurrency

# Set by that worker in its process: it limits what other servers leave to us.
are_watched = False
_strangers: dict[Any, None] = {}  # sockets, in the order in which their requests began
_idle: set[Any] = set()  # sockets between two requests


def begin(sock: Any) -> None:
    """A connection, or a new request on it."""
    _strangers.pop(sock, None)
    _strangers[sock] = None
    _idle.discard(sock)


def rest(sock: Any) -> None:
    """The next request may come."""
    _idle.add(sock)


def keep(environ: Mapping[str, Any]) -> None:
    """The request comes from somebody known: its connection stays until the next one."""
    _strangers.pop(environ.get("gunicorn.socket"), None)


def end(sock: Any) -> None:
    """The connection is closed."""
    _strangers.pop(sock, None)
    _idle.discard(sock)


def make_room() -> None:
    """Give up one connection, if there is one to give up; whoever serves it meets its end."""
    sock = next(iter(_strangers), None)
    if sock is None:
        return
    del _strangers[sock]
    _shut(sock, socket.SHUT_RDWR)


def end_idle() -> None:
    """The worker stops: have those that wait for a request end. One that has come already is still answered."""
    for sock in _idle:
        _shut(sock, socket.SHUT_RD)


def _shut(sock: Any, how: int) -> None:
    with suppress(OSError, ValueError):
        native = concurrency.native_socket(sock)
        try:
            native.shutdown(how)
        finally:
            native.detach()
