"""gunicorn's gevent worker, with less work per request: `worker_class` of gunicorn.conf.py.

Requests are read, checked and turned into a WSGI environment by gunicorn, as ever.  What is ours is
the way back: a response whose length is known leaves in one write instead of two, the Date header is
made once a second, header names are checked once, and an access log that is off costs nothing.  The
hub also runs under gunicorn's own `gevent` worker; a request then costs about 30 us more.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, ClassVar

from greenlet import GreenletExit
from gunicorn import util
from gunicorn.config import PostRequest, PreRequest
from gunicorn.glogging import Logger
from gunicorn.http import wsgi
from gunicorn.workers import ggevent

_MAX_NAMES = 256


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
        super().init_process()

    def server_class(self, sock: Any, spawn: Any, **_wsgi_only: Any) -> Any:
        """The server of one listening socket: gunicorn's usual one, which it would not let us get at."""
        server = ggevent.StreamServer(sock, handle=partial(self.handle, sock), spawn=spawn, **self._tls())
        if self.cfg.workers > 1:
            server.max_accept = 1
        self._servers.append(server)
        return server

    def _tls(self) -> dict[str, Any]:
        return {"ssl_context": ggevent.ssl_context(self.cfg)} if self.cfg.is_ssl else {}

    def stop_accepting(self) -> None:
        """Leave new connections to other workers; gunicorn itself does that up to a second after the signal."""
        for server in self._servers:
            server.stop_accepting()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        if not self._ordinary:
            return super().handle_request(listener_name, req, sock, addr)
        response = None
        try:
            response, environ = wsgi.create(req, sock, addr, listener_name, self.cfg, _Response)
            if not self._run(environ, response):
                return False
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

    def _run(self, environ: dict[str, Any], response: _Response) -> bool:
        """Call the application and send what it gives; False when it has answered by itself."""
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
            response.close()
        finally:
            if hasattr(body, "close"):
                body.close()
        return True


class _Response(wsgi.Response):  # type: ignore[misc]
    _names: ClassVar[set[str]] = set()  # that need no second look: valid, and nothing gunicorn treats specially
    _date: ClassVar[tuple[int, str]] = (0, "")

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        for name, value in headers:
            if name in self._names and isinstance(value, str) and wsgi.HEADER_VALUE_RE.fullmatch(value):
                self.headers.append((name, value.strip(" \t")))
                continue
            super().process_headers([(name, value)])
            if not util.is_hoppish(name) and name.lower() != "content-length" and len(self._names) < _MAX_NAMES:
                self._names.add(name)

    def default_headers(self) -> list[str]:
        if self.upgrade or self.chunked:
            lines: list[str] = super().default_headers()
            return lines
        now = int(time.time())
        if now != _Response._date[0]:
            _Response._date = (now, util.http_date())
        major, minor = self.req.version
        return [
            f"HTTP/{major}.{minor} {self.status}\r\nServer: {self.version}\r\nDate: {_Response._date[1]}\r\n"
            f"Connection: {'close' if self.should_close() else 'keep-alive'}\r\n"
        ]

    def write(self, arg: bytes) -> None:
        if self.headers_sent or self._omits_body or len(arg) != self.response_length:
            super().write(arg)
            return
        lines = self.default_headers()
        lines += [f"{name}: {value}\r\n" for name, value in self.headers]
        data = "".join([*lines, "\r\n"]).encode("latin-1") + arg
        self.headers_sent: bool = True
        self.sent = len(arg)
        sent = self.sock.send(data)
        if sent < len(data):
            self.sock.sendall(memoryview(data)[sent:])
