"""A worker whose listening socket is closed just before each connection begins, as it may be at the worker's end."""

from __future__ import annotations

from typing import Any

from agentlip.server.gunicorn.worker import Worker


class ClosingWorker(Worker):
    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        for server in self._servers:
            server.close()
        super().handle(listener, client, addr)
