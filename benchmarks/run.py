"""Measure the hub against a bare Flask route on the same machine, in the same run: see README.md."""

from __future__ import annotations

import argparse
import json
import operator
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from servers import HERE, ROOT, TOKEN, Hub, cpu_seconds, fill, filled_topic, get_ms, head, resident_kb, stop, yardstick
from servers import hub as start_hub

WSLOAD = str(HERE / "wsload")
EVENTS, SOCKETS, MANY, STORM, PROBES = 10_000, 3000, 10_000, 2000, 20
YARD, CALL = "yard8.posts_per_s", "call.post_p50_ms"
ROWS = (  # group, title, what is shown, what it is divided by, what is wanted
    ("", "yardstick: POST/s, 8 connections", YARD, "", ""),
    ("post", "yardstick: POST/s, 64 connections", "yard64.posts_per_s", YARD, ""),
    ("post", "POST/s, 8 connections", "post8.posts_per_s", YARD, "ratio >= 0.72"),
    ("post", "POST/s, 64 connections / the hub's 8", "post64.posts_per_s", "post8.posts_per_s", "ratio >= 1"),
    ("workers", "POST/s, 8 connections, 2 workers / 1", "two8.posts_per_s", "one8.posts_per_s", "ratio >= 1.2"),
    ("workers", "POST/s, 64 connections, 2 workers / 1", "two64.posts_per_s", "one64.posts_per_s", "ratio >= 1.2"),
    ("workers", "the busier worker's part of the CPU time, 8", "two8.busier", "", ""),
    ("workers", "the busier worker's part of the CPU time, 64", "two64.busier", "", ""),
    ("fanout", "deliveries/s, 100 subscribers, 8 writers", "fanout100.deliveries_per_s", YARD, "ratio >= 50"),
    ("fanout", "POST/s to 100 subscribers / to none", "fanout100.posts_per_s", "quiet8.posts_per_s", "ratio >= 0.85"),
    ("fanout", "deliveries/s, 500 subscribers, 8 writers", "fanout500.deliveries_per_s", YARD, "ratio >= 150"),
    ("fanout", "deliveries/s, 1000 subscribers, 8 writers", "fanout1000.deliveries_per_s", YARD, "ratio >= 400"),
    ("latency", "yardstick: a lone call, p50 ms", CALL, "", ""),
    ("latency", "a lone post, FULL / the yardstick's call", "full.post_p50_ms", CALL, "ratio <= 2.9"),
    ("latency", "its delivery, FULL / the yardstick's call", "full.deliver_p50_ms", CALL, "ratio <= 2.9"),
    ("latency", "a lone post, NORMAL / the yardstick's call", "normal.post_p50_ms", CALL, "ratio <= 1.8"),
    ("latency", "its delivery, NORMAL / the yardstick's call", "normal.deliver_p50_ms", CALL, "ratio <= 1.8"),
    ("latency", "post to delivery, across workers, p50 ms", "apart.deliver_p50_ms", "", ""),
    ("latency", "that minus the poster's own answer, ms", "apart.later_ms", "", "value <= 2"),
    ("company", "the last of 100 / the poster's own, p50 ms", "of100.last_p50_ms", "of100.post_p50_ms", "ratio <= 1.3"),
    ("company", "the poster's own answer beside 100, p50 ms", "of100.post_p50_ms", "", ""),
    ("company", "the last of 500 / the poster's own, p50 ms", "of500.last_p50_ms", "of500.post_p50_ms", ""),
    ("company", "the poster's own answer beside 500, p50 ms", "of500.post_p50_ms", "", ""),
    ("catchup", "catch-up events/s, 10 clients x 10,000", "replay.events_per_s", YARD, "ratio >= 250"),
    ("catchup", "catch-up events/s, 1 client x 10,000", "alone.events_per_s", YARD, "ratio >= 90"),
    ("storm", "storm: 2,000 clients, 500 behind, seconds", "storm.s", "", "value <= 3"),
    ("storm", "until the last of them got its hello_ok", "storm.hellos_s", "", ""),
    ("storm", "CPU seconds of the load client", "storm.client_cpu_s", "", ""),
    ("connections", "connections/s (3,000, with hello)", "conns.connects_per_s", YARD, "ratio >= 0.65"),
    ("connections", "KB per idle socket (3,000)", "conns.socket_kb", "", "value <= 16"),
    ("log", "1 topic of a small log, events/s", "small.events_per_s", "", ""),
    ("log", "1 of 1,000 topics of 1,000,000 / small", "big.events_per_s", "small.events_per_s", "ratio >= 1"),
    ("log", "the same / all of the small log, unfiltered", "big.events_per_s", "all.events_per_s", ""),
    ("log", "GET events?tail=100&topic_id, ms / small", "big.tail_ms", "small.tail_ms", ""),
    ("sockets", "10,000 sockets, one message reached", "many.arrived", "", "value >= 10000"),
    ("sockets", "until it reached the last, ms", "many.arrive_ms", "", ""),
    ("sockets", "KB per idle socket (10,000)", "many.socket_kb", "", "value <= 16"),
    ("idle", "idle hub, 4 workers, % of a core", "idle.percent", "", "value <= 2"),
    ("idle", "the same with 100 idle sockets", "held.percent", "", ""),
    ("", "gaps", "gaps", "", "value <= 0"),
    ("", "events out of order", "disorder", "", "value <= 0"),
)


def wsload(mode: str, port: int, *arguments: object, while_held: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Run the load client once and return what it prints, one JSON object a line, as one."""
    command = [WSLOAD, mode, "127.0.0.1", str(port), TOKEN, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() if select.select([process.stdout], [], [], 180)[0] else ""]
        while_held()
        lines += process.communicate(timeout=60)[0].splitlines()
        if process.returncode != 0 or not lines[0]:
            raise RuntimeError(f"{' '.join(command)} failed: {' '.join(lines)}")
    finally:
        stop(process)
    result: dict[str, Any] = {}
    for line in lines:
        result |= json.loads(line)
    return result


class Run:
    """One repeat of one group: its folder, and where its figures go."""

    def __init__(self, folder: Path, yard_port: int, samples: dict[str, list[float]]) -> None:
        self._folder, self._samples = folder, samples
        self.bare = Hub(yard_port, [], "-", "x")

    def add(self, figure: str, value: float) -> None:
        self._samples.setdefault(figure, []).append(value)

    def load(self, name: str, mode: str, it: Hub, *arguments: object, **options: Callable[[], None]) -> dict[str, Any]:
        result = wsload(mode, it.port, *arguments, **options)
        for figure, value in result.items():
            if isinstance(value, int | float):
                self.add(f"{name}.{figure}", value)
        return result

    def post(self, name: str, it: Hub, messages: int, connections: int) -> None:
        self.load(name, "post", it, it.topic, messages, connections)

    def yard(self, connections: int = 8, messages: int = 3000) -> None:
        self.post(f"yard{connections}", self.bare, messages, connections)

    @contextmanager
    def hub(self, workers: int = 1, events: int = 0, topics: int = 1, synchronous: str = "") -> Iterator[Hub]:
        """A fresh hub: memory and log that earlier load left behind would change what follows."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        if events:
            fill(folder, events, topics)
        with start_hub(folder, workers, synchronous) as it:
            yield it
        shutil.rmtree(folder)


def post(run: Run) -> None:
    with run.hub() as it:
        run.post("warm-up", it, 500, 8)
        run.yard(8, 6000)
        run.post("post8", it, EVENTS, 8)
        run.post("post64", it, 6000, 64)
        run.yard(64, 6000)


def workers(run: Run) -> None:
    """Both hubs stand side by side and are loaded in turn."""
    with run.hub() as one, run.hub(workers=2) as two:
        for it in (one, two):
            run.post("warm-up", it, 1000, 16)
        for connections in (8, 64):
            run.post(f"one{connections}", one, 4000, connections)
            before = [cpu_seconds(pid) for pid in two.pids]
            run.post(f"two{connections}", two, 4000, connections)
            spent = [cpu_seconds(pid) - since for pid, since in zip(two.pids, before, strict=True)]
            run.add(f"two{connections}.busier", max(spent) / sum(spent))


def fanout(run: Run) -> None:
    with run.hub() as it:
        run.post("warm-up", it, 500, 8)
        run.post("quiet8", it, 3000, 8)
        for subscribers in (100, 500, 1000):
            run.yard()
            run.load(f"fanout{subscribers}", "fanout", it, it.topic, it.channel, subscribers, 3000, 8)
            if subscribers == 100:
                run.post("quiet8", it, 3000, 8)


def latency(run: Run) -> None:
    """The bare route and two hubs stand side by side and are asked in turn."""
    with run.hub(synchronous="FULL") as full, run.hub(synchronous="NORMAL") as normal:
        for it in (full, normal):
            run.post("warm-up", it, 500, 8)
        for _ in range(3):
            run.load("call", "lat", run.bare, run.bare.topic, run.bare.channel, 0, 150)
            run.load("full", "lat", full, full.topic, full.channel, 1, 150)
            run.load("normal", "lat", normal, normal.topic, normal.channel, 1, 150)
    with run.hub(workers=2) as it:
        run.post("warm-up", it, 500, 16)
        apart = run.load("apart", "lat", it, it.topic, it.channel, 1, 100, "apart")
        run.add("apart.later_ms", apart["deliver_p50_ms"] - apart["post_p50_ms"])


def company(run: Run) -> None:
    """One poster, one post at a time, and many who listen."""
    with run.hub() as it:
        run.post("warm-up", it, 500, 8)
        for subscribers in (100, 500):
            run.load(f"of{subscribers}", "lat", it, it.topic, it.channel, subscribers, 200)


def catchup(run: Run) -> None:
    """The client that is alone reads each time a part of the log that nobody has read: no page of it is kept."""
    with run.hub(events=EVENTS) as it:
        run.yard()
        run.load("replay", "replay", it, 0, EVENTS, 10)
    with run.hub(events=8 * EVENTS) as it:
        run.yard()
        for start in range(0, 8 * EVENTS, 2 * EVENTS):
            run.load("alone", "replay", it, start, start + EVENTS, 1)


def storm(run: Run) -> None:
    with run.hub(events=EVENTS) as it:
        last = head(it)
        run.load("storm", "storm", it, last - 500, last, STORM)


def hold(run: Run, it: Hub, name: str, sockets: int, *message: str) -> None:
    """Open sockets, and see how much the worker grew while they do nothing."""
    run.post("warm-up", it, 500, 8)
    before = resident_kb(it.pids[0])

    def look() -> None:
        time.sleep(1.5)
        run.add(f"{name}.socket_kb", (resident_kb(it.pids[0]) - before) / sockets)

    run.load(name, "conns", it, sockets, 3, *message, while_held=look)


def connections(run: Run) -> None:
    with run.hub() as it:
        run.yard()
        hold(run, it, "conns", SOCKETS)


def log(run: Run) -> None:
    """Every topic of the big log is read once; the small log has but one, which is read as often."""
    for name, events, topics in (("small", 1000, 1), ("big", 1_000_000, 1000)):
        with run.hub(events=events, topics=topics) as it:
            names = [filled_topic(number * 37 % topics) for number in range(2 * PROBES)]
            run.load("warm-up", "topics", it, 3, 1, *["*"] * 5)
            run.load(name, "topics", it, 1000, topics, *names[:PROBES])
            if name == "small":
                run.load("all", "topics", it, 1000, 1, *["*"] * PROBES)
            run.add(f"{name}.tail_ms", get_ms(it.port, [f"events?tail=100&topic_id={x}" for x in names[PROBES:]]))


def sockets(run: Run) -> None:
    with run.hub() as it:
        hold(run, it, "many", MANY, it.topic)


def idle(run: Run) -> None:
    with run.hub(workers=4) as it:

        def watch(name: str, seconds: float) -> None:
            time.sleep(2)
            before, start = sum(map(cpu_seconds, it.pids)), time.monotonic()
            time.sleep(seconds)
            spent = sum(map(cpu_seconds, it.pids)) - before
            run.add(f"{name}.percent", 100 * spent / (time.monotonic() - start))

        watch("idle", 8)
        run.load("held", "conns", it, 100, 11, while_held=lambda: watch("held", 8))


class Group(NamedTuple):
    measure: Callable[[Run], None]
    once: bool = False  # slow, and steady enough


GROUPS = {group.measure.__name__: group for group in map(Group, (post, workers, fanout, latency, company, catchup))}
GROUPS |= {measure.__name__: Group(measure) for measure in (storm, connections)}
GROUPS |= {measure.__name__: Group(measure, once=True) for measure in (log, sockets, idle)}


def table(samples: dict[str, list[float]], groups: list[str]) -> str:
    """Medians; but gaps and disorder are added up: one of them in any repeat must show."""
    values = {key: median(found) for key, found in samples.items()}
    for fault in ("gaps", "disorder"):
        values[fault] = sum(sum(found) for key, found in samples.items() if key.endswith(f".{fault}"))
    lines = [f"{'figure':<46}{'value':>10}{'ratio':>9}  {'wanted':<15} met"]
    for group, title, key, base, wanted in ROWS:
        if group and group not in groups:
            continue
        value = values.get(key)
        ratio = value / values[base] if value is not None and values.get(base) else None
        shown = "-" if value is None else f"{value:,.{0 if value >= 100 or value == int(value) else 2}f}"
        met = ""
        if wanted:
            kind, sign, limit = wanted.split()
            judged = value if kind == "value" else ratio
            compare = {">=": operator.ge, "<=": operator.le}[sign]
            met = "?" if judged is None else "yes" if compare(round(judged, 2), float(limit)) else "NO"
        line = f"{title:<46}{shown:>10}{'' if ratio is None else f'{ratio:.2f}':>9}  {wanted:<15} {met}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="measurements per figure; the median is printed")
    parser.add_argument("--only", metavar="NAME", help=f"only the groups that begin so, of {', '.join(GROUPS)}")
    options = parser.parse_args()
    repeat = max(1, options.repeat)
    groups = [name for name in GROUPS if name.startswith(options.only or "")]
    if not groups:
        parser.error(f"no group begins with {options.only!r}: {', '.join(GROUPS)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if "sockets" in groups and hard < MANY + 500:
        print(f"sockets: skipped, only {hard} files may be open", file=sys.stderr)
        groups.remove("sockets")
    subprocess.run(["cc", "-O2", "-w", "-o", WSLOAD, f"{WSLOAD}.c"], check=True, timeout=120)
    samples: dict[str, list[float]] = {}
    failures = []
    (build := ROOT / "build").mkdir(exist_ok=True)  # git-ignored, and on the repository's disk; /tmp may be memory
    with tempfile.TemporaryDirectory(dir=build, prefix="benchmark-") as name, yardstick(Path(name, "yard.log")) as yard:
        run = Run(Path(name), yard, samples)
        run.post("warm-up", run.bare, 1000, 8)
        run.yard()
        for turn in range(repeat):
            for group in groups:
                if turn and GROUPS[group].once:
                    continue
                start = time.monotonic()
                try:
                    GROUPS[group].measure(run)
                except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                    failures.append(f"FAILED, {group}, repeat {turn + 1}: {error!r}")
                    print(failures[-1], file=sys.stderr)
                seconds = time.monotonic() - start
                print(f"repeat {turn + 1} of {repeat}: {group}, {seconds:.0f} s", file=sys.stderr, flush=True)
    print("\n".join([table(samples, groups), *failures]))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
