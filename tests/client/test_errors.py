"""What goes wrong has a class: the hub's own errors, no hub there, a stranger there, and an unknown outcome."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agentlip import errors
from agentlip.client import AsyncHubClient, HubClient, HubUnreachable, OutcomeUnknown
from agentlip.client.errors import _classes, error_of

from ..running_hub import TOKEN, Hub, eventually
from .odd_server import HTML, answer, raw, serving, silent
from .poster import kill

GET, POST = (lambda client: client.channels()), (lambda client: client.create_channel("x"))
# Of a complete answer of 100 bytes, not all comes.
_CUT = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"channels":['


class Room:
    """A hub with two channels, a topic in each, and a message."""

    def __init__(self, hub: Hub) -> None:
        self.client = HubClient(hub.url, TOKEN)
        self.channel, self.topic = hub.make_topic("one")
        _, self.elsewhere = hub.make_topic("two")
        self.second = self.client.create_topic(self.channel, "second").topic.id
        self.message = hub.post(self.topic)["message"]["id"]


@pytest.fixture(scope="module")
def furnished(hub: Hub) -> Room:
    return Room(hub)


@pytest.fixture
def room(furnished: Room) -> Iterator[Room]:
    yield furnished
    furnished.client.close()  # what it keeps open; later calls open new ones


REFUSALS: dict[str, tuple[Callable[[Room], Any], type[errors.AgentlipError]]] = {
    "empty name": (lambda room: room.client.create_channel(""), errors.InvalidInput),
    "duplicate name": (lambda room: room.client.create_channel("one"), errors.AlreadyExists),
    "duplicate title": (lambda room: room.client.create_topic(room.channel, "hello"), errors.AlreadyExists),
    "taken title": (lambda room: room.client.rename_topic(room.second, "hello"), errors.AlreadyExists),
    "blank name": (lambda room: room.client.create_channel(" "), errors.InvalidInput),
    "no filter": (lambda room: room.client.messages(), errors.InvalidInput),
    "NUL": (lambda room: room.client.create_topic(room.channel, "a\0b"), errors.InvalidInput),
    "surrogate": (lambda room: room.client.post_message(room.topic, "me", "\ud800"), errors.InvalidInput),
    "odd number": (lambda room: room.client.events(-1), errors.InvalidInput),
    "other channel": (lambda room: room.client.move(room.message, room.elsewhere), errors.CrossChannelMove),
    "no such channel": (lambda room: room.client.topics("ch_none"), errors.NotFound),
    "no such topic": (lambda room: room.client.post_message("topic_none", "me", "hi"), errors.NotFound),
    "no such message": (lambda room: room.client.edit("msg_none", "hi"), errors.NotFound),
    "an id as a path": (lambda room: room.client.attachments("../messages/a?b#c"), errors.NotFound),
    "version": (lambda room: room.client.edit(room.message, "x", expected_version=9), errors.VersionConflict),
    "content": (lambda room: room.client.post_message(room.topic, "me", "x" * 70000), errors.PayloadTooLarge),
    "body": (lambda room: room.client.post_message(room.topic, "me", "x" * 5_000_000), errors.PayloadTooLarge),
}


@pytest.mark.parametrize(("call", "kind"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(room: Room, call: Callable[[Room], Any], kind: type[errors.AgentlipError]) -> None:
    with pytest.raises(kind) as caught:
        call(room)
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.status) == (kind.code, kind.status)
    assert str(caught.value) == caught.value.message


def test_a_conflict_tells_the_versions(room: Room) -> None:
    with pytest.raises(errors.VersionConflict) as caught:
        room.client.delete(room.message, "me", expected_version=7)
    assert caught.value.details == {"current": 1, "expected": 7}


def test_what_exists_is_named(room: Room) -> None:
    for call, existing in (
        ("duplicate name", room.channel),
        ("duplicate title", room.topic),
        ("taken title", room.topic),
    ):
        with pytest.raises(errors.AlreadyExists) as caught:
            REFUSALS[call][0](room)
        assert caught.value.existing_id == existing


def test_tokens(hub: Hub) -> None:
    for token, kind in ((None, errors.MissingAuth), ("wrong", errors.InvalidAuth)):
        for call in (GET, POST):
            with pytest.raises(errors.MissingAuth) as caught, HubClient(hub.url, token) as client:
                call(client)
            assert type(caught.value) is kind


def test_a_hub_with_limits(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(RATE_LIMITS="on", RATE_LIMIT_PER_CLIENT=3)
    with HubClient(hub.url, TOKEN, rate_limit_wait=0) as client, pytest.raises(errors.RateLimited) as caught:
        list(map(client.ping, range(50)))
    assert caught.value.details["limit"] == 3
    assert int(caught.value.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("kind", [*_classes(errors.AgentlipError)], ids=lambda kind: kind.__name__)
def test_every_error_of_a_hub_has_its_class(kind: type[errors.AgentlipError]) -> None:
    """Of its kind; the most general one where several have its code and status."""
    above = [each for each in reversed(kind.__mro__) if issubclass(each, errors.AgentlipError)][1:]
    same = [each for each in above if (each.code, each.status) == (kind.code, kind.status)]
    wanted = kind if kind is errors.AlreadyExists else (same or [errors.InternalError])[0]
    reason = "ALREADY_EXISTS" if kind is errors.AlreadyExists else "r"
    body = {"error": "so", "code": kind.code, "details": {"reason": reason, "retry_after": 3, "id": "x"}}
    made = error_of(kind.status, body, {"Allow": "GET"})
    assert type(made) is wanted
    assert (str(made), made.code, made.status, made.details) == ("so", kind.code, kind.status, body["details"])
    assert "\n" not in repr(dict(made.headers))


def test_an_error_of_a_later_version() -> None:
    made = error_of(418, {"code": "TEAPOT", "details": "none"}, {})
    assert type(made) is errors.AgentlipError
    assert (made.code, made.status, made.details, str(made)) == ("TEAPOT", 418, {}, "The hub answered 418")
    assert type(error_of(422, {"code": "INVALID_INPUT"}, {})) is errors.InvalidInput
    nameless = {"code": "INVALID_INPUT", "details": {"reason": "ALREADY_EXISTS"}}
    assert type(error_of(400, nameless, {})) is errors.InvalidInput


STRANGERS = {
    "html": (answer(200), HubUnreachable, OutcomeUnknown),
    "404": (answer(404), HubUnreachable, HubUnreachable),
    "redirect": (answer(301), HubUnreachable, HubUnreachable),
    "502": (answer(502), HubUnreachable, OutcomeUnknown),
    "a list": (answer(200, b"[]", "application/json"), HubUnreachable, OutcomeUnknown),
    "another object": (answer(200, b'{"channels": 5}', "application/json"), HubUnreachable, OutcomeUnknown),
    "cut": (raw(_CUT), HubUnreachable, OutcomeUnknown),
    "closed": (raw(b""), HubUnreachable, OutcomeUnknown),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), HubUnreachable, OutcomeUnknown),
}


@pytest.mark.parametrize(("serve", "for_get", "for_post"), STRANGERS.values(), ids=STRANGERS)
def test_strangers(serve: Any, for_get: type[Exception], for_post: type[Exception]) -> None:
    with serving(serve) as url:
        for call, kind in ((GET, for_get), (POST, for_post)):
            with pytest.raises(HubUnreachable) as caught, HubClient(url, TOKEN) as client:
                call(client)
            assert type(caught.value) is kind
            assert_no_token(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(413, errors.PayloadTooLarge), (414, errors.UriTooLong), (429, errors.RateLimited), (431, errors.HeadersTooLarge)],
)
def test_a_proxy_that_refuses(status: int, kind: type[errors.AgentlipError]) -> None:
    """Nothing was done, and it says what is wrong with the call."""
    with serving(answer(status)) as url:
        for call in (GET, POST):
            with pytest.raises(kind) as caught, HubClient(url, TOKEN, rate_limit_wait=0) as client:
                call(client)
            assert type(caught.value) is kind
            assert caught.value.status == status


_SILENT_STORAGE = answer(
    503,
    b'{"error":"Service unavailable","code":"SERVICE_UNAVAILABLE","details":{"reason":"the storage does not answer"}}',
    "application/json",
)


def test_a_storage_that_does_not_answer_leaves_a_change_unknown() -> None:
    with serving(_SILENT_STORAGE) as url, HubClient(url, TOKEN) as client:
        for call, kind in ((GET, errors.ServiceUnavailable), (POST, OutcomeUnknown)):
            with pytest.raises(errors.AgentlipError) as caught:
                call(client)
            assert type(caught.value) is kind


def test_and_so_it_does_for_asyncio() -> None:
    async def create(url: str) -> None:
        async with AsyncHubClient(url, TOKEN) as client:
            await client.create_channel("x")

    with serving(_SILENT_STORAGE) as url, pytest.raises(OutcomeUnknown, match="may or may not be made"):
        asyncio.run(create(url))


def test_a_server_that_never_answers() -> None:
    with silent() as url, HubClient(url, TOKEN, timeout=0.3) as client:
        for call, kind in ((GET, HubUnreachable), (POST, OutcomeUnknown)):
            began = time.monotonic()
            with pytest.raises(HubUnreachable) as caught:
                call(client)
            assert type(caught.value) is kind
            assert 0.2 < time.monotonic() - began < 0.6  # one attempt, also for a GET


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for call in (GET, POST):
        with pytest.raises(HubUnreachable) as caught, HubClient(f"http://127.0.0.1:{port}", TOKEN) as client:
            call(client)
        assert type(caught.value) is HubUnreachable
        assert str(caught.value) == f"No hub answers at http://127.0.0.1:{port}"
        assert_no_token(caught.value)


def test_no_tls_there() -> None:
    with (
        serving(answer(200)) as url,
        HubClient(url.replace("http", "https"), TOKEN) as client,
        pytest.raises(HubUnreachable) as caught,
    ):
        POST(client)
    assert type(caught.value) is HubUnreachable  # the change was never sent


def waits_unread(port: int) -> bool:
    """Whether bytes have come to the port that its process has not read."""
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(
        each[1].endswith(f":{port:04X}") and each[3] == "01" and not each[4].endswith(":00000000") for each in sockets
    )


def test_a_hub_that_is_killed_and_comes_back(start_hub: Callable[..., Hub]) -> None:
    """First with no call under way, then with one: a stopped worker has it in hand."""
    hub = start_hub()
    with HubClient(hub.url, TOKEN) as client:
        POST(client)
        kill(hub)
        with pytest.raises(HubUnreachable) as caught:
            POST(client)
        assert type(caught.value) is HubUnreachable
        hub.settings["PORT"] = hub.port
        hub.start()
        assert [each.name for each in GET(client)] == ["x"]
        for worker in hub.workers():
            os.kill(worker, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(POST, client)
            eventually(lambda: waits_unread(hub.port), 5, "the request")
            hub.stop(signal.SIGKILL)
            assert type(waiting.exception(10)) is OutcomeUnknown
    hub.start()


@pytest.mark.parametrize("base", ["/hub", "/a/b/"])
def test_a_path_before_the_hub(base: str) -> None:
    """The request names the path alone, as every server understands it."""
    lines: list[str] = []

    def serve(sock: socket.socket) -> None:
        lines.append(sock.recv(65536).split(b"\r\n")[0].decode())
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" + b'{"channels":[]}')

    with serving(serve) as url, HubClient(url + base) as client:
        assert GET(client) == []
    assert lines == [f"GET {base.rstrip('/')}/api/v1/channels HTTP/1.1"]


BAD_URLS = [
    "", "127.0.0.1:8787", "ftp://host", "http://", "http://u:p@host", "http://host?x=1", "http://host#a",
    "http://ho st", "http://host/\n", "http://host:99999", "http://host:x", "ws://host", "http://[::1", "http://hüb",
]  # fmt: skip


@pytest.mark.parametrize("url", BAD_URLS)
def test_bad_urls(url: str) -> None:
    with pytest.raises(errors.ConfigError):
        HubClient(url)


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "ü", "a\r\nX: y"])
def test_bad_tokens(token: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        HubClient("http://127.0.0.1", token)
    assert not token or token not in str(caught.value)


def test_urls_are_put_in_order() -> None:
    assert HubClient("HTTP://host:1/a/").url == "http://host:1/a"
    assert HubClient("https://host/").url == "https://host"


def test_the_token_is_told_nowhere(hub: Hub) -> None:
    client = HubClient(hub.url, TOKEN)
    stream = client.stream()
    assert TOKEN not in repr(client) + str(client) + repr(client._address) + repr(stream)


def assert_no_token(error: BaseException) -> None:
    text = "".join(traceback.format_exception(error)) + repr(error)
    cause: BaseException | None = error
    while cause is not None:
        text += repr(cause) + json.dumps(repr(vars(cause)))
        cause = cause.__cause__ or cause.__context__
    assert TOKEN not in text
    assert HTML.decode() not in text
