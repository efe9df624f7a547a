"""What a peer sends: bytes in, whole messages and control frames out. wsproto does the parsing.

Limits that keep a hostile peer cheap: bytes and fragments of one message, control frames per second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import cast

from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed

from ... import wire

MAX_FRAGMENTS = 4096
MAX_CONTROL_PER_SECOND = 100


class Violation(Exception):
    """The peer broke a rule; `close` is what to close the socket with."""

    def __init__(self, close: wire.Close) -> None:
        super().__init__(close.reason)
        self.close = close


class Inbound:
    """The reader's parser; not thread-safe. After a violation it only looks for the peer's Close."""

    def __init__(self) -> None:
        self._protocol = FrameProtocol(client=False, extensions=[])
        self._parts: list[str | bytes] = []
        self._size = 0
        self._fragments = 0
        self._controls = 0
        self._second = 0
        self._ignoring = False
        self._broken = False

    def feed(self, data: bytes) -> Iterator[tuple[int, str | bytes | wire.Close]]:
        """Yield (TEXT or BINARY, message), (PING, payload), (PONG, payload) and (CLOSE, Close).

        Raises Violation once; what comes after it is ignored, but for the peer's Close.
        """
        if self._broken:
            return
        self._protocol.receive_bytes(data)
        try:
            for frame in self._protocol.received_frames():
                if frame.opcode is Opcode.CLOSE:
                    code, reason = cast(tuple[int, str], frame.payload)
                    yield wire.CLOSE, wire.Close(int(code), str(reason))
                elif not self._ignoring:
                    if frame.opcode in (Opcode.PING, Opcode.PONG):
                        self._count_control()
                        yield int(frame.opcode), bytes(frame.payload)  # type: ignore[arg-type]
                    else:
                        message = self._collect(frame.payload, frame.frame_finished, frame.message_finished)  # type: ignore[arg-type]
                        if message is not None:
                            yield int(frame.opcode), message
        except ParseFailed as error:
            self._broken = True
            if not self._ignoring:
                self._ignoring = True
                bad_text = error.code is CloseReason.INVALID_FRAME_PAYLOAD_DATA
                raise Violation(wire.INVALID_UTF8 if bad_text else wire.PROTOCOL_ERROR) from None

    def _collect(self, part: str | bytes, frame_finished: bool, finished: bool) -> str | bytes | None:
        self._size += len(part.encode() if isinstance(part, str) else part)
        self._fragments += frame_finished
        if self._size > wire.MAX_MESSAGE_BYTES:
            self._refuse(wire.TOO_LARGE)
        if self._fragments > MAX_FRAGMENTS:
            self._refuse(wire.TOO_MANY_FRAMES)
        self._parts.append(part)
        if not finished:
            return None
        message = b"".join(self._parts) if isinstance(part, bytes) else "".join(self._parts)  # type: ignore[arg-type]
        self._parts, self._size, self._fragments = [], 0, 0
        return message

    def _count_control(self) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._controls = second, 0
        self._controls += 1
        if self._controls > MAX_CONTROL_PER_SECOND:
            self._refuse(wire.TOO_MANY_FRAMES)

    def _refuse(self, close: wire.Close) -> None:
        self._ignoring = True
        self._parts = []
        raise Violation(close)
