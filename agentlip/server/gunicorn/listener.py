"""The listening sockets of our worker, and the handshakes of TLS on what they accept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gunicorn.workers import ggevent

from ..http import connections

_HANDSHAKE_SECONDS = 10


class Listener:
    """What gunicorn asks a listening socket for; the socket may be closed before the last of its connections begins."""

    def __init__(self, sock: Any) -> None:
        self._name = sock.getsockname()

    def getsockname(self) -> Any:
        return self._name


class Server(ggevent.StreamServer):  # type: ignore[misc]
    """gevent's, with an end to handshakes of TLS; `begin` is told of each connection before its handshake."""

    begin: Callable[[Any], None]

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> Any:
        client_socket.settimeout(_HANDSHAKE_SECONDS)  # `handle` takes it back
        self.begin(client_socket)
        try:
            encrypted = self.wrap_socket(client_socket, **self.ssl_args)
        except OSError:  # of TLS, too late, or gone
            client_socket.close()
            return
        finally:
            connections.end(client_socket)
        with encrypted:
            self.handle(encrypted, address)
