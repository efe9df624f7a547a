"""Subscriptions of very many ids: served in full and in order, while posts do not wait for them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed

from agentlip import wire
from agentlip.model import Entity, Scope
from agentlip.store.store import Store
from agentlip.store.writer import Transaction

from ..running_hub import Hub, receive_until

EVENTS = 120_000
OTHERS = 8000
EVERY = 4000  # so many events are between two that match


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with a long log of many topics."""
    folder = tmp_path_factory.mktemp("hub")

    def fill(transaction: Transaction) -> None:
        for number in range(1, EVENTS + 1):
            topic = "topic_wanted" if number % EVERY == 0 else f"topic_of_others_{number % OTHERS}"
            transaction.append("filled", Scope("ch_filled", topic), Entity("e", "e_1"), {})

    store = Store(folder / "db.sqlite3", "NORMAL", 30.0)
    store.write(fill, heavy=True)
    store.close()
    running = Hub(folder).start()
    yield running
    running.session.close()
    running.stop()


def topics(count: int) -> list[str]:
    return ["topic_wanted", *(f"topic_{number}" for number in range(count - 1))]


@pytest.mark.parametrize("count", [32, 101, wire.MAX_IDS])
def test_a_long_replay_of_many_ids_is_complete_and_goes_on_live(hub: Hub, count: int) -> None:
    _, topic_id = hub.make_topic(f"channel {count}")
    wanted = [*topics(count - 1), topic_id]
    with hub.listen(subscriptions={"topics": wanted}) as (socket, _):
        head = hub.post(topic_id)["event_id"]
        ids = [event["event_id"] for event in receive_until(socket, head)]
    assert ids[: EVENTS // EVERY] == list(range(EVERY, EVENTS + 1, EVERY))
    assert ids[-1] == head


@pytest.mark.slow
def test_posts_do_not_wait_for_replays_of_very_many_ids(hub: Hub) -> None:
    _, topic_id = hub.make_topic("busy")
    over = threading.Event()
    everybody = [f"topic_of_others_{number}" for number in range(OTHERS)]

    def replay() -> None:
        while not over.is_set():
            with hub.listen(subscriptions={"topics": everybody}) as (socket, _):
                receive_until(socket, EVENTS // 4)

    replays = [threading.Thread(target=replay) for _ in range(2)]
    for thread in replays:
        thread.start()
    waited = []
    try:
        for _ in range(40):
            started = time.monotonic()
            hub.post(topic_id)
            waited.append(time.monotonic() - started)
    finally:
        over.set()
        for thread in replays:
            thread.join(60)
    assert sorted(waited)[20] < 0.15, "with a look-up for each id every post waits longer than that"


def test_more_ids_than_that_are_refused(hub: Hub) -> None:
    with hub.connect() as socket:
        many = [f"c{number}" for number in range(wire.MAX_IDS)]
        socket.send(
            json.dumps({"type": "hello", "after_event_id": 0, "subscriptions": {"channels": many, "topics": ["t"]}})
        )
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1003, "Invalid subscriptions")
