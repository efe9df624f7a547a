"""A hub as the original is on the WebSocket: it knows the token as `?token=` alone, and refuses in plain text."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

TOKEN = "a/token?with&odd=signs%20+0123456789"


class OriginalHub:
    """`paths` are those that were asked for; it sends the events 1 to `count` to everybody, and keeps the link."""

    def __init__(self, server: Server, paths: list[str]) -> None:
        self.paths = paths
        self.url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"


@contextlib.contextmanager
def original_hub(count: int = 3, token: str = TOKEN) -> Iterator[OriginalHub]:
    paths: list[str] = []

    def admit(connection: ServerConnection, request: Request) -> Response | None:
        paths.append(request.path)
        shown = parse_qs(urlsplit(request.path).query).get("token")
        return None if shown == [token] else connection.respond(HTTPStatus.UNAUTHORIZED, "Unauthorized")

    def handle(connection: ServerConnection) -> None:
        after = json.loads(connection.recv())["after_event_id"]
        connection.send(json.dumps({"type": "hello_ok", "replay_until": count, "instance_id": "x"}))
        for number in range(after + 1, count + 1):
            scope = {"channel_id": "ch_1", "topic_id": None, "topic_id2": None}
            entity = {"type": "channel", "id": "ch_1"}
            event = {"event_id": number, "ts": "t", "name": "channel.created", "scope": scope, "entity": entity}
            connection.send(json.dumps({"type": "event", "data": {}, **event}))
        with contextlib.suppress(Exception):
            connection.recv()

    with serve(handle, "127.0.0.1", 0, process_request=admit, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield OriginalHub(server, paths)
        finally:
            server.shutdown()
            thread.join(5)
