"""A change whose answer is lost: the client sends it again under its key, but only to hubs that then make it once."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from agentlip.client import AsyncHubClient, HubClient, OutcomeUnknown
from agentlip.errors import InvalidInput

from ..running_hub import TOKEN, Hub, eventually
from ..server.calls import new_topic, unique
from .odd_server import serving

_SIGN = rb"Idempotency-Keys: accepted\r\n"


class Relay:
    """Between client and hub: it passes calls on, and withholds the answers to the first `lost` changes."""

    def __init__(self, hub: Hub, lost: int = 1, *, says_nothing_of_keys: bool = False) -> None:
        self._hub, self._lost, self._hides = hub, lost, says_nothing_of_keys
        self.changes: list[bytes] = []  # the key of each
        self.reads = 0

    def __call__(self, sock: socket.socket) -> None:
        sock.settimeout(20)
        asked = _request(sock)
        if not asked:
            return
        with socket.create_connection(("127.0.0.1", self._hub.port), 20) as hub:
            hub.sendall(asked.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            answer = b"".join(iter(lambda: hub.recv(65536), b""))
        if asked.startswith(b"GET"):
            self.reads += 1
        else:
            self.changes += re.findall(rb"Idempotency-Key: (\S+)", asked)
            if len(self.changes) <= self._lost:
                return
        sock.sendall(re.sub(_SIGN, b"", answer) if self._hides else answer)


def _request(sock: socket.socket) -> bytes:
    """One request with its body."""
    data = b""
    while b"\r\n\r\n" not in data or len(data) < _size(data):
        piece = sock.recv(65536)
        if not piece:
            return b""
        data += piece
    return data


def _size(data: bytes) -> int:
    length = re.search(rb"Content-Length: (\d+)", data)
    return data.index(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)


def posted(hub: Hub, topic_id: str) -> list[str]:
    with HubClient(hub.url, TOKEN) as client:
        return [message.content_raw for message in client.messages(topic_id=topic_id).messages]


@pytest.mark.parametrize("before", ["nothing was asked before", "a call was answered before"])
@pytest.mark.parametrize("lost", [1, 3])
def test_a_lost_answer_is_asked_for_again(hub: Hub, before: str, lost: int) -> None:
    topic_id, relay = new_topic(hub), Relay(hub, lost)
    with serving(relay) as url, HubClient(url, TOKEN) as client:
        if before.startswith("a call"):
            client.channels()
        answer = client.post_message(topic_id, "ann", "once")
    assert answer.message.content_raw == "once"
    assert posted(hub, topic_id) == ["once"]
    assert len(relay.changes) == lost + 1
    assert len(set(relay.changes)) == 1


def test_and_so_it_is_for_asyncio(hub: Hub) -> None:
    topic_id, relay = new_topic(hub), Relay(hub)

    async def post(url: str) -> Any:
        async with AsyncHubClient(url, TOKEN) as client:
            return await client.post_message(topic_id, "ann", "once")

    with serving(relay) as url:
        assert asyncio.run(post(url)).message.topic_id == topic_id
    assert posted(hub, topic_id) == ["once"]


def test_each_change_has_a_key_of_its_own(hub: Hub) -> None:
    topic_id, relay = new_topic(hub), Relay(hub, 0)
    with serving(relay) as url, HubClient(url, TOKEN) as client:
        for _ in range(2):
            client.post_message(topic_id, "ann", "twice")
    assert posted(hub, topic_id) == ["twice", "twice"]
    assert len(set(relay.changes)) == 2
    assert all(re.fullmatch(rb"[!-~]{1,255}", key) for key in relay.changes)


def test_a_hub_that_knows_no_keys_is_asked_once(hub: Hub) -> None:
    topic_id, relay = new_topic(hub), Relay(hub, says_nothing_of_keys=True)
    with serving(relay) as url, HubClient(url, TOKEN) as client:
        client.channels()
        with pytest.raises(OutcomeUnknown):
            client.post_message(topic_id, "ann", "once")
    assert posted(hub, topic_id) == ["once"]
    assert len(relay.changes) == 1


def test_a_refusal_the_second_time_is_the_answer(hub: Hub) -> None:
    name, relay = unique("channel"), Relay(hub)
    hub.call("POST", "/api/v1/channels", {"name": name})
    with serving(relay) as url, HubClient(url, TOKEN) as client, pytest.raises(InvalidInput, match="already exists"):
        client.create_channel(name)
    assert len(relay.changes) == 2


def test_a_hub_that_is_killed_after_the_commit_and_comes_back(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    topic_id = new_topic(hub)
    relay = Relay(hub, 1000)
    with serving(relay) as url, HubClient(url, TOKEN) as client, ThreadPoolExecutor(1) as pool:
        client.channels()
        waiting = pool.submit(client.post_message, topic_id, "ann", "once")
        newest = "SELECT count(*) FROM messages"
        with closing(sqlite3.connect(hub.db, timeout=10)) as watching:
            eventually(lambda: watching.execute(newest).fetchone()[0] == 1, what="the commit")
        hub.stop(signal.SIGKILL)
        hub.start()
        relay._lost = 0
        assert waiting.result(20).message.content_raw == "once"
    assert posted(hub, topic_id) == ["once"]


def test_under_another_token_the_key_would_be_a_new_one(hub: Hub) -> None:
    """A workspace's hub that comes back with another token is not asked again."""
    topic_id = new_topic(hub)
    with HubClient(hub.url, TOKEN) as client:
        client.channels()
        first, unknown = client._address, OutcomeUnknown()
        client._address = replace(first, token="another-token-0123456789abcdef01234567")
        asked = ("POST", "/api/v1/messages", [], {"topic_id": topic_id, "sender": "a", "content_raw": "b"}, "key")
        with pytest.raises(OutcomeUnknown):
            client._send_again(first, asked, unknown)
    assert posted(hub, topic_id) == []
