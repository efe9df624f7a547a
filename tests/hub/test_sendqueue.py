"""The send queue over a real socket pair: order, bounds, half-sent frames, control frames."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from agentlip import wire
from agentlip.hub.sendqueue import Verdict
from agentlip.server.websocket.transport import FrameQueue as SendQueue

BIG = wire.frame(wire.TEXT, b"x" * 60_000)
SMALL = wire.frame(wire.TEXT, b"s")
BYE = wire.close_frame(wire.BACKPRESSURE)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
    with ours, theirs:
        theirs.settimeout(5)
        yield ours, theirs


def make(ours: socket.socket, events: int = 10, size: int = 1 << 20) -> SendQueue:
    return SendQueue(ours.send, events, size)


def read_all(queue: SendQueue, theirs: socket.socket, size: int) -> bytes:
    """Read `size` bytes while flushing, as a slow peer would."""
    received = b""
    while len(received) < size:
        received += theirs.recv(65536)
        queue.flush()
    return received


def test_a_frame_goes_straight_to_an_idle_socket(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    assert make(ours).offer(SMALL, 1) is Verdict.SENT
    assert theirs.recv(100) == SMALL


def test_what_the_kernel_refuses_waits_and_keeps_its_order(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    queue = make(ours)
    assert queue.offer(BIG, 1) is Verdict.STALLED
    assert queue.offer(SMALL, 1) is Verdict.QUEUED
    assert read_all(queue, theirs, len(BIG + SMALL)) == BIG + SMALL
    assert queue.flush() is Verdict.SENT
    assert queue.finish_flush()
    assert queue.offer(SMALL, 1) is Verdict.SENT


@pytest.mark.parametrize(("events", "size"), [(3, 1 << 20), (1000, len(BIG) + 2 * len(SMALL))], ids=["events", "bytes"])
def test_an_item_that_does_not_fit_is_refused(
    pair: tuple[socket.socket, socket.socket], events: int, size: int
) -> None:
    ours, _theirs = pair
    queue = make(ours, events, size)
    verdicts = [queue.offer(BIG, 1)]
    while verdicts[-1] is not Verdict.OVERFLOW and len(verdicts) < 100_000:
        verdicts.append(queue.offer(SMALL, 1))
    assert verdicts[-1] is Verdict.OVERFLOW
    assert events == 1000 or verdicts.count(Verdict.QUEUED) == 2


def test_close_sends_the_rest_of_a_half_sent_frame_and_nothing_else_before_it(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    queue = make(ours)
    queue.offer(SMALL + BIG + SMALL, 3)
    queue.offer(SMALL, 1)
    assert queue.close(BYE) is Verdict.QUEUED
    assert queue.offer(SMALL, 1) is Verdict.CLOSED
    assert queue.close(BYE) is Verdict.CLOSED
    expected = SMALL + BIG + BYE
    assert read_all(queue, theirs, len(expected)) == expected
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)


def test_only_the_latest_control_frame_waits_and_never_inside_a_frame(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    queue = make(ours)
    queue.offer(BIG, 1)
    queue.offer(SMALL, 1)
    for payload in (b"1", b"2", b"3"):
        assert queue.control(wire.frame(wire.PONG, payload)) is Verdict.QUEUED
    expected = BIG + wire.frame(wire.PONG, b"3") + SMALL
    assert read_all(queue, theirs, len(expected)) == expected


def test_a_lost_peer_closes_the_queue(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()
    queue = make(ours)
    assert queue.offer(SMALL, 1) is Verdict.CLOSED
    assert isinstance(queue.error, OSError)
    assert queue.offer(SMALL, 1) is Verdict.CLOSED


def test_only_the_queue_says_that_the_close_is_out(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    assert make(ours).close(BYE) is Verdict.FINISHED
    queue = make(ours)
    assert queue.offer(BIG, 1) is Verdict.STALLED
    assert queue.is_flushing
    assert queue.close(BYE) is Verdict.QUEUED
    verdicts = [queue.flush()]
    received = theirs.recv(65536)
    while len(received) < len(BYE + BIG + BYE):
        verdicts.append(queue.flush())
        received += theirs.recv(65536)
    assert received == BYE + BIG + BYE
    assert set(verdicts) == {Verdict.QUEUED, Verdict.FINISHED}
    assert verdicts[-1] is Verdict.FINISHED


@pytest.mark.parametrize("error", [OSError(105, "no buffers"), BrokenPipeError()], ids=["other", "lost"])
@pytest.mark.parametrize("taken", [0, 2, len(SMALL)])
def test_an_error_is_told_between_frames_to_a_peer_that_may_be_there(error: OSError, taken: int) -> None:
    written: list[bytes] = []

    def write(data: bytes | memoryview, _flags: int) -> int:
        written.append(bytes(data))
        if len(written) == 2:
            raise error
        return taken if len(written) == 1 else len(data)

    queue = SendQueue(write, 10, 1 << 20)
    queue.offer(SMALL + SMALL if taken else SMALL, 1)
    assert queue.flush() is Verdict.CLOSED
    told = written[2:] == [wire.close_frame(wire.SEND_FAILED)]
    assert told == (taken == 0 and not isinstance(error, ConnectionError))
    assert queue.error is error
