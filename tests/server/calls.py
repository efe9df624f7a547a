"""What the HTTP tests share: names nobody used before, fresh rows, the shape of errors, the table of calls."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from ..running_hub import Hub

API = "/api/v1"
TIMESTAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
NOWHERE = {"channel": "ch_00000000none", "topic": "topic_00000000none", "message": "msg_00000000none"}

_counter = itertools.count(1)


class Place(NamedTuple):
    """A channel, a topic of it and a message there."""

    channel: str
    topic: str
    message: str


class Call(NamedTuple):
    """One row of the contract's call table; path and body hold `{channel}`, `{topic}`, `{message}`, `{new}`."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    status: int = 200

    def __str__(self) -> str:
        op = f" {self.body['op']}" if self.body and "op" in self.body else ""
        return f"{self.method} {self.path}{op}"


READS = (
    Call("GET", f"{API}/channels"),
    Call("GET", f"{API}/channels/{{channel}}/topics"),
    Call("GET", f"{API}/messages?topic_id={{topic}}"),
    Call("GET", f"{API}/messages/{{message}}"),
    Call("GET", f"{API}/search?q=hi"),
    Call("GET", f"{API}/topics/{{topic}}/attachments"),
    Call("GET", f"{API}/events"),
)
WRITES = (
    Call("POST", f"{API}/_ping", {"echo": "hi"}),
    Call("POST", f"{API}/channels", {"name": "{new}", "description": "words"}, 201),
    Call("POST", f"{API}/topics", {"channel_id": "{channel}", "title": "{new}"}, 201),
    Call("PATCH", f"{API}/topics/{{topic}}", {"title": "{new}"}),
    Call("POST", f"{API}/messages", {"topic_id": "{topic}", "sender": "ann", "content_raw": "hi"}, 201),
    Call("PATCH", f"{API}/messages/{{message}}", {"op": "edit", "content_raw": "new"}),
    Call("PATCH", f"{API}/messages/{{message}}", {"op": "delete", "actor": "ann"}),
    Call("PATCH", f"{API}/messages/{{message}}", {"op": "move_topic", "to_topic_id": "{topic}", "mode": "one"}),
    Call(
        "POST",
        f"{API}/topics/{{topic}}/attachments",
        {"kind": "note", "key": "k", "value_json": {"a": 1}, "dedupe_key": "{new}", "source_message_id": "{message}"},
        201,
    ),
)


def unique(prefix: str = "name") -> str:
    """A name no other test uses."""
    return f"{prefix}-{next(_counter)}"


def new_channel(hub: Hub, name: str | None = None) -> str:
    """Create a channel; returns its id."""
    answer = hub.call("POST", f"{API}/channels", {"name": name or unique("channel")})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["channel"]["id"])


def new_topic(hub: Hub, channel_id: str | None = None, title: str | None = None) -> str:
    """Create a topic, in a channel of its own unless one is given; returns its id."""
    body = {"channel_id": channel_id or new_channel(hub), "title": title or unique("topic")}
    answer = hub.call("POST", f"{API}/topics", body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["topic"]["id"])


def new_message(hub: Hub, topic_id: str | None = None, content: str = "hi") -> dict[str, Any]:
    """Post a message, in a topic of its own unless one is given; returns the message."""
    return dict(hub.post(topic_id or new_topic(hub), content)["message"])


def new_place(hub: Hub) -> Place:
    """A channel with a topic with a message."""
    message = new_message(hub)
    return Place(message["channel_id"], message["topic_id"], message["id"])


def filled(template: Any, place: Place) -> Any:
    """The path or body of a Call with the ids of `place` and new names in it."""
    if isinstance(template, dict):
        return {key: filled(value, place) for key, value in template.items()}
    if not isinstance(template, str):
        return template
    for key, value in {**place._asdict(), "new": unique("new")}.items():
        template = template.replace(f"{{{key}}}", value)
    return template


def send(hub: Hub, call: Call, place: Place, body: Any = None, **kwargs: Any) -> Any:
    """Make the call, with `body` instead of the table's if given."""
    return hub.call(call.method, filled(call.path, place), filled(body or call.body, place), **kwargs)


def send_bytes(hub: Hub, call: Call, place: Place, data: Any, content_type: str = "application/json") -> Any:
    """Make the call with exactly these bytes as its body."""
    headers = {"Content-Type": content_type}
    return hub.call(call.method, filled(call.path, place), data=data, headers=headers)


def events_of(hub: Hub, **query: Any) -> list[dict[str, Any]]:
    """The events that match the query."""
    answer = hub.call("GET", f"{API}/events", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["events"])


def head(hub: Hub) -> int:
    """The latest event id."""
    return int(hub.call("GET", f"{API}/events?tail=1").json()["replay_until"])


def check_error(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The answer must be this error in the contract's shape; returns its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].split(";")[0] == "application/json"
    body = dict(answer.json())
    assert body["code"] == code
    assert isinstance(body["error"], str)
    assert body["error"]
    assert set(body) <= {"error", "code", "details"}
    return body
