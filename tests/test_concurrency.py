"""The seam between threads and greenlets, in a process of its own for each kind."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

import pytest

from agentlip import concurrency

KINDS = {"threads": "", "gevent": "from gevent import monkey; monkey.patch_all()"}


def in_a_process(kind: str, script: str) -> str:
    source = KINDS[kind] + "\nimport threading, time\nfrom agentlip import concurrency\n"
    command = [sys.executable, "-c", source + textwrap.dedent(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    return lambda script: in_a_process(request.param, script)


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


def test_a_ring_that_ended_one_wait_does_not_end_the_next(run) -> None:  # type: ignore[no-untyped-def]
    printed = run("""
        wakeup = concurrency.new_wakeup()
        wakeup.set()  # under gevent its callback is still to come when the second wait begins
        print(wakeup.wait(20))
        started = time.monotonic()
        print(wakeup.wait(0.3), time.monotonic() - started >= 0.27)
    """)
    assert printed.split() == ["True", "False", "True"]


def test_no_ring_is_lost_however_close_it_comes_to_the_end_of_a_wait(run) -> None:  # type: ignore[no-untyped-def]
    printed = run("""
        wakeup, lost = concurrency.new_wakeup(), 0
        start = concurrency.original("_thread", "start_new_thread")
        def ring(after):
            concurrency.native_sleep(after)
            wakeup.set()
        for number in range(200):
            start(ring, (0.001 + number % 7 * 0.0001,))
            if not wakeup.wait(0.0013) and not wakeup.wait(10):
                lost += 1
        print(lost)
    """)
    assert printed.split() == ["0"]


class _LateRing(threading.Event):
    """An event that is set between the end of a wait and whatever the waiter does next."""

    def wait(self, timeout: float | None = None) -> bool:
        rang = super().wait(timeout)
        if not rang:
            self.set()
        return rang


def test_a_ring_right_after_the_end_of_a_wait_is_kept_for_the_next() -> None:
    wakeup = concurrency.threads.Wakeup()
    wakeup._event = _LateRing()
    assert not wakeup.wait(0.001)
    assert wakeup.wait(0)


ENDED_THREADS = """
    from gevent.threadpool import ThreadPool
    made = []
    def job():
        made.append(make())
        if waits:
            made[-1].wait(0.001)
    def run_in_thread():
        gone = concurrency.original("_thread", "allocate_lock")()
        gone.acquire()
        def body():
            try:
                job()
            finally:
                gone.release()
        if kind == "thread":
            concurrency.original("_thread", "start_new_thread")(body, ())
            gone.acquire()
            concurrency.native_sleep(0.2)  # the thread itself ends a moment later
        else:
            pool = ThreadPool(1)
            pool.spawn(job).get()
            pool.kill()
            concurrency.native_sleep(0.2)
"""


@pytest.mark.parametrize("kind", ["thread", "pool"])
@pytest.mark.parametrize("waits", [False, True])
def test_ringing_a_thread_that_has_ended_under_gevent_says_so_and_never_raises(kind: str, waits: bool) -> None:
    script = f"""
        kind, waits, make = {kind!r}, {waits!r}, concurrency.new_wakeup
        {ENDED_THREADS.replace(chr(10), chr(10) + "    ")}
        run_in_thread()
        print(made[0].set(), made[0].set(), made[0].belongs_here())
    """
    assert _under_gevent(script) == ["False", "False", "False"]


@pytest.mark.parametrize("kind", ["thread", "pool"])
def test_callers_are_served_though_the_thread_of_another_has_ended(kind: str) -> None:
    script = f"""
        kind, waits, make = {kind!r}, False, concurrency.new_reply
        {ENDED_THREADS.replace(chr(10), chr(10) + "    ")}
        run_in_thread()
        mine = concurrency.new_reply()
        concurrency.deliver([made[0], mine])
        mine.wait(20)
        print("served")
    """
    assert _under_gevent(script) == ["served"]


def _under_gevent(script: str) -> list[str]:
    return in_a_process("gevent", script).split()


NO_THREADS = """
        import resource
        from contextlib import contextmanager
        size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + (256 << 20), resource.RLIM_INFINITY))
        @contextmanager
        def no_threads():
            before = threading.stack_size(1 << 30)  # more than the limit leaves
            try:
                yield
            finally:
                threading.stack_size(before)
"""


def test_a_thread_that_could_not_be_started_is_tried_again_by_the_next_call(run) -> None:  # type: ignore[no-untyped-def]
    printed = run(
        NO_THREADS
        + """
        from agentlip.errors import ThreadLimit
        offload = concurrency.Offload()
        for _ in range(3):
            with no_threads():
                try:
                    offload.run(lambda: "ran")
                except ThreadLimit as error:
                    print(error.status, error.details["reason"].replace(" ", "_"))
        print(offload.run(lambda: "ran"))
        offload.stop()
        """
    )
    assert printed.split() == ["503", "no_thread_can_be_started"] * 3 + ["ran"]


def test_a_writer_without_a_thread_answers_unavailable_and_writes_again_afterwards(run, tmp_path) -> None:  # type: ignore[no-untyped-def]
    printed = run(
        NO_THREADS
        + f"""
        from pathlib import Path
        from agentlip.errors import ServiceUnavailable
        from agentlip.store import mutations, queries
        from agentlip.store.store import Store
        store = Store(Path({str(tmp_path)!r}) / "db.sqlite3", "NORMAL", 5.0)
        started = time.monotonic()
        with no_threads():
            for name in ("a", "b"):
                try:
                    store.write(mutations.create_channel, name, None)
                except ServiceUnavailable as error:
                    print(error.details["reason"].replace(" ", "_"))
            try:
                store.read_long(queries.channels)
            except ServiceUnavailable as error:
                print(error.details["reason"].replace(" ", "_"))
            print(store.latest())
        print(time.monotonic() - started < 3)
        print(store.write(mutations.create_channel, "a", None)[1])
        store.close()
        """
    )
    assert printed.split() == ["no_thread_can_be_started"] * 3 + ["0", "True", "1"]


def test_a_store_whose_writer_can_not_be_started_leaves_nothing_open(tmp_path) -> None:  # type: ignore[no-untyped-def]
    script = (
        NO_THREADS
        + f"""
        import os
        from pathlib import Path
        from agentlip.errors import ThreadLimit
        from agentlip.store.store import Store
        for attempt in range(3):
            with no_threads():
                try:
                    Store(Path({str(tmp_path)!r}) / "db.sqlite3", "NORMAL", 5.0)
                except ThreadLimit:
                    print(len(os.listdir("/proc/self/fd")), threading.active_count())
        Store(Path({str(tmp_path)!r}) / "db.sqlite3", "NORMAL", 5.0).close()
        """
    )
    first, *others = in_a_process("threads", script).splitlines()
    assert others == [first] * 2


def test_a_reply_that_does_not_come_ends_the_wait_and_may_be_waited_for_again(run) -> None:  # type: ignore[no-untyped-def]
    printed = run("""
        reply = concurrency.new_reply()
        print(reply.wait(0.02), reply.wait(0.02))
        concurrency.spawn(concurrency.deliver, [reply])
        print(reply.wait(20))
    """)
    assert printed.split() == ["False", "False", "True"]


def test_what_a_native_thread_asks_for_runs_on_the_event_loop() -> None:
    script = """
        concurrency.remember_loop()
        home, asked = concurrency.native_ident(), []
        def where():
            return concurrency.native_ident() == home
        def fail():
            raise KeyError("as it was raised")
        def ask():
            concurrency.spawn(lambda: asked.append(where()))
            asked.append(where())
            asked.append(concurrency.run_at_home(where))
            try:
                concurrency.run_at_home(fail)
            except KeyError:
                asked.append("raised")
        concurrency.original("_thread", "start_new_thread")(ask, ())
        end = time.monotonic() + 10
        while len(asked) < 4 and time.monotonic() < end:
            time.sleep(0.01)
        print(*map(str, sorted(asked, key=str)))
    """
    assert _under_gevent(script) == ["False", "True", "True", "raised"]


def test_a_native_thread_does_not_wait_for_ever_for_a_loop_that_waits_for_it() -> None:
    script = """
        from agentlip.errors import ServiceUnavailable
        concurrency.remember_loop()
        concurrency.greenlets.HOME_SECONDS = 0.2
        ended = concurrency.native_lock()
        ended.acquire()
        def ask():
            try:
                concurrency.run_at_home(lambda: None)
            except ServiceUnavailable as error:
                print(error.details["reason"])
            ended.release()
        concurrency.original("_thread", "start_new_thread")(ask, ())
        print(ended.acquire(timeout=10))
    """
    assert _under_gevent(script) == ["the", "event", "loop", "does", "not", "run", "True"]


def test_a_task_that_waits_for_itself_among_others_counts_as_ended(run) -> None:  # type: ignore[no-untyped-def]
    printed = run("""
        tasks, ended = [], []
        def wait_for_all():
            while len(tasks) < 2:
                time.sleep(0.001)
            started = time.monotonic()
            ended.append((concurrency.wait_for(tasks, started + 20), time.monotonic() - started < 10))
        tasks.append(concurrency.spawn(wait_for_all))
        tasks.append(concurrency.spawn(time.sleep, 0.05))
        print(concurrency.wait_for(tasks, time.monotonic() + 20), *ended)
    """)
    assert printed == "True (True, True)\n"


def test_a_task_that_a_native_thread_has_asked_for_does_not_wait_for_itself() -> None:
    script = """
        concurrency.remember_loop()
        tasks, ended = [], []
        def wait_for_all():
            while not tasks:
                time.sleep(0.001)
            started = time.monotonic()
            ended.append((concurrency.wait_for(tasks, started + 3), time.monotonic() - started < 2))
        def ask():
            tasks.append(concurrency.spawn(wait_for_all))
        concurrency.original("_thread", "start_new_thread")(ask, ())
        end = time.monotonic() + 10
        while not ended and time.monotonic() < end:
            time.sleep(0.01)
        print(*ended[0], concurrency.wait_for(tasks, time.monotonic() + 5))
    """
    assert _under_gevent(script) == ["True", "True", "True"]
