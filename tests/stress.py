"""Load on a hub: posters and subscribers that remember what they were told, and who is at the other end.

Each runs in a thread of its own, comes back whenever its connection is gone, and judges nothing: the
tests do, with `check_subscriber` and `check_posters`.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any, Protocol, TypeVar

from .running_hub import TOKEN, Hub, eventually
from .server.raw_socket import CLOSE, TEXT, RawSocket

THE_END = "the end"


class HasSocket(Protocol):
    sock: Any


C = TypeVar("C", bound=HasSocket)


def http(hub: Hub) -> HTTPConnection:
    """A kept-alive connection, open but unused; the hub ends it after 2 s without a request."""
    connection = HTTPConnection("127.0.0.1", hub.port, timeout=20)
    connection.connect()
    return connection


def ask(connection: HTTPConnection, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    """One call over the connection; its status and answer."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def post(connection: HTTPConnection, topic_id: str, content: str = "x") -> tuple[int, dict[str, Any]]:
    return ask(connection, "POST", "/api/v1/messages", {"topic_id": topic_id, "sender": "s", "content_raw": content})


def worker_at(hub: Hub, connection: HasSocket) -> int:
    """The worker that serves the connection."""
    return eventually(lambda: hub.worker_of(connection.sock), 10, "a worker's accept")


def everywhere(hub: Hub, workers: int, connect: Callable[[], C], each: int = 1) -> dict[int, list[C]]:
    """Open connections until each of that many workers has `each`, also when some have yet to start."""
    found: dict[int, list[C]] = {}

    def are_enough() -> bool:
        connection = connect()
        here = found.setdefault(worker_at(hub, connection), [])
        if len(here) < each:
            here.append(connection)
        else:
            connection.sock.close()
        return [len(some) for some in found.values()] == [each] * workers

    eventually(are_enough, 30, "a connection to every worker")
    return found


def log_of(hub: Hub, **query: Any) -> dict[int, dict[str, Any]]:
    """The matching events by their ids, page by page from GET /api/v1/events."""
    found: dict[int, dict[str, Any]] = {}
    while True:
        query["after"] = max(found, default=0)
        page = hub.call("GET", "/api/v1/events", params={"limit": 1000, **query}).json()["events"]
        if not page:
            return found
        found.update((event["event_id"], event) for event in page)


class Poster:
    """Posts one message after the other, each with a content of its own, until `over`."""

    def __init__(self, hub: Hub, connection: HTTPConnection, name: str, topics: list[str]) -> None:
        self.hub, self.connection, self.name, self.topics = hub, connection, name, topics
        self.acknowledged: dict[int, str] = {}
        self.unanswered: list[str] = []
        self.refused: dict[str, tuple[int, str]] = {}

    def run(self, over: threading.Event) -> None:
        count = 0
        while not over.is_set():
            self._post(self.topics[count % len(self.topics)], f"{self.name} {count}")
            count += 1
        self.connection.close()

    def _post(self, topic_id: str, content: str) -> None:
        try:
            status, answer = post(self.connection, topic_id, content)
        except (OSError, HTTPException):
            self.unanswered.append(content)
            self.connection.close()  # the next request connects anew
            return
        if status == 201:
            self.acknowledged[answer["event_id"]] = content
        else:
            self.refused[content] = status, answer["code"]
            self.connection.close()


@dataclass
class Visit:
    """One connection of a subscriber: what came after the cursor, and how it ended.

    `worker` stays 0 when it ended before we could ask who was at the other end.
    """

    after: int
    worker: int = 0
    seen: list[int] = field(default_factory=list)
    end: object = None


class Subscriber:
    """Follows the log until `THE_END` has come `ends` times; leaves after every `stay` events and comes back.

    `first` is the connection it starts with; `wanted` may name a channel or a topic.
    """

    def __init__(
        self, hub: Hub, ends: int, *, first: RawSocket | None = None, stay: int = 0, how: str = "left", after: int = 0,
        **wanted: str,
    ) -> None:  # fmt: skip
        self.hub, self.ends, self.stay, self.how, self.wanted = hub, ends, stay, how, wanted
        self.start = self.cursor = after
        self._first = first
        self.visits: list[Visit] = []
        self.refusals: list[str] = []

    def run(self) -> None:
        while self.ends:
            try:
                raw, self._first = self._first or RawSocket(self.hub), None
            except (AssertionError, EOFError, OSError) as error:
                self.refusals.append(repr(error))
                continue
            with raw:
                visit = Visit(self.cursor)
                self.visits.append(visit)
                try:
                    self._follow(raw, visit)
                except (EOFError, ConnectionError):
                    visit.end = "lost"

    def _follow(self, raw: RawSocket, visit: Visit) -> None:
        subscriptions = {f"{kind}s": [scope] for kind, scope in self.wanted.items()}
        raw.say_hello(self.cursor, **({"subscriptions": subscriptions} if subscriptions else {}))
        while visit.end is None:
            opcode, payload = raw.read_frame()
            message = json.loads(payload) if opcode == TEXT else {}
            if opcode == CLOSE:
                visit.end = int.from_bytes(payload[:2], "big"), payload[2:].decode()
            elif message.get("type") == "hello_ok":
                assert message["recovered"] is True
                visit.worker = self.hub.worker_of(raw.sock)
            elif message:
                self._note(raw, visit, message)

    def _note(self, raw: RawSocket, visit: Visit, event: dict[str, Any]) -> None:
        self.cursor = event["event_id"]
        visit.seen.append(self.cursor)
        if event["data"].get("message", {}).get("content_raw") == THE_END:
            self.ends -= 1
        if not self.ends:
            visit.end = THE_END
            visit.seen += [later["event_id"] for later in raw.read_until_pong()]
        elif len(visit.seen) == self.stay:
            visit.end = self.how
            if self.how == "reset":
                raw.reset()
            else:
                raw.send(CLOSE, b"\x03\xe8")


def check_subscriber(subscriber: Subscriber) -> None:
    """Every visit got the matching events above its cursor without hole or repeat, and in all none is missing."""
    queries = {f"{kind}_id": scope for kind, scope in subscriber.wanted.items()}
    expected = [one for one in log_of(subscriber.hub, **queries) if one > subscriber.start]
    seen = [one for visit in subscriber.visits for one in visit.seen]
    assert seen == expected, (
        f"missed {set(expected) - set(seen)}, else {set(seen) - set(expected)}: {subscriber.visits}"
    )
    for visit in subscriber.visits:
        above = [one for one in expected if one > visit.after]
        assert visit.seen == above[: len(visit.seen)], f"a hole or a repeat: {visit}"


def check_posters(hub: Hub, posters: list[Poster]) -> None:
    """The log is gapless, holds each acknowledged post once, and of the others each at most once."""
    log = log_of(hub)
    assert list(log) == list(range(1, len(log) + 1))
    posts = ((one, event["data_json"]) for one, event in log.items() if event["name"] == "message.created")
    messages = {one: data["message"]["content_raw"] for one, data in posts}
    counts = Counter(messages.values())
    del counts[THE_END]
    assert set(counts.values()) == {1}
    for poster in posters:
        assert poster.acknowledged.items() <= messages.items()
        for content in (*poster.acknowledged.values(), *poster.unanswered, *poster.refused):
            counts.pop(content, None)
    assert not counts, "nobody posted these"
