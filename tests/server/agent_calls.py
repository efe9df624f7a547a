"""What the tests of agents share: calls, new agents with tokens, and who listens with one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from ..running_hub import Hub

ADMIN = ["read", "write", "admin"]


def call(hub: Hub, method: str, path: str, body: Any = None, token: str | None = None, status: int = 200) -> Any:
    more = {} if token is None else {"token": token}
    answer = hub.call(method, f"/api/v1{path}", body, **more)
    assert answer.status_code == status, answer.text
    return answer.json()


def unique(name: str) -> str:
    return f"{name}-{os.urandom(4).hex()}"


def made(hub: Hub, **more: Any) -> tuple[str, str]:
    """A new agent with a token that has `more`: its name and the token."""
    answer = call(hub, "POST", "/agents", {"name": unique("a")}, status=201)
    name = answer["agent"]["name"]
    if not more:
        return name, answer["token"]
    return name, call(hub, "POST", f"/agents/{name}/tokens", more, status=201)["token"]


def topic_in(hub: Hub) -> tuple[str, str]:
    channel = call(hub, "POST", "/channels", {"name": unique("c")}, status=201)["channel"]["id"]
    return channel, call(hub, "POST", "/topics", {"channel_id": channel, "title": "t"}, status=201)["topic"]["id"]


@contextmanager
def listen(hub: Hub, token: str, after: int | None = None, **subscriptions: Any) -> Iterator[Any]:
    headers = {"Authorization": f"Bearer {token}"}
    with connect(f"ws://127.0.0.1:{hub.port}/ws", additional_headers=headers) as socket:
        hello = {"type": "hello", "after_event_id": head(hub) if after is None else after}
        socket.send(json.dumps(hello | ({"subscriptions": subscriptions} if subscriptions else {})))
        assert json.loads(socket.recv(5))["type"] == "hello_ok"
        yield socket


def head(hub: Hub) -> int:
    return int(call(hub, "GET", "/events?tail=1")["replay_until"])


def post(hub: Hub, topic: str, token: str | None = None, text: str = "hi", sender: str | None = "s") -> Any:
    body = {"topic_id": topic, "content_raw": text} | ({} if sender is None else {"sender": sender})
    return call(hub, "POST", "/messages", body, token, 201)


def end_of(socket: Any) -> tuple[int, str]:
    """How the hub closes it, after whatever comes before."""
    try:
        while True:
            socket.recv(5)
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "")


def refused(hub: Hub, token: str) -> bool:
    answer = hub.call("GET", "/api/v1/whoami", token=token, headers={"Connection": "close"})
    assert answer.status_code in (200, 401)
    return answer.status_code == 401 and answer.json()["code"] == "INVALID_AUTH"
