"""Handing a WebSocket's session over to our own gunicorn worker.

Elsewhere a session runs while the server iterates the response, so the request stays in memory for as long as the
WebSocket is open: 20 KB a socket. That worker runs it when the request is forgotten: 14.5 KB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Session = Callable[[], None]
_KEY = "agentlip.session"


def offer(environ: dict[str, Any]) -> list[Session]:
    """Where the session is put, should the request turn out to have one: the worker will run it.

    A list, as what hosts put between us and the server may pass on a copy of the environment.
    """
    place: list[Session] = []
    environ[_KEY] = place
    return place


def hand_over(environ: dict[str, Any], session: Session) -> bool:
    """Leave the session to the worker; False when nobody has offered to run it."""
    place: list[Session] | None = environ.get(_KEY)
    if place is None:
        return False
    place.append(session)
    return True
