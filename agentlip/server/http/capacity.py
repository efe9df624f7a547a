"""How many may stay: WebSockets, and calls that wait, hold up a server that has few threads."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from ...errors import ServiceUnavailable
from ...hub.hub import Hub

logger = logging.getLogger("agentlip.ws")


def check(hub: Hub, environ: Mapping[str, Any], who: str) -> None:
    """See that `who`, in the plural, leave the server something to serve others with. Raises ServiceUnavailable."""
    free = _threads_of(environ) - 1
    if hub.limit_connections(free):
        logger.warning(
            "%s let in: this server handles %d at a time of requests and WebSockets together. "
            "Run gunicorn with `-k gevent`, or with `-k gthread --threads N`",
            f"Only {free} WebSockets are" if free else "No WebSocket is",
            free + 1,
        )
    if free < 1:
        raise ServiceUnavailable("single-threaded server", f"This server handles one request at a time: no {who}")


def _threads_of(environ: Mapping[str, Any]) -> int:
    """How many requests the server can handle at once."""
    # gevent's pywsgi says "no" there: it means native threads.
    if not environ.get("wsgi.multithread") and not environ.get("SERVER_SOFTWARE", "").startswith("gevent/"):
        return 1
    # gunicorn's thread worker tells nobody how many threads it has; it is one of our callers.
    frame = sys._getframe() if "gunicorn.workers.gthread" in sys.modules else None
    while frame is not None:
        if frame.f_globals.get("__name__") == "gunicorn.workers.gthread" and "conn" in frame.f_locals:
            return int(frame.f_locals["self"].cfg.threads)
        frame = frame.f_back
    return sys.maxsize
