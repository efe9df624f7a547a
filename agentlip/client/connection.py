"""One WebSocket of a stream, read and written by one thread at a time.

The protocol is that of the `websockets` library, without its threads: it reads in one and writes in another, which
OpenSSL does not allow for one connection; over TLS 1.3 every hundredth connection stood still.
"""

from __future__ import annotations

import json
import logging
import math
import socket
import ssl
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, ProtocolError
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from ..errors import AgentlipError, InvalidAuth, MissingAuth, RateLimited
from .address import Address, socket_in
from .errors import HubUnreachable, error_of

# The hub is asked for a sign of life after so long without one, and given up after as long again.
PING_SECONDS = 20.0
_RECEIVE_BYTES = 64 * 1024
_SEND_SECONDS = 10.0
_AT_ONCE = 0.0005  # a timeout of 0 would mean another kind of socket
# The library tells what it sends to its logger, and that is the token: this one nobody can switch on.
_SILENT = logging.Logger("agentlip.client", logging.CRITICAL + 1)


class ConnectionLost(Exception):
    """The connection is over, for the reason told; another one may be better.

    `code` is that of the hub's Close, `retry_after` the seconds that the hub wants to be left alone.
    """

    def __init__(self, reason: str, code: int | None = None, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.code = code
        self.retry_after = retry_after


class BearerIgnored(InvalidAuth):
    """Refused for want of a token, although it was in the header: such a hub reads `?token=` alone."""


class Connection:
    """A WebSocket. One thread or greenlet opens it, sends and receives; `close` may be called from any."""

    def __init__(self, address: Address, *, token_in_url: bool = False) -> None:
        self._address = address
        self._token_in_url = token_in_url
        self._protocol = ClientProtocol(parse_uri(address.websocket_url), max_size=None, logger=_SILENT)
        self._messages: deque[str] = deque()
        self._parts: list[bytes] = []
        self._busy = threading.Lock()  # held while the socket is in use, so that nobody frees its number meanwhile
        self._socket: socket.socket | None = None
        self._closed = False
        self._heard = math.inf  # when something came
        self._pinged: float | None = None  # when the hub was asked for a sign of life, since then

    def open(self, timeout: float, context: ssl.SSLContext | None) -> None:
        """Connect and shake hands; blocks for at most about `timeout` seconds per step.

        Raises ConnectionLost, or the hub's error when it refuses for good.
        """
        with self._busy:
            try:
                self._connect(timeout)
                if self._protocol.uri.secure:
                    self._encrypt(context or ssl.create_default_context())
            except ssl.SSLError as error:
                raise ConnectionLost(f"no trusted TLS connection to {self._address.url}") from error
            except socket.gaierror as error:
                raise ConnectionLost(f"the name {self._protocol.uri.host} cannot be resolved") from error
            except TimeoutError as error:
                raise ConnectionLost(f"{self._address.url} does not answer in time") from error
            except OSError as error:
                raise ConnectionLost(f"no hub answers at {self._address.url}") from error
            self._shake_hands()

    def _connect(self, timeout: float) -> None:
        """Try the addresses of the host one after the other; `close` ends it, but for the question to the resolver."""
        failure = OSError("the host has no address")
        for family, kind, number, target in self._places():
            sock = self._socket = socket.socket(family, kind, number)
            try:
                if self._closed:
                    raise OSError("closed")
                sock.settimeout(timeout)
                sock.connect(target)
                if family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return
            except OSError as error:
                sock.close()
                failure = error
        raise failure

    def _places(self) -> list[tuple[int, int, int, Any]]:
        path, uri = socket_in(self._address.url), self._protocol.uri
        if path is not None:
            return [(socket.AF_UNIX, socket.SOCK_STREAM, 0, path)]
        found = socket.getaddrinfo(uri.host, uri.port, type=socket.SOCK_STREAM)
        return [(family, kind, number, target) for family, kind, number, _, target in found]

    def _encrypt(self, context: ssl.SSLContext) -> None:
        assert self._socket is not None
        plain = self._socket
        encrypted = context.wrap_socket(plain, server_hostname=self._protocol.uri.host, do_handshake_on_connect=False)
        self._socket = encrypted  # so that `close` can end the handshake
        if self._closed:
            raise OSError("closed")
        encrypted.do_handshake()

    def _shake_hands(self) -> None:
        address, request = self._address, self._protocol.connect()
        if self._token_in_url:
            request.path += f"?token={quote(address.token or '', safe='')}"
        elif address.token is not None:
            request.headers["Authorization"] = f"Bearer {address.token}"
        self._protocol.send_request(request)
        try:
            self._flush()
            while self._protocol.handshake_exc is None and self._protocol.state is State.CONNECTING:
                self._take(self._received())
        except OSError as error:
            raise ConnectionLost(f"{address.url} does not answer") from error
        refusal = self._protocol.handshake_exc
        if isinstance(refusal, InvalidStatus):
            raise _refused(address, refusal, self._token_in_url)
        if refusal is not None:
            raise ConnectionLost(f"{address.url} does not answer as a hub does") from refusal
        self._heard = time.monotonic()

    def send(self, text: str) -> None:
        """Raises ConnectionLost."""
        with self._busy:
            self._protocol.send_text(text.encode())
            try:
                self._flush()
            except OSError as error:
                raise self._lost() from error

    def receive(self, deadline: float | None = None) -> str | None:
        """The next message; blocks until it is there. None when there was none at `deadline`, by the monotonic clock.

        Raises ConnectionLost. A silent hub is pinged before it is given up.
        """
        with self._busy:
            while not self._messages:
                if self._protocol.close_rcvd is not None or self._protocol.parser_exc is not None:
                    raise self._lost()
                silent_at = (self._pinged or self._heard) + PING_SECONDS
                until = silent_at if deadline is None else min(deadline, silent_at)
                try:
                    self._take(self._received(max(_AT_ONCE, until - time.monotonic())))
                    self._heard, self._pinged = time.monotonic(), None
                except TimeoutError:
                    if time.monotonic() >= silent_at:
                        self._ping()
                    elif deadline is not None and time.monotonic() >= deadline:
                        return None
                except (OSError, ProtocolError) as error:
                    raise self._lost() from error
            return self._messages.popleft()

    @property
    def has_message(self) -> bool:
        """Whether `receive` has something to give at once."""
        return bool(self._messages)

    def _ping(self) -> None:
        if self._pinged is not None:
            raise ConnectionLost("the hub is silent")
        self._pinged = time.monotonic()
        with suppress(OSError):
            self._protocol.send_ping(b"")
            self._flush()

    def _received(self, timeout: float | None = None) -> bytes:
        if self._closed or self._socket is None:
            raise OSError("closed")
        if timeout is not None:
            self._socket.settimeout(timeout)
        return self._socket.recv(_RECEIVE_BYTES)

    def _take(self, data: bytes) -> None:
        """Let the protocol see what came, answer what it wants answered, and keep the messages."""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for item in self._protocol.events_received():
            if isinstance(item, Frame) and item.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._parts.append(bytes(item.data))
                if item.fin:
                    self._messages.append(b"".join(self._parts).decode("utf-8", "replace"))
                    self._parts.clear()
        if not data and self._protocol.handshake_exc is None and not self._messages:
            raise self._lost()
        with suppress(OSError):  # a pong to a peer that has gone: the next read tells
            self._flush()

    def _flush(self, timeout: float = _SEND_SECONDS) -> None:
        """Send what there is to be sent; the time for that is not the one that receiving has."""
        for data in self._protocol.data_to_send():
            if data and self._socket is not None:
                before = self._socket.gettimeout()
                self._socket.settimeout(timeout)
                self._socket.sendall(data)
                self._socket.settimeout(before)

    def _lost(self) -> ConnectionLost:
        received = self._protocol.close_rcvd
        if received is None:
            return ConnectionLost("the connection broke")
        return ConnectionLost(f"closed with {received.code} {received.reason}".rstrip(), received.code)

    def close(self) -> None:
        """End the connection; whoever uses it gets ConnectionLost, and then has to call this as well.

        When nobody uses it the hub is told, for at most a second.
        """
        self._closed = True
        sock = self._socket
        if sock is None:
            return
        if not self._busy.acquire(blocking=False):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            return
        try:
            with suppress(Exception):
                self._protocol.send_close(1000)
                self._flush(1.0)
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        finally:
            self._busy.release()


def _refused(address: Address, refusal: InvalidStatus, token_in_url: bool) -> Exception:
    """The hub's error in the answer to the upgrade, or ConnectionLost when the refusal is for now only."""
    response = refusal.response
    try:
        answer = json.loads(response.body or b"")
    except ValueError:
        answer = None
    error: AgentlipError = HubUnreachable(f"{address.url} answers {response.status_code}, and not as a hub does")
    if isinstance(answer, dict) and "code" in answer:
        error = error_of(response.status_code, answer, dict(response.headers.raw_items()))
    if response.status_code == 401 and not isinstance(error, InvalidAuth):  # not one that has looked at the header
        if address.token is None:
            return MissingAuth()
        return InvalidAuth("The hub refuses the token") if token_in_url else BearerIgnored()
    if response.status_code >= 500 or response.status_code in (408, 429):
        return ConnectionLost(str(error), retry_after=error.retry_after if isinstance(error, RateLimited) else 0.0)
    return error
