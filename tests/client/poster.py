"""Somebody who posts through breaks, everything a log holds, and the sudden end of a hub."""

from __future__ import annotations

import signal
import socket
import threading
import time
from types import TracebackType

from agentlip.client import HubClient, HubUnreachable
from agentlip.errors import AgentlipError
from agentlip.model import Event

from ..running_hub import Hub, eventually


class Poster:
    """Posts numbered messages to a topic until the end of `with`, or `count` of them; an error costs a moment."""

    def __init__(self, client: HubClient, topic_id: str, count: int = 1_000_000) -> None:
        self._client, self._topic_id, self._count = client, topic_id, count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        for number in range(self._count):
            if self._stop.wait(0.002):
                return
            try:
                self._client.post_message(self._topic_id, "poster", str(number))
            except (HubUnreachable, AgentlipError):
                time.sleep(0.02)

    def __enter__(self) -> Poster:
        self._thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _where: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(30)


def whole_log(client: HubClient) -> list[Event]:
    """Every event, page after page."""
    events: list[Event] = []
    while True:
        page = client.events(events[-1].event_id if events else 0, 1000).events
        if not page:
            return events
        events += page


def kill(hub: Hub) -> None:
    """kill -9, and wait until the last worker is gone and nobody listens."""
    hub.stop(signal.SIGKILL)

    def refused() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", hub.port)) != 0

    eventually(refused, 5, "the end of the workers")
