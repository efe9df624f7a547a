"""The send queue and the transport over real socket pairs, in one process: each step is stopped where it matters.

What stops inside of `send` stops the whole thread, on greenlets as well: a native lock is held there.

The same tests run on threads and, in a process of their own, on greenlets; some over TLS, too.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from agentlip import concurrency, create_app, wire
from agentlip.hub.sendqueue import Verdict
from agentlip.hub.session import Session
from agentlip.server.websocket.stream import TcpStream, TlsStream, stream_of
from agentlip.server.websocket.transport import SocketTransport

from ..running_hub import ROOT, eventually
from .raw_socket import CLOSE
from .raw_socket import frame as client_frame

start_thread = concurrency.original("_thread", "start_new_thread")  # a real one on greenlets, too
BIG = wire.frame(wire.TEXT, b"x" * 300_000)
BYE = wire.SHUTTING_DOWN


class OddStream(TcpStream):
    """A stream whose `send` does what the test says at each call; without a word it is the real one."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._really = self.send
        self.send = self._oddly
        self.calls = 0
        self.how: Callable[[int, Callable[[int], int], int], int] = lambda _call, really, size: really(size)

    def _oddly(self, data: bytes | memoryview, flags: int) -> int:
        self.calls += 1
        return self.how(self.calls, lambda size: self._really(data[:size], flags), len(data))


class Line:
    """A session on a transport on one end of a connection, and the peer at the other."""

    def __init__(self, hub: Any, stream: TcpStream, peer: socket.socket) -> None:
        self.stream, self.peer = stream, peer
        self.transport = SocketTransport(stream, hub.settings)
        self.session: Session = hub.open(self.transport)
        self._reader = threading.Thread(target=self._read, args=(hub,))
        self._reader.start()
        peer.settimeout(10)

    def _read(self, hub: Any) -> None:
        try:
            self.transport.run(self.session)
        finally:
            self.transport.finish()
            hub.leave(self.session)

    def offer(self, blob: bytes, events: int = 1) -> Verdict:
        verdict = self.transport.offer(blob, events)
        if verdict is not Verdict.SENT:
            self.transport.settle(verdict)
        return verdict

    def receive(self, count: int) -> bytes:
        said = b""
        while len(said) < count:
            said += self.peer.recv(count - len(said))
        return said

    def received(self) -> bytes:
        """All that the peer gets up to the end of the connection."""
        said = b""
        with contextlib.suppress(ConnectionError):
            while data := self.peer.recv(65536):
                said += data
        return said

    def ended(self, seconds: float = 10) -> None:
        self._reader.join(seconds)
        assert not self._reader.is_alive(), "the reader goes on"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Any]:
    app = create_app({"AGENTLIP_DB": str(tmp_path / "db.sqlite3"), "AGENTLIP_SEND_TIMEOUT": "1"})
    state = app.extensions["agentlip"]
    yield state.hub
    state.close()


@pytest.fixture
def connected() -> Iterator[Callable[..., tuple[socket.socket, socket.socket]]]:
    """Makes connections; the hub's end holds little."""
    with contextlib.ExitStack() as stack:

        def connect(tls: bool = False) -> tuple[Any, Any]:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                theirs = socket.create_connection(listener.getsockname())
                ours = listener.accept()[0]
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
            if tls:
                ours, theirs = _secured(ours, theirs)
            stack.enter_context(ours)
            stack.enter_context(theirs)
            return ours, theirs

        yield connect


def _secured(ours: socket.socket, theirs: socket.socket) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    both: list[ssl.SSLSocket] = []
    greeter = threading.Thread(target=lambda: both.append(client.wrap_socket(theirs, server_hostname="127.0.0.1")))
    greeter.start()
    secure = server.wrap_socket(ours, server_side=True)
    greeter.join(10)
    return secure, both[0]


Odd = tuple[Line, OddStream]


@pytest.fixture
def odd(hub: Any, connected: Callable[..., tuple[socket.socket, socket.socket]]) -> Odd:
    ours, theirs = connected()
    stream = OddStream(ours)
    return Line(hub, stream, theirs), stream


def frames(said: bytes) -> list[bytes]:
    """The whole frames of what a peer received; fails when it ends inside of one."""
    ends = list(wire.frame_ends(said))
    assert not said or ends[-1] == len(said)
    return [said[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def test_a_close_that_comes_while_the_flusher_sends_the_last_bytes_arrives(odd: Odd) -> None:
    line, stream = odd

    def how(call: int, really: Callable[[int], int], size: int) -> int:
        if call == 2:
            start_thread(lambda: line.session.close(BYE), ())
            while line.transport.overdue(0.0):  # until the close waits for this very send
                concurrency.native_sleep(0.001)
            concurrency.native_sleep(0.05)
        return really(2 if call == 1 else size)

    stream.how = how
    text = wire.frame(wire.TEXT, b"the last one")
    assert line.offer(text) is Verdict.STALLED
    assert line.received() == text + wire.close_frame(BYE)
    line.peer.close()
    line.ended()


def test_a_close_that_comes_when_all_is_sent_and_the_flusher_is_not_done_arrives(
    hub: Any, connected: Callable[..., tuple[socket.socket, socket.socket]]
) -> None:
    ours, theirs = connected()
    line = Line(hub, OddStream(ours), theirs)
    with line.session._driving:  # holds the flusher up between its last byte and its end
        line.stream.how = lambda call, really, size: really(2 if call == 1 else size)  # type: ignore[attr-defined]
        text = wire.frame(wire.TEXT, b"the last one")
        line.offer(text)
        assert line.receive(len(text)) == text
        line.session.close(BYE)
    assert line.received() == wire.close_frame(BYE)
    line.peer.close()
    line.ended()


@pytest.mark.parametrize("half", [False, True], ids=["between frames", "inside a frame"])
def test_a_failed_write_is_told_only_between_frames(odd: Odd, half: bool) -> None:
    line, stream = odd

    def how(call: int, really: Callable[[int], int], size: int) -> int:
        if call == 1 and half:
            return really(3)
        if call == 1 + half:
            raise OSError(105, "No buffer space available")
        return really(size)

    stream.how = how
    text = wire.frame(wire.TEXT, b"broken off")
    line.offer(text)
    assert line.received() == (text[:3] if half else wire.close_frame(wire.SEND_FAILED))
    line.ended()
    assert line.session.closed_with == wire.SEND_FAILED


def test_without_a_thread_for_the_flusher_the_session_ends_and_nobody_spins(
    odd: Odd, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, stream = odd
    stream.how = lambda _call, really, _size: really(3)

    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        patched.setattr("agentlip.concurrency.greenlets.spawn_greenlet", refuse)
        assert line.offer(BIG) is Verdict.STALLED
    line.received()
    line.ended(5)
    assert line.session.closed_with == wire.Close(1006, "")


def test_a_flusher_that_fails_ends_its_session_alone(odd: Odd) -> None:
    line, stream = odd

    def how(call: int, really: Callable[[int], int], size: int) -> int:
        if call == 1:
            return really(3)
        raise MemoryError

    stream.how = how
    line.offer(BIG)
    assert line.received() == BIG[:3]
    line.ended(5)


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_a_peer_that_closes_before_it_has_read_all_is_answered(
    hub: Any, connected: Callable[..., tuple[socket.socket, socket.socket]], tls: bool
) -> None:
    ours, theirs = connected(tls)
    line = Line(hub, stream_of(ours), theirs)
    while line.offer(BIG) is Verdict.SENT:
        pass
    line.offer(BIG)
    theirs.sendall(client_frame(CLOSE, b"\x0b\xb8"))
    eventually(lambda: line.session.is_closed, what="the peer's Close")
    said = frames(line.received())
    assert said.pop() == wire.frame(wire.CLOSE, b"\x0b\xb8")
    assert set(said) == {BIG}
    line.ended()


def test_an_end_waits_for_the_flusher(odd: Odd) -> None:
    """Otherwise the descriptor could have a new owner while the flusher still waits for the old one."""
    line, stream = odd
    stream.how = lambda call, really, size: really(2 if call == 1 else size)
    with line.session._driving:  # the flusher has sent all and comes to a stop here
        line.offer(BIG)
        assert line.receive(len(BIG)) == BIG
        line.peer.close()
        with pytest.raises(AssertionError, match="the reader goes on"):
            line.ended(0.3)
    line.ended()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_whatever_the_kernel_takes_frames_stay_whole_and_in_order_up_to_the_close(
    hub: Any, connected: Callable[..., tuple[socket.socket, socket.socket]], seed: int, tls: bool
) -> None:
    dice = random.Random(seed)
    ours, theirs = connected(tls)
    line = Line(hub, stream_of(ours) if tls else OddStream(ours), theirs)

    def how(_call: int, really: Callable[[int], int], size: int) -> int:
        throw = dice.random()
        if throw < 0.2:
            raise BlockingIOError
        if throw < 0.3:
            concurrency.native_sleep(0.001 * dice.random())
        return really(dice.randint(1, size) if throw < 0.7 else size)

    if isinstance(line.stream, OddStream):
        line.stream.how = how
    sent: list[bytes] = []

    def talk() -> None:
        for number in range(300):
            blob = b"".join(
                wire.frame(wire.TEXT, b"%d %d " % (number, part) + b"x" * dice.choice((0, 100, 16_370, 40_000)))
                for part in range(dice.randint(1, 3))
            )
            verdict = line.offer(blob)
            while verdict is Verdict.OVERFLOW:
                time.sleep(0.001)
                verdict = line.offer(blob)
            assert verdict is not Verdict.CLOSED
            sent.extend(frames(blob))
            if number % 7 == 0:
                line.transport.ping()
            if dice.random() < 0.05:
                time.sleep(0.001)
        line.session.close(BYE)

    talker = threading.Thread(target=talk)
    talker.start()
    said = b""
    while data := line.peer.recv(dice.choice((100, 5_000, 65_536))):
        said += data
        if dice.random() < 0.02:
            time.sleep(0.002)
    talker.join(10)
    got = [frame for frame in frames(said) if frame != wire.frame(wire.PING, b"")]
    assert got.pop() == wire.close_frame(BYE)
    assert got == sent[: len(got)]
    line.peer.close()
    line.ended()


def test_the_record_that_waits_is_sent_before_the_close_even_if_it_ends_one_byte_into_a_frame(
    hub: Any, connected: Callable[..., tuple[socket.socket, socket.socket]]
) -> None:
    """All frames are as long as a record, but for the first: so each record ends at the same place of a frame."""
    for ahead in range(-3, 4):
        ours, theirs = connected(tls=True)
        line = Line(hub, stream_of(ours), theirs)
        assert isinstance(line.stream, TlsStream)
        size = 16_384 - 4
        blob = wire.frame(wire.TEXT, b"x" * (size - ahead))
        blob += b"".join(wire.frame(wire.TEXT, b"%d" % (number % 10) * size) for number in range(300))
        assert line.offer(blob) is Verdict.STALLED
        line.session.close(BYE)
        got = frames(line.received())
        assert got.pop() == wire.close_frame(BYE)
        assert b"".join(got) == blob[: sum(map(len, got))]
        line.peer.close()
        line.ended()


@pytest.mark.slow
def test_the_same_on_greenlets() -> None:
    script = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import sys, pytest\n"
        f"sys.exit(pytest.main([{__file__!r}, '-n', '0', '-p', 'no:cacheprovider', '-k', 'not greenlets']))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-8000:]
