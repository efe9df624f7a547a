"""The registry: who gets what of a batch, and the seam between reading the log and being live."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from agentlip.hub.registry import Registry
from agentlip.hub.subscription import Subscription
from agentlip.model import Entity, Event, Scope
from agentlip.store.log import Entry

EVERYTHING = Subscription(None, None)


class Listener:
    """Records what it is given, as a session's send queue would take it."""

    @staticmethod
    def encode(entries: Sequence[Entry]) -> bytes:
        return b"".join(entry.envelope for entry in entries)

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
    assert all(wanted.matches(e.scope) == (e.envelope in expected) for e in BATCH)


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


class Failing(Listener):
    """Fails at its first delivery, and when it is dropped."""

    def deliver(self, blob: bytes, events: int) -> None:
        super().deliver(blob, events)
        raise OSError("it has gone")

    def drop(self) -> None:
        raise OSError("it has gone for good")


@pytest.mark.parametrize("wanted", [EVERYTHING, Subscription(frozenset({"ch_a"}), frozenset())])
def test_one_that_fails_is_dropped_and_the_others_get_everything(wanted: Subscription) -> None:
    registry = Registry(0)
    listeners = [Listener(wanted) for _ in range(6)]
    failing = [Failing(wanted) for _ in range(3)]
    for listener in (*listeners[:3], *failing, *listeners[3:]):
        assert registry.join(listener)
    registry.publish(BATCH[:1])
    registry.publish(BATCH[1:3])
    assert {listener.received for listener in listeners} == {b"1;2;3;" if wanted is EVERYTHING else b"1;3;"}
    assert [listener.received for listener in failing] == [b"1;"] * 3
    assert registry.position == 3


def test_a_batch_that_can_not_be_encoded_moves_nothing() -> None:
    registry, listener = Registry(0), Listener(EVERYTHING)
    registry.join(listener)
    broken = Entry(2, Scope("ch_a"), event=Event(2, "t", "x", Scope("ch_a"), Entity("e", "1"), '"\ud800"'))
    with pytest.raises(UnicodeEncodeError):
        registry.publish([BATCH[0], broken])
    assert (registry.position, listener.received) == (0, b"")
    registry.publish(BATCH[:2])
    assert listener.received == b"1;2;"


MANY = frozenset(f"topic_{number}" for number in range(2, 10_000))


@pytest.mark.parametrize(
    ("channels", "topics", "expected"),
    [
        (frozenset(), MANY | {"topic_1"}, b"2;3;"),
        (frozenset(), MANY, b"3;"),
        (MANY | {"ch_a"}, frozenset(), b"1;3;"),
        (MANY | {"ch_c"}, MANY, b"3;4;"),
        (MANY, frozenset(), b""),
    ],
    ids=range(5),
)
def test_very_many_ids_select_the_same_and_are_not_indexed(
    channels: frozenset[str], topics: frozenset[str], expected: bytes
) -> None:
    registry = Registry(0)
    behind, ahead = (Listener(Subscription(channels, topics), cursor) for cursor in (0, 2))
    for listener in (behind, ahead):
        assert registry.join(listener)
        assert registry.is_live
    assert not registry._by_topic
    registry.publish(BATCH[:3])
    registry.publish(BATCH[3:])
    assert (behind.received, ahead.received) == (expected, expected.replace(b"1;", b"").replace(b"2;", b""))
    for listener in (behind, ahead):
        registry.leave(listener)
    assert not registry.is_live


def test_coming_and_going_with_ten_thousand_ids_holds_up_nobody() -> None:
    registry = Registry(0)
    listeners = [Listener(Subscription(frozenset(), MANY)) for _ in range(100)]
    spent = time.process_time()
    for listener in listeners:
        registry.join(listener)
    for listener in listeners:
        registry.leave(listener)
    assert time.process_time() - spent < 0.1, "an index of their ids would take seconds"


def test_each_transport_encodes_a_batch_once_for_all_that_want_the_same() -> None:
    calls: list[str] = []

    def encoding(name: str) -> Callable[[Sequence[Entry]], bytes]:
        def encode(entries: Sequence[Entry]) -> bytes:
            calls.append(name)
            return name.encode() + b"".join(entry.envelope for entry in entries)

        return encode

    registry, one, other = Registry(0), encoding("1"), encoding("2")
    listeners = [Listener(EVERYTHING) for _ in range(6)]
    for listener, encode in zip(listeners, (one, other) * 3, strict=True):
        listener.encode = encode  # type: ignore[method-assign]
        registry.join(listener)
    registry.publish(BATCH)
    assert sorted(calls) == ["1", "2"]
    assert [listener.received for listener in listeners] == [b"11;2;3;4;", b"21;2;3;4;"] * 3


def test_a_transport_that_cannot_encode_harms_no_other() -> None:
    registry, good, bad = Registry(0), Listener(EVERYTHING), Failing(EVERYTHING)
    bad.encode = lambda entries: b"%d" % (1 // 0)  # type: ignore[method-assign]
    for listener in (bad, good):
        registry.join(listener)
    registry.publish(BATCH[:1])
    registry.publish(BATCH[1:2])
    assert (good.received, bad.deliveries) == (b"1;2;", 0)
