"""Servers that are no hub: each does one odd thing with every connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

HTML = b"<html>hello</html>"


def answer(status: int, body: bytes = HTML, kind: str = "text/html") -> Callable[[socket.socket], None]:
    """Answer each connection's one request with this."""
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return raw(head.encode() + body)


def raw(data: bytes) -> Callable[[socket.socket], None]:
    """Read a request, send these bytes and close."""

    def serve(sock: socket.socket) -> None:
        if sock.recv(65536):
            sock.sendall(data)

    return serve


class Late:
    """Serves one call: answers it with `{}` when `may_answer`, and says when the client has closed the connection."""

    def __init__(self) -> None:
        self.asked, self.may_answer, self.closed = (threading.Event() for _ in range(3))

    def __call__(self, sock: socket.socket) -> None:
        sock.settimeout(10)
        sock.recv(65536)
        self.asked.set()
        self.may_answer.wait(10)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        if not sock.recv(1):
            self.closed.set()


@contextlib.contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a server that calls `serve` with each connection, and closes it then."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), sock:
                    serve(sock)
                    sock.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """The URL of a socket that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
