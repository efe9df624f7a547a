"""The connection that a request came on, where each kind of server keeps it."""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping
from typing import Any

from ... import concurrency

_SOCKET = "agentlip.socket"


def find_socket(environ: Mapping[str, Any]) -> socket.socket:
    """The socket of a request, where each kind of server keeps it. Raises when the server does not show it."""
    sock = environ.get("gunicorn.socket") or environ.get("werkzeug.socket") or environ.get(_SOCKET)
    if sock is None:  # gevent's pywsgi
        stream = environ["wsgi.input"]
        sock = getattr(stream, "rfile", stream).raw._sock
    return sock  # type: ignore[no-any-return]


def keep_socket(environ: dict[str, Any]) -> None:
    """Have it found again when the body is replaced. Raises as `find_socket` does."""
    environ[_SOCKET] = find_socket(environ)


def socket_of(environ: dict[str, Any]) -> Any:
    """The connection of the request; None when the server does not show it."""
    try:
        return find_socket(environ)
    except Exception:
        return None


def fileno_of(sock: Any) -> int:
    """The descriptor of a connection; -1 without one."""
    return -1 if sock is None else int(sock.fileno())


def has_hung_up(descriptor: int) -> bool:
    """Whether the peer of this connection says nothing more; from any thread, never blocks."""
    if descriptor < 0:
        return False
    poll = concurrency.native_poll()
    poll.register(descriptor, select.POLLRDHUP)
    return bool(poll.poll(0))
