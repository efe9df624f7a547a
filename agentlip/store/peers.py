"""The doorbells between the worker processes of one host that share a database file.

Each hub binds a datagram socket in a folder beside the database; who has committed, also a process
without a hub, sends one byte to all others.  A datagram says nothing but "look at the log": a doubled one does
nothing, a lost one costs the tailer's poll interval, so no failure here is worth an exception.

`ring` may be called from any thread or greenlet, also from native threads; the rest belongs to
the owner.  The descriptors are used under the native lock until `stop`, and closed after it.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from .. import concurrency
from ..errors import ThreadLimit
from ..workspace.folder import hand_over, is_own

# A change within the same tick of the file system's clock (10 ms; 2 s on the coarsest) leaves no trace in the mtime.
_TICK_NS = 2_000_000_000
_NAME = re.compile(r"\d+-[0-9a-f]{8}")
_UNFINISHED = ".new"
_MAX_DRAINED = 64
# Between two wake-ups: with several busy writers each look at the log then finds more than one commit.
_PAUSE_SECONDS = 0.001

logger = logging.getLogger("agentlip.store")


class Peers:
    """One process's doorbell, and the way to those of the others.

    It belongs to the process that starts it: make it after a fork. In a forked child it must not be
    used, not even stopped: the child shares its socket with the parent, who would go deaf.
    """

    def __init__(self, folder: Path, on_wake: Callable[[], None] | None) -> None:
        """`on_wake` is called on the listener's thread or greenlet and must not block; None: ring but do not listen."""
        self._folder = folder
        self._on_wake = on_wake
        self._name: str
        self._lock = concurrency.native_lock()
        self._ringing = False  # between `start` and `stop`, and only if the folder can be used
        self._directory: int
        self._socket: socket.socket
        self._others: list[str] = []
        self._listed_at: int | None = None  # the folder's mtime for which `_others` holds
        self._opened = ExitStack()  # closes what is open; again nothing happens
        self.tasks: list[concurrency.Task] = []  # the listener

    def start(self) -> None:
        """Be heard and listen. Under gevent call it on the event loop's thread. Never raises.

        Call it before the log is first read: then no commit can fall between the two. When the folder
        cannot be used a warning says so, and the process is alone.
        """
        try:
            self._open()
        except OSError as error:
            logger.warning("No wake-ups between processes through %s: %s", self._folder, error.strerror or error)
            self._opened.close()
            return
        self._ringing = True
        if self._on_wake is not None:
            try:
                self.tasks.append(concurrency.spawn(self._listen, self._on_wake))
            except ThreadLimit as error:
                logger.warning("No wake-ups from other processes: %s", error.details["reason"])
                self._be_deaf()

    def _be_deaf(self) -> None:
        """Ring without listening; the tailer's poll will do."""
        self._on_wake = None
        self._remove(self._name)

    def ring(self) -> None:
        """Wake the other processes' tailers; never blocks, never raises. One `fstat` when there are none."""
        with self._lock, suppress(OSError):
            if self._ringing:
                self._find_others()
                if self._others:
                    self._others = [name for name in self._others if self._reach(name)]

    def stop(self) -> None:
        """Be gone for the others, and end the listener, which closes the socket right after; does not wait for it."""
        with self._lock:
            if not self._ringing:
                return
            self._ringing = False
            if self._on_wake is not None:
                self._remove(self._name)
                self._socket.shutdown(socket.SHUT_RDWR)  # readable now and for good: this wakes the listener
                return
        self._opened.close()

    def _give_up(self) -> None:
        """There is no listener, or it has ended: be gone for the others, and close what is open."""
        self.stop()  # also waits, by the lock, for a `stop` or `ring` under way: nobody comes after it
        self._opened.close()

    def _open(self) -> None:
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        with suppress(FileExistsError):
            self._folder.mkdir(mode=0o700)
            hand_over(self._folder)
        self._directory = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._opened.callback(os.close, self._directory)
        if not is_own(os.fstat(self._directory), self._folder.parent):
            raise PermissionError(errno.EPERM, "other users may write there")
        self._socket = _native_datagram_socket()
        self._opened.callback(self._socket.close)
        if self._on_wake is not None:
            self._bind()

    def _bind(self) -> None:
        """Appear under a final name only when everything is ready.

        A bound socket can be sent to before anybody reads, so there is no time at which a visible peer
        is deaf. But `bind` itself makes the file a moment before the kernel finds the socket behind it (and
        before Linux 5.14 whoever lists the folder can come between): a send would be refused, and the file
        be taken for stale. Hence the rename.
        """
        os.fchmod(self._socket.fileno(), 0o600)  # before `bind`, which makes the file with this mode
        unfinished = self._name + _UNFINISHED
        self._opened.callback(self._remove, unfinished)
        self._socket.bind(self._address(unfinished))
        with suppress(OSError):  # at worst it is root's alone, and the others need not wake it
            hand_over(Path(unfinished), self._directory)
        os.rename(unfinished, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def _address(self, name: str) -> str:
        """A path of a socket in the folder that is short however deep the folder lies (the limit is 108 bytes)."""
        return f"/proc/self/fd/{self._directory}/{name}"

    def _find_others(self) -> None:
        """Bring `_others` up to date; reads the folder only when it has changed. The lock is held."""
        changed = os.fstat(self._directory).st_mtime_ns  # before the reading: a later change is seen next time
        if changed == self._listed_at:
            return
        names = os.listdir(self._directory)
        self._others = [name for name in names if name != self._name and _NAME.fullmatch(name)]
        settled = time.time_ns() - changed > _TICK_NS
        self._listed_at = changed if settled else None

    def _reach(self, name: str) -> bool:
        """Send to one peer; False when it is no longer there. The lock is held."""
        try:
            self._socket.sendto(b"\0", socket.MSG_DONTWAIT, self._address(name))
        except (ConnectionRefusedError, BrokenPipeError):
            # Nobody has it open any more, or its owner is stopping. Names are never used twice.
            self._remove(name)
            return False
        except FileNotFoundError:
            return False
        except OSError:
            pass  # EAGAIN, ENOBUFS: its queue is full, so it has wake-ups waiting; anything else: the poll will do
        return True

    def _listen(self, on_wake: Callable[[], None]) -> None:
        try:
            doorbell = select.poll()
            doorbell.register(self._socket, select.POLLIN)
            while doorbell.poll() and self._ringing:
                self._drain()
                on_wake()  # after the draining: a commit whose datagram was taken is seen by this one
                time.sleep(_PAUSE_SECONDS)
        except Exception:
            logger.exception("No more wake-ups from other processes")
        finally:
            self._give_up()

    def _drain(self) -> None:
        """Take what waits, but no endless flood: what is left wakes the listener again."""
        with suppress(BlockingIOError):
            for _ in range(_MAX_DRAINED):
                self._socket.recv(1, socket.MSG_DONTWAIT)

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            os.unlink(name, dir_fd=self._directory)


def _native_datagram_socket() -> socket.socket:
    """A non-blocking UNIX datagram socket whose calls go straight to the kernel, also under gevent."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    native = concurrency.native_socket(made)
    made.detach()  # the descriptor has one owner again
    native.setblocking(False)
    return native
