"""The seam between threads and greenlets, in a process of its own for each kind."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

KINDS = {"threads": "", "gevent": "from gevent import monkey; monkey.patch_all()"}


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    def run_script(script: str) -> str:
        source = KINDS[request.param] + "\nimport threading, time\nfrom agentlip import concurrency\n"
        command = [sys.executable, "-c", source + textwrap.dedent(script)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    return run_script


def test_a_wakeup_waits_its_whole_time_again_and_again(run) -> None:  # type: ignore[no-untyped-def]
    printed = run("""
        wakeup = concurrency.new_wakeup()
        for timeout in (0.05, 0.05, 0.05, 0.1, 0.05):
            started = time.monotonic()
            rang = wakeup.wait(timeout)
            print(rang, time.monotonic() - started >= 0.9 * timeout)
    """)
    assert printed.split() == ["False", "True"] * 5


def test_a_ring_ends_the_wait_and_rings_in_between_are_kept_as_one(run) -> None:  # type: ignore[no-untyped-def]
    printed = run("""
        wakeup = concurrency.new_wakeup()
        concurrency.spawn(wakeup.set)
        print(wakeup.wait(20))
        wakeup.set()
        wakeup.set()
        print(wakeup.wait(20), wakeup.wait(0.05))
    """)
    assert printed.split() == ["True", "True", "False"]


def test_offloaded_calls_give_their_result_or_raise_and_hold_up_nobody(run) -> None:  # type: ignore[no-untyped-def]
    printed = run("""
        offload, steps = concurrency.Offload(), []
        def other():
            steps.append("other")
        concurrency.spawn(other)
        def call():
            end = time.monotonic() + 20
            while not steps and time.monotonic() < end:
                concurrency.native_sleep(0.001)
            return "result"
        print(offload.run(call), steps)
        try:
            offload.run(lambda: 1 / 0)
        except ZeroDivisionError:
            print("raised")
        print(offload.run(lambda: "again"))
        offload.stop()
    """)
    assert printed.split() == ["result", "['other']", "raised", "again"]
