"""A reader of server-sent events over a plain socket, as the HTML standard parses them."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ..running_hub import TOKEN
from .raw_http import dial, head


class Told(NamedTuple):
    id: str
    name: str
    data: Any


class EventReader:
    """A stream that has begun; `receive_buffer` makes the kernel hold little of what is not read."""

    def __init__(
        self,
        port: int,
        query: str = "",
        *lines: str,
        prefix: str = "",
        receive_buffer: int | None = None,
        token: str | None = TOKEN,
    ):
        self.sock = dial(port, receive_buffer)
        self._buffer = b""
        self.sock.sendall(head("GET", f"{prefix}/api/v1/events/stream?{query}", *lines, token=token))
        self.status, *self.lines = self._until(b"\r\n\r\n").decode().split("\r\n")

    def __enter__(self) -> EventReader:
        return self

    def __exit__(self, *_error: object) -> None:
        self.sock.close()

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(self._buffer)
            self._buffer += data
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def block(self) -> str:
        """The next block of lines, as it came."""
        return self._until(b"\n\n").decode()

    def read(self, *skipped: str) -> Told:
        """The next event that is none of the skipped names."""
        while True:
            fields: dict[str, list[str]] = {}
            for line in self.block().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
                field, _, value = line.partition(": ")
                fields.setdefault(field, []).append(value)
            if "data" in fields and fields["event"][-1] not in skipped:
                data = "\n".join(fields["data"])
                return Told(fields.get("id", [""])[-1], fields["event"][-1], json.loads(data))

    def ids(self, last: int) -> list[int]:
        """The ids of the events up to this one."""
        seen: list[int] = []
        while not seen or seen[-1] < last:
            told = self.read("heartbeat")
            assert int(told.id) == told.data["event_id"]
            seen.append(int(told.id))
        return seen
