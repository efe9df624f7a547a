"""Threads or greenlets: asked at each call, as a worker is patched after its master has imported all this."""

from __future__ import annotations

from typing import Any

from . import threads
from .native import on_gevent


def kind() -> Any:
    """The module that serves here: both hold the same names."""
    if not on_gevent():
        return threads
    from . import greenlets

    return greenlets
