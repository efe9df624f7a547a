"""Followers on native threads under gevent, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..side_by_side import Script

ENDED = """
import gc, os, pathlib, tempfile
from gevent.threadpool import ThreadPool
from agentlip import concurrency, create_app
from agentlip.hub.subscription import Subscription

class Neighbour:
    subscription, cursor, events = Subscription(None, None), 0, 0
    encode = staticmethod(lambda entries: b'')

    def deliver(self, blob, events):
        self.events += events

state = create_app({"AGENTLIP_DB": sys.argv[1]}).extensions["agentlip"]
kind, keeps, waits = sys.argv[2:]
kept, registry, locals_ = [], state.hub.feed.registry, concurrency.native_local()

def look_once():
    follower = state.subscribe(after=0)
    next(follower)
    if waits == "waits":
        follower.bell.wakeup.wait(0.001)
    if keeps == "kept":
        kept.append(follower)

def append():
    return state.append("host.event", {"channel_id": "ch_a"}, {})
"""
ENDED_RUN = """
append()
neighbours = [[Neighbour() for _ in range(10)] for _ in range(2)]
def join(listener):
    listener.cursor = registry.position
    while not registry.join(listener):
        listener.cursor = registry.position
for neighbour in neighbours[0]:
    join(neighbour)
ended = []
def body():
    locals_.life = Life()
    look_once()
class Life:
    def __del__(self):
        ended.append(True)  # the thread's own storage goes when it ends
if kind == "thread":
    concurrency.original("_thread", "start_new_thread")(body, ())
else:
    pool = ThreadPool(1)
    pool.spawn(body).get()
    pool.kill()
while not ended:
    time.sleep(0.01)
for neighbour in neighbours[1]:
    join(neighbour)
got = [[neighbour.events for neighbour in some] for some in neighbours]
append()
deadline = time.monotonic() + 10
def all_served():
    return all(it.events > before for some, old in zip(neighbours, got) for it, before in zip(some, old))
while not all_served() and time.monotonic() < deadline:
    time.sleep(0.01)
for neighbour in neighbours[0] + neighbours[1]:
    registry.leave(neighbour)
while registry.is_live and time.monotonic() < deadline:
    time.sleep(0.01)
print("served" if all_served() else "missed", "live" if registry.is_live else "forgotten", flush=True)
for follower in kept:
    print(len(list(follower)), flush=True)
state.shut_down()
os._exit(0)
"""


@pytest.mark.parametrize("kind", ["thread", "pool"])
@pytest.mark.parametrize("keeps", ["kept", "lost"])
@pytest.mark.parametrize("waits", ["waits", "does not wait"])
def test_a_follower_whose_thread_ended_under_gevent_harms_nobody_and_is_forgotten(
    tmp_path: Path, kind: str, keeps: str, waits: str
) -> None:
    gevent = "from gevent import monkey; monkey.patch_all()\nimport sys, time\n"
    script = Script(gevent + ENDED, ENDED_RUN, tmp_path / "db.sqlite3", kind, keeps, waits)
    script.ready()
    script.go()
    output, errors = script.process.communicate(timeout=30)
    assert output.split() == ["served", "forgotten", *(["0"] if keeps == "kept" else [])], errors


MOVES = """
from gevent.threadpool import ThreadPool
append()
append()
append()
follower = state.subscribe(after=0)
pools = ThreadPool(1), ThreadPool(1)
seen = [pools[number % 2].spawn(next, follower).get().event_id for number in range(3)]
waiting = pools[1].spawn(next, follower)
time.sleep(0)
append()
print(*seen, waiting.get(timeout=10).event_id, flush=True)
import os
os._exit(0)
"""


def test_a_follower_may_move_from_thread_to_thread_under_gevent(tmp_path: Path) -> None:
    gevent = "from gevent import monkey; monkey.patch_all()\nimport sys, time\n"
    script = Script(gevent + ENDED, MOVES, tmp_path / "db.sqlite3", "", "", "")
    script.ready()
    script.go()
    output, errors = script.process.communicate(timeout=30)
    assert output.split() == ["1", "2", "3", "4"], errors


FIRST = """
import os, sys, time
from flask import Flask
from gevent.threadpool import ThreadPool
from agentlip import Agentlip, concurrency

app = Flask("host")
app.config["AGENTLIP_DB"] = sys.argv[1]
Agentlip(app)
state, seen, made = app.extensions["agentlip"], [], []

def job():
    state.append("host.event", {"channel_id": "ch_a"}, {})
    made.append(state.subscribe(lambda event: seen.append(event.event_id), after=0))
"""
FIRST_RUN = """
if sys.argv[2] == "thread":
    concurrency.original("_thread", "start_new_thread")(job, ())
else:
    pool = ThreadPool(1)
    pool.spawn(job).get()
    pool.kill()
while not made:
    time.sleep(0.01)
state.append("host.event", {"channel_id": "ch_a"}, {})
deadline = time.monotonic() + 10
while len(seen) < 2 and time.monotonic() < deadline:
    time.sleep(0.01)
print(*seen, flush=True)
state.close()
os._exit(0)
"""


@pytest.mark.parametrize("kind", ["thread", "pool"])
def test_a_hub_first_used_by_a_native_thread_under_gevent_outlives_it_with_its_listener(
    tmp_path: Path, kind: str
) -> None:
    script = Script("from gevent import monkey; monkey.patch_all()\n" + FIRST, FIRST_RUN, tmp_path / "db.sqlite3", kind)
    script.ready()
    script.go()
    output, errors = script.process.communicate(timeout=30)
    assert output.split() == ["1", "2"], errors
