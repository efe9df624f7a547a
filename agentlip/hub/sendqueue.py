"""The bounded outbound queue of one socket.

While nothing waits, `offer` writes straight to the socket without blocking; what the kernel
refuses waits here, in order, for a flusher.  Items are blobs of whole frames, in whatever way the transport
frames, shared between sockets.  Nothing goes out between the two parts of a half-sent frame.

All methods may be called from any thread or greenlet and never block: the lock is native and is
held only over non-blocking writes.  Refusals are verdicts, not exceptions.
"""

from __future__ import annotations

import enum
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import ClassVar

from .. import concurrency

_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class Verdict(enum.Enum):
    SENT = "all bytes are with the kernel"
    FINISHED = "so is the Close frame: nothing follows"
    STALLED = "bytes wait and nobody flushes them: the caller must start a flusher"
    QUEUED = "bytes wait; the running flusher will send them"
    OVERFLOW = "the item does not fit and was not taken"
    CLOSED = "the queue takes nothing any more"


class SendQueue:
    """`write` sends what it can and returns the number of bytes; BlockingIOError: none now, other OSError: broken.

    A write that took part of a blob may hold its next byte too (server.stream): that byte always follows.
    A transport says in a subclass how its frames end.
    """

    __slots__ = (
        "_bytes", "_closed", "_control", "_events", "_flushing", "_items", "_lock", "_max_bytes", "_max_events",
        "_offset", "_write", "error",
    )  # fmt: skip

    last_words: ClassVar[bytes] = b""  # tried after an error that is not the loss of the peer

    @staticmethod
    def ends(blob: bytes) -> Iterator[int]:
        """The offsets at which the whole frames of `blob` end, ascending; the last is its length."""
        yield len(blob)

    def __init__(self, write: Callable[[bytes | memoryview, int], int], max_events: int, max_bytes: int) -> None:
        self._write = write
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._lock = concurrency.native_lock()
        self._items: deque[tuple[bytes, int]] | None = None  # (blob, events in it); made when first needed
        self._offset = 0  # bytes of the first item already sent
        self._events = 0
        self._bytes = 0
        self._control: bytes | None = None
        self._flushing = False
        self._closed = False
        self.error: OSError | None = None

    def offer(self, blob: bytes, events: int) -> Verdict:
        """Take a blob of `events` whole frames. An empty queue takes one blob of any size."""
        with self._lock:
            if self._closed:
                return Verdict.CLOSED
            if not self._items and not self._flushing:
                return self._send_or_queue(blob, events)
            if self._items and (self._events + events > self._max_events or self._bytes + len(blob) > self._max_bytes):
                return Verdict.OVERFLOW
            self._append(blob, events)
            return Verdict.QUEUED

    def control(self, frame: bytes) -> Verdict:
        """Send a ping or pong; behind waiting data only the latest one is kept (RFC 6455, 5.5.3)."""
        with self._lock:
            if self._closed:
                return Verdict.CLOSED
            if not self._items and not self._flushing:
                return self._send_or_queue(frame, 0)
            self._control = frame
            return Verdict.QUEUED

    def flush(self) -> Verdict:
        """Send what the kernel takes; SENT or FINISHED when nothing is left. Only the flusher calls it."""
        with self._lock:
            while self._items or self._control:
                if self._control and not self._offset:
                    self._append(self._control, 0, first=True)
                    self._control = None
                assert self._items is not None
                blob, events = self._items[0]
                try:
                    sent = self._write(memoryview(blob)[self._offset :], _FLAGS)
                except BlockingIOError:
                    return Verdict.QUEUED
                except OSError as error:
                    return self._broken(error)
                self._offset += sent
                self._bytes -= sent
                if self._offset < len(blob):
                    return Verdict.QUEUED
                self._items.popleft()
                self._offset = 0
                self._events -= events
            if self.error is not None:
                return Verdict.CLOSED
            return Verdict.FINISHED if self._closed else Verdict.SENT

    def finish_flush(self) -> bool:
        """End the flusher's turn; False when something came in meanwhile and it must go on."""
        with self._lock:
            if self._items or self._control:
                return False
            self._flushing = False
            return True

    def abandon(self) -> None:
        """There is no flusher, or it ends before its time: take nothing more."""
        with self._lock:
            self._closed = True
            self._flushing = False

    def close(self, frame: bytes) -> Verdict:
        """Drop what waits, but for the rest of a half-sent frame, and send the Close frame last."""
        with self._lock:
            if self._closed:
                return Verdict.CLOSED
            self._closed = True
            self._control = None
            rest = self._half_sent()
            if self._items:
                self._items.clear()
            self._offset = self._events = self._bytes = 0
            if self._flushing:
                self._append(rest + frame, 0)
                return Verdict.QUEUED
            return self._send_or_queue(rest + frame, 0)

    def discard(self) -> None:
        """Forget everything; nothing is written after this returns."""
        with self._lock:
            self._closed = True
            self._control = None
            self._items = None
            self._offset = self._events = self._bytes = 0
            self._write = _refuse

    @property
    def is_empty(self) -> bool:
        return not self._items

    @property
    def is_flushing(self) -> bool:
        """Whether a flusher runs, or is about to."""
        return self._flushing

    def _send_or_queue(self, blob: bytes, events: int) -> Verdict:
        try:
            sent = self._write(blob, _FLAGS)
            if sent == len(blob):
                return Verdict.FINISHED if self._closed else Verdict.SENT
        except BlockingIOError:
            sent = 0
        except OSError as error:
            return self._broken(error)
        self._append(blob, events)
        self._offset = sent
        self._bytes -= sent
        self._flushing = True
        return Verdict.STALLED

    def _append(self, blob: bytes, events: int, first: bool = False) -> None:
        if self._items is None:
            self._items = deque()
        if first:
            self._items.appendleft((blob, events))
        else:
            self._items.append((blob, events))
        self._events += events
        self._bytes += len(blob)

    def _half_sent(self) -> bytes:
        if not self._items or not self._offset:
            return b""
        blob = self._items[0][0]
        end = next(end for end in self.ends(blob) if end > self._offset)
        return blob[self._offset : end]

    def _broken(self, error: OSError) -> Verdict:
        """Give up. A lost peer needs no Close; after another error one is tried, but never inside a frame."""
        if not isinstance(error, ConnectionError) and not self._offset and not self._closed:
            with suppress(OSError):
                self._write(self.last_words, _FLAGS)
        self.error = error
        self._closed = True
        self._items = None
        self._control = None
        return Verdict.CLOSED


def _refuse(_data: bytes | memoryview, _flags: int) -> int:
    raise BrokenPipeError
