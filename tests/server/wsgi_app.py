"""A WSGI application that answers in every way a server must bear; gunicorn runs it for test_worker.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__)
LARGE = 5 * 1024 * 1024
_closed = 0


class Closing:
    """An iterable that counts how often it was closed."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        global _closed
        _closed += 1


def _broken(first: bytes, error: BaseException) -> Iterator[bytes]:
    yield first
    raise error


def _endless() -> Iterator[bytes]:
    while True:
        yield bytes(65536)


def _twice(start: Callable[..., Any]) -> Iterable[bytes]:
    start("200 OK", [("X-First", "1")])
    try:
        raise ValueError("changed my mind")
    except ValueError as error:
        start("503 Service Unavailable", [("Content-Length", "5")], (ValueError, error, None))
    return [b"sorry"]


def _unstarted(_environ: Any, _start: Any) -> Iterable[bytes]:
    raise ValueError("before")


def _started(_environ: Any, start: Any) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", "5")])
    raise ValueError("after start_response")


def _written(_environ: Any, start: Any) -> Iterable[bytes]:
    write = start("200 OK", [("Content-Length", "5")])
    write(b"he")
    write(b"llo")
    return []


def _file(environ: Any, start: Any, *headers: tuple[str, str]) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/plain"), *headers])
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](FILE.open("rb"), 512)
    return wrapped


def _echo(environ: Any, start: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def _lane(_environ: Any, start: Any) -> Iterable[bytes]:
    name = type(start.__self__).__module__.encode()
    start("200 OK", [("Content-Length", str(len(name)))])
    return [name]


def _count(_environ: Any, start: Any) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", "9")])
    return [b"%09d" % _closed]


def _plain(
    make: Callable[[], Iterable[Any]], length: int | None = None, status: str = "200 OK", *headers: tuple[str, str]
) -> Callable[..., Iterable[Any]]:
    def answer(_environ: Any, start: Any) -> Iterable[Any]:
        known = [] if length is None else [("Content-Length", str(length))]
        start(status, [("Content-Type", "text/plain"), *known, *headers])
        return make()

    return answer


ROUTES: dict[str, Callable[..., Iterable[Any]]] = {
    "/known": _plain(lambda: [b"hello"], 5),
    "/cased": _plain(lambda: [b"hello"], 5, "200 OK", ("x-CASE", "1"), ("X-Case", "2"), ("Set-Cookie", "a=b")),
    "/unknown": _plain(lambda: [b"hello"]),
    "/chunks": _plain(lambda: [b"he", b"", b"llo", b"!"]),
    "/known-chunks": _plain(lambda: [b"he", b"", b"llo"], 5),
    "/empty-first": _plain(lambda: [b"", b"hello"], 5),
    "/empty": _plain(list, 0),
    "/empty-item": _plain(lambda: [b""], 0),
    "/empty-unknown": _plain(list),
    "/nothing": _plain(list, None, "204 No Content"),
    "/nothing-known": _plain(lambda: [b"hello"], 5, "204 No Content"),
    "/not-modified": _plain(list, None, "304 Not Modified", ("ETag", '"1"')),
    "/not-modified-known": _plain(list, 5, "304 Not Modified"),
    "/no-reason": _plain(lambda: [b"hello"], 5, "299"),
    "/error": _plain(lambda: [b"{}"], 2, "404 Not Found"),
    "/too-short": _plain(lambda: [b"hello"], 9),
    "/too-long": _plain(lambda: [b"hello, you"], 5),
    "/and-more": _plain(lambda: [b"hello", b"more"], 5),
    "/breaks-known": _plain(lambda: _broken(b"he", ValueError("middle")), 5),
    "/breaks-whole": _plain(lambda: _broken(b"hello", ValueError("end")), 5),
    "/breaks-chunked": _plain(lambda: _broken(b"hello", ValueError("middle"))),
    "/exits": _plain(lambda: _broken(b"he", SystemExit(1)), 5),
    "/text": _plain(lambda: ["hello"], 5),
    "/injects": _plain(lambda: [b"hello"], 5, "200 OK", ("X-Bad", "a\r\nInjected: 1")),
    "/injects-known-name": _plain(lambda: [b"hello"], 5, "200 OK", ("Content-Type", "a\r\nInjected: 1")),
    "/injects-line": _plain(lambda: [b"hello"], 5, "200 OK", ("Content-Type", "a\nInjected: 1")),
    "/injects-status": _plain(lambda: [b"hello"], 5, "200 OK\r\nInjected: 1"),
    "/injects-name": _plain(lambda: [b"hello"], 5, "200 OK", ("Injected: 1\r\nX-Bad", "a")),
    "/bad-length": _plain(lambda: [b"hello"], None, "200 OK", ("Content-Length", "many")),
    "/not-a-string": _plain(lambda: [b"hello"], 5, "200 OK", ("Content-Type", 7)),  # type: ignore[arg-type]
    "/wide": _plain(lambda: [b"hello"], 5, "200 OK", ("Content-Type", "\u20ac")),
    "/latin": _plain(lambda: [b"hello"], 5, "200 OK", ("Content-Type", "\xe9")),
    "/spaced": _plain(lambda: [b"hello"], 5, "200 OK", ("X-Spaced", " a \t")),
    "/hop": _plain(lambda: [b"hello"], 5, "200 OK", ("Connection", "close"), ("Keep-Alive", "7"), ("Upgrade", "h2c")),
    "/dated": _plain(lambda: [b"hello"], 5, "200 OK", ("Server", "mine"), ("Vary", "Date")),
    "/twice": lambda _environ, start: _twice(start),
    "/unstarted": _unstarted,
    "/started": _started,
    "/written": _written,
    "/file": _file,
    "/file-known": lambda environ, start: _file(environ, start, ("Content-Length", str(FILE.stat().st_size))),
    "/echo": _echo,
    "/ignores-body": _plain(lambda: [b"hello"], 5),
    "/lane": _lane,
    "/closed": _count,
    "/closing": _plain(lambda: Closing([b"he", b"llo"]), 5),
    "/closing-broken": _plain(lambda: Closing(_broken(b"he", ValueError("middle"))), 5),
    "/endless": _plain(lambda: Closing(_endless())),
    "/large": _plain(lambda: [os.urandom(16) * (LARGE // 16)], LARGE),
    "/large-chunked": _plain(lambda: [b"%065536d" % number for number in range(LARGE // 65536)]),
}


def application(environ: Any, start_response: Any) -> Iterable[bytes]:
    return ROUTES[environ["PATH_INFO"]](environ, start_response)
