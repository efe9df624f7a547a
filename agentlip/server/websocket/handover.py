"""Handing a WebSocket's session over to our own gunicorn worker.

Elsewhere a session runs while the server iterates the response, so the request stays in memory for as long as the
WebSocket is open: 20 KB a socket. That worker runs it when the request is forgotten: 14.5 KB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Session = Callable[[], None]
_KEY = "agentlip.session"


def offer(environ: dict[str, Any]) -> None:
    """The worker will run the request's session, should it turn out to have one."""
    environ[_KEY] = None


def hand_over(environ: dict[str, Any], session: Session) -> bool:
    """Leave the session to the worker; False when nobody has offered to run it."""
    if _KEY not in environ:
        return False
    environ[_KEY] = session
    return True


def handed_over(environ: dict[str, Any]) -> Session | None:
    """The session that the worker has to run now."""
    session: Session | None = environ[_KEY]
    return session
