"""The event log as an iterator that outlives every break.

It connects, says hello with the id of the last event that was processed, and yields what comes. A lost connection is
made again, for ever, after a random pause that grows (full jitter), so that many clients do not come back at once.
"""

from __future__ import annotations

import json
import math
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import InvalidAuth, InvalidInput
from ..model import Event
from .address import Address
from .connection import Connection, ConnectionLost
from .errors import HubUnreachable, LogChanged
from .values import event

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0
# A connection that held for this long, or brought an event, was a good one: the next pause is short again.
_GOOD_SECONDS = 5.0
_REFUSED_HELLO = (1003, 1009)  # it makes no sense, or is too large
_FROM_NOW_ON = (1 << 63) - 1


class Stream:
    """Iterates over events, each once and in ascending order; use `with`, or `close` it.

    `cursor` is the id of the last event that was processed: an event is when the next one is asked for. Store it
    together with what was made of the event, with `db_id`, the identity of the log, and begin there next time.
    One thread or greenlet iterates; `close` may be called from any.
    """

    def __init__(
        self,
        locate: Callable[[], Address],
        after: int | None,
        subscriptions: dict[str, list[str]] | None,
        db_id: str | None,
        restart: bool,
        on_connect: Callable[[dict[str, Any]], None] | None,
        on_disconnect: Callable[[str, float], None] | None,
        *,
        timeout: float,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        """Made by HubClient.stream. Nothing is asked of the hub before the first event is."""
        self.cursor = after or 0
        self.db_id = db_id
        self._locate = locate
        self._from_now_on = after is None
        self._subscriptions = subscriptions
        self._restart = restart
        self._on_connect = on_connect
        self._on_disconnect = on_disconnect
        self._timeout = timeout
        self._ssl_context = ssl_context
        self._connection: Connection | None = None
        self._connected_at = math.inf
        self._yielded = self.cursor
        self._failures = 0
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __next__(self) -> Event:
        """The next event; blocks until there is one. After `close` it raises StopIteration.

        Raises LogChanged, and the hub's error when it refuses for good: a wrong token, no permission.
        """
        self.cursor = max(self.cursor, self._yielded)
        while not self._closed.is_set():
            try:
                connection = self._connection or self._connect()
                received = self._receive(connection)
            except ConnectionLost as lost:
                self._pause(str(lost))
            except BaseException:
                self._drop()
                raise
            else:
                if received is not None:
                    self._yielded = received.event_id
                    return received
        self._drop()
        raise StopIteration

    def close(self) -> None:
        """End the iteration; whoever waits in it gets StopIteration soon. From any thread or greenlet, also twice."""
        self._closed.set()
        connection = self._connection
        if connection is not None:
            connection.close()

    def _receive(self, connection: Connection) -> Event | None:
        """The next event; None for what is no event, and for one that was yielded before."""
        item = _message(connection, None)
        if item.get("type") != "event":
            return None
        try:
            received = event(item, "data")
        except (KeyError, TypeError, AttributeError):
            raise ConnectionLost("the hub sent an event that is none") from None
        self._failures = 0
        return received if received.event_id > self._yielded else None

    def _connect(self) -> Connection:
        self._connected_at = math.inf
        address = self._located()
        connection = self._connection = Connection(address)
        if self._closed.is_set():
            raise ConnectionLost("closed before it was there")
        try:
            connection.open(self._timeout, self._ssl_context)
        except InvalidAuth:
            if self._located() == address:
                raise
            raise ConnectionLost("the token was replaced") from None
        self._greet(connection)
        self._connected_at = time.monotonic()
        return connection

    def _located(self) -> Address:
        try:
            return self._locate()
        except HubUnreachable as error:
            raise ConnectionLost(str(error)) from None

    def _greet(self, connection: Connection) -> None:
        """Say hello and look at the answer: is it the log that the cursor is of?"""
        hello: dict[str, Any] = {"type": "hello"}
        hello["after_event_id"] = _FROM_NOW_ON if self._from_now_on else self.cursor
        if self._subscriptions is not None:
            hello["subscriptions"] = self._subscriptions
        if self.db_id is not None:
            hello["db_id"] = self.db_id
        connection.send(json.dumps(hello))
        answer = _message(connection, self._timeout)
        if answer.get("type") != "hello_ok" or not isinstance(answer.get("replay_until"), int):
            raise ConnectionLost("the hub did not answer hello")
        self._compare(answer)
        if self._on_connect is not None:
            self._on_connect(answer)

    def _compare(self, answer: dict[str, Any]) -> None:
        db_id, head = answer.get("db_id"), answer["replay_until"]
        is_other = self.db_id is not None and db_id is not None and db_id != self.db_id
        if self._from_now_on:
            self.cursor = self._yielded = head
            self._from_now_on = False
        elif is_other or self.cursor > head:  # other hubs do not tell, but their head does
            self._new_log("epoch" if is_other else "ahead", db_id, head)
        self.db_id = db_id if isinstance(db_id, str) else self.db_id

    def _new_log(self, reason: str, db_id: str | None, head: int) -> None:
        if not self._restart:
            raise LogChanged(reason, db_id, head)
        self.cursor = self._yielded = 0 if reason == "epoch" else head
        if reason == "epoch":
            self.db_id = db_id
            self._failures = 0  # this hub answers well
            raise ConnectionLost("the hub has another log")

    def _pause(self, reason: str) -> None:
        """Wait before the next attempt; `close` ends the wait."""
        held = time.monotonic() - self._connected_at > _GOOD_SECONDS
        self._drop()
        if self._closed.is_set():
            return
        self._failures = 0 if held else self._failures
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 16))
        pause = random.uniform(0, longest)
        self._failures += 1
        if self._on_disconnect is not None:
            self._on_disconnect(reason, pause)
        self._closed.wait(pause)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _message(connection: Connection, timeout: float | None) -> dict[str, Any]:
    try:
        item = json.loads(connection.receive(timeout))
    except ConnectionLost as lost:
        if lost.code in _REFUSED_HELLO:
            raise InvalidInput(f"The hub refuses the stream: {lost}") from None
        raise
    except ValueError:
        raise ConnectionLost("the hub sent something that is not JSON") from None
    return item if isinstance(item, dict) else {}
