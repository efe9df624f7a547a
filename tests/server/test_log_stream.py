"""Lines of the log never wait for their reader: pipes, sockets and terminals that nobody reads, files without end."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from agentlip.server import log_stream
from agentlip.server.log_stream import FILE_BYTES, KEPT_BYTES, LogStream, LogWriter

from ..running_hub import ROOT, TOKEN, eventually

LINE = b"x" * 99 + b"\n"


def pipe() -> tuple[int, int]:
    return os.pipe()


def sockets() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def terminal() -> tuple[int, int]:
    reader, writer = pty.openpty()
    os.system(f"stty raw -echo < /proc/{os.getpid()}/fd/{writer}")
    return reader, writer


@pytest.fixture(params=[pipe, sockets, terminal])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    made = request.param()
    yield made
    for end in made:
        os.close(end)


@pytest.fixture
def writer(ends: tuple[int, int]) -> Iterator[LogWriter]:
    with contextlib.closing(LogWriter(ends[1])) as made:
        yield made


def drain(reader: int) -> bytes:
    os.set_blocking(reader, False)
    found = b""
    while True:
        try:
            found += os.read(reader, 1 << 16)
        except BlockingIOError:
            return found


def test_lines_beyond_what_is_kept_are_dropped_counted_and_told_of(ends: tuple[int, int], writer: LogWriter) -> None:
    reader = ends[0]
    count = 3 * KEPT_BYTES // len(LINE)
    started = time.monotonic()
    for _ in range(count):
        writer.write(LINE)
    assert time.monotonic() - started < 5
    assert writer.dropped > 0
    text = b""
    while not text.endswith(b'nobody read them"}\n'):
        text += drain(reader)
        writer.flush()
    lines = text.splitlines(keepends=True)
    assert set(lines[:-1]) == {LINE}
    dropped = count - len(lines) + 1
    assert json.loads(lines[-1])["message"] == f"{dropped} lines of the log were dropped: nobody read them"
    writer.write(LINE)
    assert drain(reader) == LINE


def test_what_is_shared_with_others_still_waits_for_them(ends: tuple[int, int], writer: LogWriter) -> None:
    writer.write(LINE)
    assert os.get_blocking(ends[1])
    assert drain(ends[0]) == LINE


def test_a_pipe_that_can_not_be_opened_anew_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, descriptor = os.pipe()

    def refuse(*_args: object) -> int:
        raise PermissionError

    writer = LogWriter(descriptor)
    monkeypatch.setattr(log_stream.os, "open", refuse)
    for _ in range(2000):
        writer.write(LINE)
    monkeypatch.undo()
    assert set(drain(reader).splitlines(keepends=True)) == {LINE}
    os.close(reader)
    os.close(descriptor)


def test_a_reader_that_is_gone_fails_nobody(ends: tuple[int, int], writer: LogWriter) -> None:
    writer.write(LINE)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), ends[0])
    for _ in range(2 * KEPT_BYTES // len(LINE)):
        writer.write(LINE)
    LogStream(writer).write("ünd\ud800\n")
    assert writer.dropped == 0  # what nobody can ever read is not kept either


def test_a_log_of_our_own_is_cut_and_the_rest_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "hub.log"
    with path.open("ab") as file:
        writer = LogWriter(file.fileno(), path)
        long = b"y" * 65_535 + b"\n"
        for _ in range(3 * FILE_BYTES // len(long)):
            writer.write(long)
    sizes = [found.stat().st_size for found in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= FILE_BYTES + log_stream._LOOK_BYTES + len(long)


def test_another_file_is_never_cut(tmp_path: Path) -> None:
    path = tmp_path / "other.log"
    with path.open("ab") as file:
        writer = LogWriter(file.fileno(), tmp_path / "hub.log")
        for _ in range(10):
            writer.write(b"y" * (1 << 20))
    assert path.stat().st_size == 10 << 20


@pytest.mark.slow
@pytest.mark.parametrize("how", [[], ["--access-logfile", "-"]], ids=["stderr", "the access log, too"])
def test_output_that_nobody_reads_holds_up_neither_calls_nor_the_end(
    tmp_path: Path, how: list[str], free_port: Callable[[], int]
) -> None:
    port = free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith("AGENTLIP_")} | {
        "AGENTLIP_DB": str(tmp_path / "db.sqlite3"), "AGENTLIP_AUTH_TOKEN": TOKEN, "AGENTLIP_RATE_LIMITS": "off",
        "AGENTLIP_PORT": str(port),
    }  # fmt: skip
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *how, "wsgi:app"]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            eventually(lambda: answers(port), 20, "the hub")
            with requests.Session() as session:
                for _ in range(800):  # some 200 bytes each; a pipe holds 64 KB
                    assert session.get(f"http://127.0.0.1:{port}/health?{'x' * 100}", timeout=5).status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
        assert process.stderr is not None
        assert len(process.stderr.read()) > 60_000


@pytest.fixture
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            return int(sock.getsockname()[1])

    return find


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok
    except requests.ConnectionError:
        return False
