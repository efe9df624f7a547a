"""The event log as an iterator that outlives every break.

It connects, says hello with the id of the last event that was processed, and yields what comes. A lost connection is
made again, forever, after a random pause that grows (full jitter), so that many clients do not come back at once.
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

from msgspec import ValidationError

from ..errors import InvalidAuth, InvalidInput
from ..model import Event, EventRow
from .address import Address
from .connection import BearerIgnored, Connection, ConnectionLost
from .errors import HubUnreachable, LogChanged
from .values import event, fitted

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0
# A connection that held for this long, or brought an event, was a good one: the next pause is short again.
_GOOD_SECONDS = 5.0
_REFUSED_HELLO = (1003, 1009)  # it is invalid, or too large
_FROM_NOW_ON = (1 << 63) - 1
_SHORTEST_ATTEMPT_SECONDS = 1.0  # of a consumer that waits for less, so that it gets there at all


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
        self._next_attempt = 0.0
        self._reads_url_only: Address | None = None  # another implementation, which takes only `?token=`
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
        received = self.next()
        if received is None:
            raise StopIteration
        return received

    def next(self, timeout: float | None = None) -> Event | None:
        """The next event; None when none came within `timeout` seconds, or after `close`.

        It may be up to a second late while it connects. Raises as the iteration does.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self.cursor = max(self.cursor, self._yielded)
        while not self._closed.is_set():
            try:
                received = self._receive(deadline)
            except ConnectionLost as lost:
                self._lose(lost)
                continue
            except BaseException:
                self._drop()
                raise
            if received is not None:
                self._yielded = received.event_id
                return received
            if deadline is not None and time.monotonic() >= deadline:
                return None
        self._drop()
        return None

    @property
    def is_ahead(self) -> bool:
        """Whether more has been received than was asked for, so that `next` need not wait."""
        connection = self._connection
        return connection is not None and connection.has_message

    def wait_for(self, predicate: Callable[[Event], object], timeout: float | None = None) -> Event:
        """The next event for which `predicate` is true; those before it are passed over.

        Raises TimeoutError after `timeout` seconds, and when the stream is closed meanwhile.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            received = self.next(left)
            if received is None:
                raise TimeoutError("The event that was waited for did not come")
            if predicate(received):
                return received

    def close(self) -> None:
        """End the iteration; whoever waits in it gets StopIteration soon. From any thread or greenlet, also twice."""
        self._closed.set()
        connection = self._connection
        if connection is not None:
            connection.close()

    def _receive(self, deadline: float | None) -> Event | None:
        """The next event; None at the deadline, for what is not an event, and for one that was yielded before."""
        if self._connection is None and not self._is_time(deadline):
            return None
        item = _message(self._connection or self._connect(deadline), deadline)
        if item.get("type") != "event":
            return None
        try:
            received = event(fitted(item | {"data_json": item["data"]}, EventRow))
        except (KeyError, ValidationError):
            raise ConnectionLost("the hub sent an event that is none") from None
        self._failures = 0
        return received if received.event_id > self._yielded else None

    def _is_time(self, deadline: float | None) -> bool:
        """Wait for the moment of the next attempt to connect; False when the deadline or `close` comes before it."""
        until = self._next_attempt if deadline is None else min(self._next_attempt, deadline)
        self._closed.wait(max(0.0, until - time.monotonic()))
        return until == self._next_attempt and not self._closed.is_set()

    def _connect(self, deadline: float | None) -> Connection:
        self._connected_at = math.inf
        address = self._located()
        timeout = self._timeout
        if deadline is not None:
            timeout = min(timeout, max(_SHORTEST_ATTEMPT_SECONDS, deadline - time.monotonic()))
        try:
            try:
                connection = self._open(address, timeout, token_in_url=self._reads_url_only == address)
            except BearerIgnored:
                self._drop()
                connection = self._open(address, timeout, token_in_url=True)
                self._reads_url_only = address
        except InvalidAuth:
            if self._located() == address:
                raise
            raise ConnectionLost("the token was replaced") from None
        self._greet(connection, timeout)
        self._connected_at = time.monotonic()
        return connection

    def _open(self, address: Address, timeout: float, *, token_in_url: bool) -> Connection:
        connection = self._connection = Connection(address, token_in_url=token_in_url)
        if self._closed.is_set():
            raise ConnectionLost("closed before it was there")
        connection.open(timeout, self._ssl_context)
        return connection

    def _located(self) -> Address:
        try:
            return self._locate()
        except HubUnreachable as error:
            raise ConnectionLost(str(error)) from None

    def _greet(self, connection: Connection, timeout: float) -> None:
        """Say hello and look at the answer: is it the log that the cursor is of?"""
        hello: dict[str, Any] = {"type": "hello"}
        hello["after_event_id"] = _FROM_NOW_ON if self._from_now_on else self.cursor
        if self._subscriptions is not None:
            hello["subscriptions"] = self._subscriptions
        if self.db_id is not None:
            hello["db_id"] = self.db_id
        connection.send(json.dumps(hello))
        answer = _message(connection, time.monotonic() + timeout)
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

    def _lose(self, lost: ConnectionLost) -> None:
        """Choose the moment of the next attempt."""
        held = time.monotonic() - self._connected_at > _GOOD_SECONDS
        self._drop()
        if self._closed.is_set():
            return
        self._failures = 0 if held else self._failures
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 16))
        pause = min(lost.retry_after, LONGEST_PAUSE_SECONDS) + random.uniform(0, longest)
        self._failures += 1
        self._next_attempt = time.monotonic() + pause
        if self._on_disconnect is not None:
            self._on_disconnect(str(lost), pause)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _message(connection: Connection, deadline: float | None) -> dict[str, Any]:
    """The next message; an empty one at the deadline."""
    try:
        text = connection.receive(deadline)
        item = {} if text is None else json.loads(text)
    except ConnectionLost as lost:
        if lost.code in _REFUSED_HELLO:
            raise InvalidInput(f"The hub refuses the stream: {lost}") from None
        raise
    except ValueError:
        raise ConnectionLost("the hub sent something that is not JSON") from None
    return item if isinstance(item, dict) else {}
