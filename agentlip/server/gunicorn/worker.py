"""gunicorn's gevent worker, with less work per request: `worker_class` of gunicorn.conf.py.

Requests are read, checked and turned into a WSGI environment by gunicorn, as ever.  What is ours is
the way back, see `response`; an access log that is off costs nothing.  It ends when its last call
has.  And strangers cannot hold what others need: see `http.connections`.  The hub also runs under
gunicorn's own `gevent` worker; a request then costs about 30 us more.
"""

from __future__ import annotations

import logging
import resource
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from greenlet import GreenletExit
from gunicorn.config import PostRequest, PreRequest
from gunicorn.glogging import Logger
from gunicorn.http import errors as parser_errors
from gunicorn.http import wsgi
from gunicorn.http.body import ChunkedReader
from gunicorn.workers import ggevent

from ... import concurrency
from ...errors import (
    AgentlipError,
    ExpectationFailed,
    HeadersTooLarge,
    InternalError,
    InvalidInput,
    UnknownCoding,
    UriTooLong,
)
from .. import descriptors
from ..http import connections, dispatch
from ..websocket import handover
from .listener import Listener, Server
from .request_body import KEPT_BYTES, AwaitedBody, codings, drain, is_unread
from .response import Response

logger = logging.getLogger("agentlip.worker")

_SEND_SECONDS = 30  # without a hub, which has a setting
# While fewer connections are free, each new one takes the place of a stranger's.
_FREE_CONNECTIONS = 16
_TURN = 8  # requests after which others get their turn
_LAST_CALL_SECONDS = 0.3
_FINISHING_SECONDS = 0.05
_OTHER_FILES = 100  # descriptors that are not connections
_REFUSALS: dict[type[Exception], type[AgentlipError]] = {
    parser_errors.LimitRequestLine: UriTooLong,
    parser_errors.LimitRequestHeaders: HeadersTooLarge,
    parser_errors.ExpectationFailed: ExpectationFailed,
    parser_errors.UnsupportedTransferCoding: UnknownCoding,
}
# The application's mistakes, although gunicorn derives them from those of clients.
_OUR_FAULT = (
    parser_errors.InvalidResponseHeader,
    parser_errors.InvalidResponseHeaderName,
    parser_errors.ConfigurationProblem,
)


class Worker(ggevent.GeventWorker):  # type: ignore[misc]
    """Serves requests of a hub; anything unusual is left to gunicorn."""

    def init_process(self) -> None:
        cfg = self.cfg
        self._ordinary = not (
            cfg.is_ssl
            or cfg.logger_class is not Logger
            or cfg.accesslog
            or cfg.logconfig
            or cfg.logconfig_dict
            or cfg.logconfig_json
            or cfg.syslog
            or cfg.statsd_host
            or cfg.pre_request is not PreRequest.default
            or cfg.post_request is not PostRequest.default
        )
        self._servers: list[Any] = []
        descriptors.allow_all()
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files > 2 * _OTHER_FILES:
            self.worker_connections: int = min(self.worker_connections, files - _OTHER_FILES)
        connections.are_watched = True
        super().init_process()

    def patch(self) -> None:
        super().patch()
        self._is_ending = threading.Event()  # one that greenlets can wait for

    def run(self) -> None:
        """As gunicorn's own, which sees the end of the worker, and then that of its last call, up to a second late."""
        for sock in self.sockets:
            sock.setblocking(True)
            self.server_class(sock, ggevent.Pool(self.worker_connections)).start()
        while self.alive:
            self.notify()
            self._is_ending.wait(1.0)
        self._finish()

    def _finish(self) -> None:
        """Serve what has come until the graceful timeout, and no more."""
        for server in self._servers:
            server.close()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while any(server.pool.free_count() != server.pool.size for server in self._servers):
            if time.monotonic() > deadline:
                self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
                for server in self._servers:
                    server.stop(timeout=1)
                return
            self.notify()
            time.sleep(_FINISHING_SECONDS)

    def server_class(self, sock: Any, spawn: Any, **_wsgi_only: Any) -> Any:
        """The server of one listening socket: gunicorn's usual one, which it would not let us get at."""
        self._limit_sending(sock)
        server = Server(sock, handle=partial(self.handle, Listener(sock)), spawn=spawn, **self._tls())
        server.begin = self.begin
        if self.cfg.workers > 1:
            server.max_accept = 1
        self._servers.append(server)
        return server

    def _limit_sending(self, listener: Any) -> None:
        """Have the kernel give up peers that take nothing of an answer; its connections inherit that."""
        hub = self._hub()
        dispatch.limit_sending(listener, hub.settings.send_timeout if hub else _SEND_SECONDS)

    def _hub(self) -> Any:
        """The state of the hub that is served; None when the application is none and has none."""
        return getattr(self.wsgi, "extensions", {}).get("agentlip")

    def _tls(self) -> dict[str, Any]:
        return {"ssl_context": ggevent.ssl_context(self.cfg)} if self.cfg.is_ssl else {}

    def stop_accepting(self) -> None:
        """Leave new connections to other workers, and end."""
        self._is_ending.set()
        for server in self._servers:
            server.stop_accepting()
        concurrency.spawn(self._end_idle)

    def _end_idle(self) -> None:
        """What is on its way on a connection that just seems idle is told that the hub is shutting down."""
        time.sleep(_LAST_CALL_SECONDS)
        connections.end_idle()

    def begin(self, sock: Any) -> None:
        """A new connection: when few are free, another makes room."""
        connections.begin(sock)
        connections.rest(sock)
        if min(server.pool.free_count() for server in self._servers) < _FREE_CONNECTIONS:
            connections.make_room()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        self.begin(client)
        try:
            super().handle(listener, client, addr)
        finally:
            connections.end(client)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        connections.begin(sock)
        if not self.nr % _TURN:
            concurrency.cede()  # a connection that always has a next request never waits: others must run
        if isinstance(req.body.reader, ChunkedReader):
            self._check_coding(req)
        if req._expected_100_continue:
            req._expected_100_continue = False
            req.body = AwaitedBody(req.body, sock)
        try:
            answer = self._answer if self._ordinary else super().handle_request
            going_on = answer(listener_name, req, sock, addr)
        except StopIteration:
            if is_unread(req, 0):
                drain(sock)
            raise
        if callable(going_on):
            vars(req).clear()  # the caller keeps it for as long as the WebSocket lives, and needs it no more
            going_on()
            raise StopIteration
        if going_on is not False and is_unread(req, KEPT_BYTES):
            drain(sock)
            raise StopIteration
        connections.rest(sock)
        return going_on

    def _check_coding(self, req: Any) -> None:
        """Refuse codings that gunicorn leaves to the application, which knows none either."""
        if codings(req) != ["chunked"] and self._hub() is not None:
            raise parser_errors.UnsupportedTransferCoding("one before chunked")

    def _answer(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        response = None
        try:
            response, environ = wsgi.create(req, sock, addr, listener_name, self.cfg, Response)
            answered = self._run(environ, response)
            if answered is not True:
                return answered
        except (GreenletExit, SystemExit):
            if response is not None and response.headers_sent:
                raise StopIteration from None  # the rest will never come
            return None
        except (StopIteration, OSError):
            raise  # the end of the connection, and what its peer did: the caller knows
        except Exception:
            if response is None or not response.headers_sent:
                raise  # the caller answers 500
            self.log.exception("Error handling request")
            raise StopIteration from None
        if response.should_close():
            raise StopIteration
        return True

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what could not be read as a request, or failed outside of the application, and end the connection."""
        if isinstance(exc, ssl.SSLError) or self._hub() is None:
            super().handle_error(req, client, addr, exc)
            return
        if not isinstance(exc, Exception):  # the worker ends
            return
        if isinstance(exc, parser_errors.ParseException) and not isinstance(exc, _OUR_FAULT):
            error = (UnknownCoding if _names_other_coding(exc) else _REFUSALS.get(type(exc), InvalidInput))()
            logger.info("A request could not be read: %s", type(exc).__name__)  # its text may hold a token
        else:
            error = InternalError()
            logger.error("A request failed", exc_info=exc)
        with suppress(OSError):
            client.sendall(dispatch.bare_answer(error))
            drain(client)

    def _run(self, environ: dict[str, Any], response: Response) -> bool | Callable[[], None]:
        """Call the application and send what it gives; False when it has answered by itself.

        Or the session of a WebSocket, which is run when the request is forgotten: idle ones are many.
        """
        sessions = handover.offer(environ)
        environ["wsgi.multithread"] = True
        self.nr += 1
        if self.nr >= self.max_requests:
            if self.alive:
                self.log.info("Autorestarting worker after current request.")
            self.alive: bool = False
        if not self.alive or not self.cfg.keepalive:
            response.force_close()
        body = self.wsgi(environ, response.start_response)
        if self.is_already_handled(body):
            return False
        try:
            if isinstance(body, environ["wsgi.file_wrapper"]):
                response.write_file(body)
            else:
                for item in body:
                    response.write(item)
            if sessions:
                return sessions[0]
            response.close()
        finally:
            if hasattr(body, "close"):
                body.close()
        return True


def _names_other_coding(exc: Exception) -> bool:
    """Whether gunicorn has missed `chunked`, although it knows the coding that is there."""
    if not isinstance(exc, parser_errors.InvalidHeader) or exc.hdr != "TRANSFER-ENCODING" or exc.req is None:
        return False
    return "chunked" not in codings(exc.req)
