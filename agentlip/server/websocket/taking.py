"""Taking a connection from the server, for as long as a session on it lasts.

What is answered is an ordinary response of the application's class, and its iteration ends like any other, for the sake
of what hosts put between us and the server.  Nothing is taken before that iteration starts: functions that a host runs
after each request come between, and may fail, or put another answer in its place.  Afterwards the connection is shut
down: the server's own answer fails as it does when a browser has gone away, which all servers pass over in silence.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from flask import Response

from ...config import Settings
from ...errors import InvalidInput, ServiceUnavailable
from ...hub.session import Session
from .. import logs
from ..access.guests import guest_of
from ..http import capacity
from ..http.call import Call
from ..http.dispatch import bare_answer
from ..http.request_socket import find_socket
from . import handover
from .queued import QueuedTransport
from .stream import TcpStream, stream_of

logger = logging.getLogger("agentlip.ws")

Made = Callable[[TcpStream, Settings], QueuedTransport]


def take(
    call: Call,
    response: Response,
    greeting: Callable[[dict[str, Any]], bytes],
    made: Made,
    begin: Callable[[Session], None] | None = None,
) -> Response:
    """See that there is room and a socket, and have a session run over it when the server iterates the response.

    `greeting` gives what is sent first, of the environment, in place of the server's own answer; `begin` starts a
    session that waits for no hello. Raises InvalidInput and ServiceUnavailable.
    """
    try:
        taken = find_socket(call.environ)
    except Exception as error:
        raise InvalidInput("The connection cannot be taken from the server") from error
    # Not before: a test client, which has no socket, says nothing of the server.
    capacity.check(call.state.hub, call.environ, "WebSockets")
    if not call.state.hub.has_room:
        raise ServiceUnavailable("connection limit")
    accepted = _Accepted(call, made, begin)
    # An attribute and not a class of ours, in whose place Flask would put the class of a host.
    at_the_end = response._on_close  # not the response itself, which would stay as long as the session

    def iterate(environ: dict[str, Any]) -> Iterator[bytes]:
        accepted.greeting = greeting(environ)
        return _Iteration(environ, partial(_hold, accepted, taken), at_the_end)

    response.get_app_iter = iterate  # type: ignore[method-assign]
    return response


class _Accepted:
    """What a session still needs of the request that opened it, which is dropped."""

    __slots__ = ("begin", "greeting", "guest", "made", "path", "request_id", "state")

    def __init__(self, call: Call, made: Made, begin: Callable[[Session], None] | None) -> None:
        self.state = call.state
        self.path = call.path
        self.request_id = call.request_id
        self.made = made
        self.begin = begin
        self.greeting = b""
        self.guest = guest_of(call.state, call.caller)

    def log(self, event: str, fields: dict[str, Any]) -> None:
        if logger.isEnabledFor(logging.INFO):
            names = {"path": self.path, "request_id": self.request_id, "instance_id": self.state.instance_id}
            logs.log_fields(logger, event, {"event": event} | names | fields)


class _Iteration:
    """The body of the response: it yields nothing, and its first step is the whole session.

    Our own worker runs it later, when the request is forgotten.
    """

    def __init__(
        self, environ: dict[str, Any], session: Callable[[], None], at_the_end: Sequence[Callable[[], Any]]
    ) -> None:
        self._run: Callable[[], None] | None = session
        self._environ = environ
        self._at_the_end = at_the_end

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        run, self._run = self._run, None
        if run is not None and not handover.hand_over(self._environ, run):
            run()
        raise StopIteration

    def close(self) -> None:
        """Call what was given to `response.call_on_close`."""
        for function in self._at_the_end:
            function()


def _hold(accepted: _Accepted, taken: Any) -> None:
    """Run the session in a connection slot. Never raises; the connection is over afterwards."""
    hub = accepted.state.hub
    reserved = hub.reserve()
    try:
        if reserved:
            _greet(accepted, taken)
            _run_session(accepted, taken)
        else:  # others came in since the answer was made
            taken.sendall(bare_answer(ServiceUnavailable("connection limit")))
    except OSError:
        pass  # the peer has left already
    finally:
        if reserved:
            hub.release()
        with suppress(OSError):
            taken.shutdown(socket.SHUT_RDWR)


def _greet(accepted: _Accepted, taken: Any) -> None:
    """Raises OSError when the peer is gone or does not read."""
    timeout = taken.gettimeout()
    taken.settimeout(accepted.state.settings.send_timeout)
    taken.sendall(accepted.greeting)
    taken.settimeout(timeout)
    accepted.greeting = b""


def _run_session(accepted: _Accepted, taken: Any) -> None:
    """Run one session to its end. Never raises: the server would write an error page into the stream."""
    hub = accepted.state.hub
    session: Session | None = None
    transport: QueuedTransport | None = None
    started = time.monotonic()
    try:
        transport = accepted.made(stream_of(taken), accepted.state.settings)
        session = hub.open(transport)
        session.guest = accepted.guest
        accepted.log("connect", {})
        if accepted.begin is not None:
            accepted.begin(session)
        transport.run(session)
    except Exception:
        logger.exception("A WebSocket failed")
    finally:
        if transport is not None:
            transport.finish()
        if session is not None:
            hub.leave(session)
        closed = session.closed_with if session is not None else None
        code = closed.code if closed is not None else 1006
        accepted.log("disconnect", {"code": code, "duration_ms": round(1000 * (time.monotonic() - started), 1)})
