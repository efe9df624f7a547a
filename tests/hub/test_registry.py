"""The registry: who gets what of a batch, and the seam between reading the log and being live."""

from __future__ import annotations

import pytest

from agentlip.hub.registry import Registry
from agentlip.hub.subscription import Subscription
from agentlip.model import Scope
from agentlip.store.log import Entry

EVERYTHING = Subscription(None, None)


class Listener:
    """Records what it is given, as a session's send queue would take it."""

    def __init__(self, subscription: Subscription, cursor: int = 0) -> None:
        self.subscription = subscription
        self.cursor = cursor
        self.received = b""
        self.events = 0
        self.deliveries = 0

    def deliver(self, blob: bytes, events: int) -> None:
        self.received += blob
        self.events += events
        self.deliveries += 1


def entry(event_id: int, channel: str = "ch_a", topic: str | None = None, topic2: str | None = None) -> Entry:
    return Entry(event_id, Scope(channel, topic, topic2), b"%d;" % event_id)


BATCH = [entry(1), entry(2, "ch_b", "topic_1"), entry(3, "ch_a", "topic_1", "topic_2"), entry(4, "ch_c")]


@pytest.mark.parametrize(
    ("channels", "topics", "expected"),
    [
        (None, None, b"1;2;3;4;"),
        ({"ch_a"}, set(), b"1;3;"),
        (set(), {"topic_1"}, b"2;3;"),
        (set(), {"topic_2"}, b"3;"),
        ({"ch_a", "ch_b"}, {"topic_1", "topic_2"}, b"1;2;3;"),
        (set(), set(), b""),
        ({"ch_x"}, {"topic_x"}, b""),
    ],
)
def test_each_listener_gets_its_events_once_in_order_in_one_delivery(
    channels: set[str] | None, topics: set[str] | None, expected: bytes
) -> None:
    wanted = EVERYTHING if channels is None else Subscription(frozenset(channels), frozenset(topics or ()))
    listener, registry = Listener(wanted), Registry(0)
    assert registry.join(listener)
    registry.publish(BATCH)
    assert (listener.received, listener.events) == (expected, expected.count(b";"))
    assert listener.deliveries == (1 if expected else 0)
    assert all(wanted.matches(e.scope) == (e.frame in expected) for e in BATCH)


def test_a_listener_behind_the_position_must_read_on() -> None:
    registry = Registry(5)
    assert not registry.join(Listener(EVERYTHING, cursor=4))
    assert registry.join(Listener(EVERYTHING, cursor=5))


def test_a_listener_ahead_of_the_position_skips_what_it_has() -> None:
    registry, listener = Registry(0), Listener(EVERYTHING, cursor=2)
    assert registry.join(listener)
    registry.publish(BATCH[:1])
    registry.publish(BATCH[1:3])
    registry.publish(BATCH[3:])
    assert listener.received == b"3;4;"


def test_who_left_gets_nothing_and_the_index_is_empty_again() -> None:
    registry = Registry(0)
    listener = Listener(Subscription(frozenset({"ch_a"}), frozenset({"topic_1"})))
    registry.join(listener)
    registry.leave(listener)
    registry.leave(listener)
    assert registry.skip_to(4)
    assert (listener.received, registry.position) == (b"", 4)


def test_events_are_skipped_only_while_nobody_is_live() -> None:
    registry = Registry(0)
    registry.join(Listener(EVERYTHING))
    assert not registry.skip_to(9)
    assert registry.position == 0
