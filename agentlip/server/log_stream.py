"""Where a hub's lines go: a descriptor that is written to without ever waiting for its reader.

A pipe that nobody reads would otherwise stop the event loop, and with it the end of the process.  What the kernel
does not take is kept, up to a limit; beyond it whole lines are dropped, counted, and told of once there is room.
Files are written as ever.
"""

from __future__ import annotations

import atexit
import fcntl
import io
import os
import select
import shutil
import socket
import stat
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import orjson

from .. import concurrency
from ..model import timestamp

KEPT_BYTES = 1 << 20
# A log of our own begins anew at this size; the lines so far are kept in one older file.
FILE_BYTES = 8 << 20
_LOOK_BYTES = 256 * 1024
_PIECE = 4096  # a pipe that is ready takes at least so much
_EXIT_SECONDS = 0.3
_LOCK_SECONDS = 0.5


class LogWriter:
    """Takes bytes, one or more whole lines at a time; from any thread or greenlet, never blocks, never raises."""

    def __init__(self, descriptor: int, own_file: Path | None = None) -> None:
        """`own_file` is limited in size when the descriptor is that file."""
        self.descriptor = descriptor
        self._lock = concurrency.native_lock()
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self.dropped = 0
        self._take: Callable[[bytes], int] | None = None  # found out at the first line: gunicorn may go another way yet
        self._opened = ExitStack()
        self._own_file = own_file if own_file is not None and _is_file(descriptor, own_file) else None
        self._until_look = 0
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self._finish)

    def write(self, data: bytes) -> None:
        # Within a signal handler the lock may be held by the code that it interrupts.
        if not self._lock.acquire(timeout=_LOCK_SECONDS):
            self.dropped += 1
            return
        try:
            self._write_kept()
            if self._kept_bytes + len(data) > KEPT_BYTES:
                self.dropped += 1
            elif left := data[0 if self._kept else self._taken(data) :]:
                self._kept.append(left)
                self._kept_bytes += len(left)
            self._limit_file(len(data))
        finally:
            self._lock.release()

    def flush(self) -> None:
        """Try again to write what is kept."""
        if self._kept and self._lock.acquire(timeout=_LOCK_SECONDS):
            try:
                self._write_kept()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Give back what was opened to write; the descriptor itself is its maker's."""
        with self._lock:
            self._opened.close()
            self._take = None

    def _write_kept(self) -> None:
        """The lock is held."""
        while self._kept:
            taken = self._taken(self._kept[0])
            self._kept_bytes -= taken
            if taken < len(self._kept[0]):
                self._kept[0] = self._kept[0][taken:]
                return
            self._kept.popleft()
        if self.dropped:
            dropped, self.dropped = self.dropped, 0
            words = f"{dropped} lines of the log were dropped: nobody read them"
            line = {"ts": timestamp(time.time_ns() // 1_000_000), "level": "warning", "logger": "agentlip.log"}
            self._kept.append(orjson.dumps(line | {"message": words}, option=orjson.OPT_APPEND_NEWLINE))
            self._kept_bytes += len(self._kept[0])
            self._write_kept()

    def _taken(self, data: bytes) -> int:
        """How many of the bytes are gone; those that can never be written are."""
        try:
            if self._take is None:
                self._take = _way_to_write(self.descriptor, self._opened)
            return self._take(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)  # a full disk, a reader or a terminal that is gone

    def _limit_file(self, size: int) -> None:
        """Copy and cut: all processes of the hub have the file open, and append to it."""
        self._until_look -= size
        if self._own_file is None or self._until_look > 0:
            return
        self._until_look = _LOOK_BYTES
        with suppress(OSError):
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                if os.fstat(self.descriptor).st_size > FILE_BYTES:
                    older = self._own_file.with_name(self._own_file.name + ".1")
                    shutil.copyfile(self._own_file, older)
                    older.chmod(0o600)
                    os.ftruncate(self.descriptor, 0)
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def _forget(self) -> None:
        """In a forked child: what is kept is the parent's."""
        self._lock = concurrency.native_lock()
        self._kept.clear()
        self._kept_bytes = self.dropped = 0

    def _finish(self) -> None:
        deadline = time.monotonic() + _EXIT_SECONDS
        while self._kept and time.monotonic() < deadline:
            self.flush()
            concurrency.native_sleep(0.01)


class LogStream(io.TextIOBase):
    """A LogWriter as a text stream, to stand for `sys.stderr`; each `write` should be whole lines."""

    encoding = "utf-8"

    def __init__(self, writer: LogWriter) -> None:
        self.buffer = writer

    def write(self, text: str) -> int:
        self.buffer.write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        self.buffer.flush()

    def fileno(self) -> int:
        return self.buffer.descriptor

    def isatty(self) -> bool:
        return os.isatty(self.buffer.descriptor)

    def writable(self) -> bool:
        return True


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _way_to_write(descriptor: int, opened: ExitStack) -> Callable[[bytes], int]:
    """A function that writes some of the bytes and returns how many; BlockingIOError when none can be now."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        made = socket.socket(fileno=os.dup(descriptor))
        native = concurrency.native_socket(made)
        made.detach()
        opened.callback(native.close)
        return lambda data: native.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        return lambda data: os.write(descriptor, data)
    try:
        # Opened anew: not to wait is a property of an open file, which others share with us.
        ours = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return lambda data: _write_if_ready(descriptor, data)
    opened.callback(os.close, ours)
    return lambda data: os.write(ours, data)


def _write_if_ready(descriptor: int, data: bytes) -> int:
    """For a pipe that another user has made. Only one who writes at the same moment could still make this wait."""
    poll = concurrency.native_poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(descriptor, data[:_PIECE])
