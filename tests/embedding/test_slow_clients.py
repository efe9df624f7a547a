"""Clients that hold a connection, below each server: they lose it, and everybody else is served."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ..server.raw_http import dial, head, is_over, json_head, read_answer
from .servers import SERVERS, Host


@pytest.fixture(scope="module", params=SERVERS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    settings = {"AGENTLIP_BODY_TIMEOUT": "1", "AGENTLIP_SEND_TIMEOUT": "1"}
    with Host(request.param, tmp_path_factory.mktemp(request.param), **settings) as running:
        yield running


def port(host: Host) -> int:
    return int(host.url.rpartition(":")[2])


@pytest.mark.parametrize("path", ["/hub/ui/session", "/hub/api/v1/channels"])
def test_a_body_that_never_comes_ends_with_408(host: Host, path: str) -> None:
    with dial(port(host)) as sock:
        sock.sendall(json_head(path, 100) + b"{")
        started = time.monotonic()
        assert read_answer(sock).status == 408
        assert time.monotonic() - started < 5
        assert is_over(sock)


@pytest.mark.parametrize(("path", "status"), [("/hub/api/v1/channels", 401), ("/hub/health", 405), ("/hub/ws", 401)])
def test_a_refused_body_that_never_comes_ends_the_connection(host: Host, path: str, status: int) -> None:
    with dial(port(host)) as sock:
        sock.sendall(json_head(path, 100, token=None) + b"{")
        started = time.monotonic()
        assert read_answer(sock).status == status
        assert is_over(sock)
        assert time.monotonic() - started < 5


@pytest.mark.slow
def test_an_answer_that_nobody_reads_ends_the_connection(host: Host) -> None:
    with dial(port(host), 4096) as sock:
        sock.settimeout(8)
        with pytest.raises(ConnectionError):  # noqa: PT012
            while True:
                sock.sendall(head("GET", "/hub/health") * 100)
