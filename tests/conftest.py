"""Fixtures: hubs as real processes that are gone, with everything they started, when the test ends."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import leftovers
from .running_hub import Hub, eventually


def _leftovers(group: int) -> list[int]:
    """Pids of the process group that are still alive."""
    alive = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                alive.append(int(entry.name))
    return alive


def pytest_collection_finish() -> None:
    """The collected tests stay to the end; a collection of garbage need not look at them each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _log_records_reach_the_tests() -> None:
    """A standalone app that an earlier test has made in this process keeps the package's records to itself."""
    package = logging.getLogger("agentlip")
    package.propagate = True
    package.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a thread, a socket or another descriptor behind.

    Where a file's tests share a hub in this process, which opens what it needs when it is first asked, the end of the
    file counts: `pytestmark = pytest.mark.shares_a_hub`.
    """
    before = leftovers.Leftovers()
    yield
    if request.node.get_closest_marker("shares_a_hub") is None and not leftovers.is_left_out(request.path):
        before.check()


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left_behind_by_a_file(request: pytest.FixtureRequest) -> Iterator[None]:
    before, greenlets = leftovers.Leftovers(), {id(each) for each in leftovers.greenlets()}
    yield
    if leftovers.is_left_out(request.path):
        return
    before.check()
    assert not [each for each in leftovers.greenlets() if id(each) not in greenlets], "greenlets are left behind"


@pytest.fixture
def start_hub(tmp_path: Path) -> Iterator[Callable[..., Hub]]:
    """Start hubs with the given settings (names without AGENTLIP_); `folder=` to share one."""
    hubs: list[tuple[Hub, int]] = []

    def start(folder: Path | None = None, **settings: Any) -> Hub:
        hub = Hub(folder or tmp_path, **settings).start()
        assert hub.process is not None
        hubs.append((hub, hub.process.pid))
        return hub

    yield start
    for hub, group in hubs:
        hub.session.close()
        try:
            hub.stop()
            eventually(lambda group=group: not _leftovers(group), 5, "the end of all workers")
        except AssertionError:
            os.killpg(group, signal.SIGKILL)
            raise


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One hub with default settings (rate limits off), shared by the tests of a module."""
    running = Hub(tmp_path_factory.mktemp("hub")).start()
    yield running
    running.session.close()
    running.stop()
