"""The live path without processes and sockets: a hub over a real file, and transports that record what they get."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from agentlip import wire
from agentlip.config import Settings
from agentlip.hub.hub import Hub
from agentlip.hub.sendqueue import Verdict
from agentlip.hub.session import Session
from agentlip.model import Entity, Scope
from agentlip.server.websocket.transport import encode
from agentlip.store.log import Entry
from agentlip.store.store import Store
from agentlip.store.writer import Transaction

INSERT = (
    "INSERT INTO events (ts, name, scope_channel_id, scope_topic_id, scope_topic_id2, entity_type, entity_id, "
    "data_json) VALUES ('t', 'their.event', ?, ?, ?, 'e', 'e_1', '{}')"
)


def payloads(stream: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects in whole frames of the server."""
    start = 0
    for end in wire.frame_ends(stream):
        head = {126: 4, 127: 10}.get(stream[start + 1], 2)
        yield json.loads(stream[start + head : end])
        start = end


class RecordingTransport:
    """Implements hub.session.Transport: bytes that the peer has got, and a bounded queue of those it has not.

    While `stalled` the peer takes nothing; `drain` plays the flusher that sends what waits. `at_offer`, `at_settle`
    and `at_close` are the seams: they run first in the call of their name, and may block, raise, or call back.
    """

    encode = staticmethod(encode)
    ping_seconds = math.inf
    is_answered = True

    def __init__(self, max_events: int = 1000) -> None:
        self.last_inbound = time.monotonic()
        self.stalled = False
        self.received = b""
        self.closes: list[wire.Close] = []
        self.kills = 0
        self.pings = 0
        self.at_offer: Callable[[], None] = lambda: None
        self.at_settle: Callable[[], None] = lambda: None
        self.at_close: Callable[[], None] = lambda: None
        self.flushing = False
        self._max_events = max_events
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._lock = threading.Lock()

    def offer(self, blob: bytes, events: int) -> Verdict:
        self.at_offer()
        with self._lock:
            if self.closes or self.kills:
                return Verdict.CLOSED
            if not self._waiting and not self.flushing:
                if not self.stalled:
                    self.received += blob
                    return Verdict.SENT
                self._waiting.append((blob, events))
                self.flushing = True
                return Verdict.STALLED
            if self._waiting and sum(count for _, count in self._waiting) + events > self._max_events:
                return Verdict.OVERFLOW
            self._waiting.append((blob, events))
            return Verdict.QUEUED

    def settle(self, verdict: Verdict) -> None:
        self.at_settle()

    def drain(self, session: Session) -> None:
        """The peer reads again, and the flusher sends until nothing waits, or the peer stalls anew."""
        self.stalled = False
        while self.flushing and not self.stalled:
            with self._lock:
                self.received += b"".join(blob for blob, _ in self._waiting)
                self._waiting.clear()
            session.on_drained()
            with self._lock:
                self.flushing = bool(self._waiting)

    def message(self, payload: bytes) -> bytes:
        return wire.frame(wire.TEXT, payload)

    def ping(self) -> None:
        self.pings += 1

    def close(self, close: wire.Close) -> None:
        self.at_close()
        with self._lock:
            self._waiting.clear()
            self.closes.append(close)

    def kill(self) -> None:
        with self._lock:
            self.kills += 1

    def overdue(self, now: float) -> bool:
        return False

    @property
    def messages(self) -> list[dict[str, Any]]:
        return list(payloads(self.received))

    @property
    def event_ids(self) -> list[int]:
        return [message["event_id"] for message in self.messages if message["type"] == "event"]


def hello(after: float = 0, channels: Iterable[str] | None = None, topics: Iterable[str] | None = None) -> str:
    message: dict[str, Any] = {"type": "hello", "after_event_id": after}
    if channels is not None or topics is not None:
        message["subscriptions"] = {"channels": list(channels or ()), "topics": list(topics or ())}
    return json.dumps(message)


class Core:
    """A hub that is not started: its tailer takes a turn when told to, on the caller's thread."""

    def __init__(self, path: Path, store: Store | None = None, **settings: str) -> None:
        self.path = path
        config = {f"AGENTLIP_{key}": value for key, value in settings.items()}
        self.settings = Settings.load({}, {"AGENTLIP_DB": str(path), **config})
        self.store = store or Store(path, "NORMAL", 5.0)
        self.store._on_commit = self.committed
        self.hub = Hub(self.store, self.settings, "hub")
        self.tailer = self.hub.feed.tailer

    def committed(self, entries: Sequence[Entry]) -> None:
        self.hub.feed.wake(entries)

    def open(self, **transport: Any) -> tuple[Session, RecordingTransport]:
        made = RecordingTransport(**transport)
        return self.hub.open(made), made

    def join(self, *args: Any, **kwargs: Any) -> tuple[Session, RecordingTransport]:
        """A session that has said hello; the arguments are those of `hello`."""
        session, transport = self.open()
        session.on_message(hello(*args, **kwargs))
        return session, transport

    def commit(self, *scopes: Scope) -> None:
        """Commit one event for each scope in one transaction, by default one of the channel ch_a."""

        def command(transaction: Transaction) -> None:
            for scope in scopes or (Scope("ch_a"),):
                transaction.append("our.event", scope, Entity("e", "e_1"), {})

        self.store.write(command)

    def foreign(self, *scopes: Scope) -> None:
        """Commit as some other program, which wakes nobody."""
        with closing(sqlite3.connect(self.path, timeout=5)) as connection:
            connection.executemany(INSERT, scopes or (Scope("ch_a"),))
            connection.commit()

    def turn(self) -> None:
        """One turn of the tailer, with a look at the log."""
        self.tailer.wake()
        self.tailer._catch_up()

    def turns(self) -> None:
        """The turns the tailer would take now: as long as it has been rung."""
        while self.tailer._wakeup.wait(0):
            self.tailer._catch_up()

    def end(self) -> None:
        self.hub.shut_down()
        self.hub.stop()
        self.store.close()
