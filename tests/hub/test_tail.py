"""The tail: which stretch of the log it gives, what it drops, and never a hole. A plain list is the oracle."""

from __future__ import annotations

import random
from bisect import bisect_right

import pytest

from agentlip.hub.tail import TAIL_BYTES, TAIL_EVENTS, Tail
from agentlip.model import Scope
from agentlip.store.log import MAX_ID, Entry


def entry(event_id: int, size: int = 10) -> Entry:
    return Entry(event_id, Scope("ch_a"), bytes(size))


def tail_of(head: int, *event_ids: int) -> Tail:
    tail = Tail(head)
    tail.extend([entry(event_id) for event_id in event_ids])
    return tail


def ids(tail: Tail, cursor: int, until: int = MAX_ID) -> tuple[list[int], int] | None:
    found = tail.after(cursor, until)
    return found and ([it.event_id for it in found[0]], found[1])


@pytest.mark.parametrize(
    ("cursor", "until", "expected"),
    [
        (0, 14, None),
        (9, 14, None),
        (10, 14, ([11, 12, 13, 14], 14)),
        (10, 10, None),
        (10, 11, ([11], 11)),
        (11, 13, ([12, 13], 13)),
        (13, 14, ([14], 14)),
        (13, MAX_ID, ([14], 14)),
        (12, 15, ([13, 14], 14)),
        (14, 14, None),
        (14, MAX_ID, None),
        (15, MAX_ID, None),
        (12, 11, None),
    ],
)
def test_a_stretch_begins_at_the_cursor_and_ends_at_the_bound_or_the_head(
    cursor: int, until: int, expected: tuple[list[int], int] | None
) -> None:
    assert ids(tail_of(10, 11, 12, 13, 14), cursor, until) == expected


@pytest.mark.parametrize(
    ("cursor", "until", "expected"),
    [
        (0, MAX_ID, ([3, 4, 9], 9)),
        (1, 3, ([3], 3)),
        (2, 2, None),
        (0, 2, ([], 2)),
        (3, 8, ([4], 8)),
        (4, 8, ([], 8)),
        (5, 9, ([9], 9)),
        (8, MAX_ID, ([9], 9)),
    ],
)
def test_ids_may_have_gaps(cursor: int, until: int, expected: tuple[list[int], int] | None) -> None:
    assert ids(tail_of(0, 3, 4, 9), cursor, until) == expected


@pytest.mark.parametrize("head", [0, 7])
def test_a_new_tail_holds_nothing(head: int) -> None:
    tail = Tail(head)
    assert [tail.after(cursor, MAX_ID) for cursor in (0, head, head + 1)] == [None] * 3


def test_what_was_handed_out_does_not_change() -> None:
    tail = tail_of(0, 1, 2)
    found = tail.after(0, MAX_ID)
    tail.extend([entry(3)])
    tail.restart(9)
    assert found is not None
    assert [it.event_id for it in found[0]] == [1, 2]


def test_the_same_entries_come_out_that_went_in() -> None:
    tail, given = Tail(0), [entry(1), entry(2)]
    tail.extend(given)
    found = tail.after(0, 2)
    assert found is not None
    assert all(mine is theirs for mine, theirs in zip(found[0], given, strict=True))


def test_restart_forgets_and_goes_on_from_the_new_head() -> None:
    tail = tail_of(0, 1, 2, 3)
    tail.restart(8)
    assert [tail.after(cursor, MAX_ID) for cursor in (0, 2, 3, 7, 8)] == [None] * 5
    tail.extend([entry(9), entry(10)])
    assert ids(tail, 7) is None
    assert ids(tail, 8) == ([9, 10], 10)


def test_too_many_events_leave_the_newest() -> None:
    tail = Tail(100)
    tail.extend([entry(event_id) for event_id in range(101, 101 + 2 * TAIL_EVENTS)])
    assert ids(tail, 100, 101) == ([101], 101), "nothing goes while there is room"
    head = 101 + 2 * TAIL_EVENTS
    tail.extend([entry(head)])
    assert ids(tail, head - TAIL_EVENTS - 1) is None
    assert ids(tail, head - TAIL_EVENTS) == ([*range(head - TAIL_EVENTS + 1, head + 1)], head)


def test_too_many_bytes_leave_the_newest() -> None:
    tail, size = Tail(0), TAIL_BYTES // 8
    tail.extend([entry(event_id, size) for event_id in range(1, 17)])
    assert ids(tail, 0, 1) == ([1], 1), "nothing goes while there is room"
    tail.extend([entry(17, size)])
    assert ids(tail, 8) is None
    assert ids(tail, 9) == ([*range(10, 18)], 17)


@pytest.mark.parametrize("before", [0, 3])
def test_an_event_larger_than_the_whole_tail_is_not_kept(before: int) -> None:
    tail = Tail(0)
    tail.extend([*map(entry, range(1, before + 1)), entry(before + 1, 2 * TAIL_BYTES + 1)])
    assert [tail.after(cursor, MAX_ID) for cursor in range(before + 2)] == [None] * (before + 2)
    tail.extend([entry(before + 2)])
    assert ids(tail, before) is None
    assert ids(tail, before + 1) == ([before + 2], before + 2)


class Log:
    """All that ever went in, as plain lists, with running sums of bytes."""

    def __init__(self, head: int) -> None:
        self.base = self.head = head
        self.ids: list[int] = []
        self.entries: list[Entry] = []
        self.sums = [0]

    def add(self, entries: list[Entry]) -> None:
        for it in entries:
            self.ids.append(it.event_id)
            self.entries.append(it)
            self.sums.append(self.sums[-1] + it.size)
        self.head = self.ids[-1]

    def between(self, cursor: int, until: int) -> list[Entry]:
        return self.entries[bisect_right(self.ids, cursor) : bisect_right(self.ids, until)]

    def beyond(self, cursor: int) -> tuple[int, int]:
        """Number and bytes of the events after the cursor."""
        start = bisect_right(self.ids, cursor)
        return len(self.ids) - start, self.sums[-1] - self.sums[start]


def check(tail: Tail, log: Log, cursor: int, until: int) -> None:
    found, end = tail.after(cursor, until), min(until, log.head)
    events, size = log.beyond(cursor)
    if found is not None:
        assert found == (log.between(cursor, end), end)
        assert end > cursor >= log.base
        assert events <= 2 * TAIL_EVENTS
        assert size <= 2 * TAIL_BYTES
    elif end > cursor >= log.base:
        # Not kept, so it must have been too much, then or now. (A gap before an event dropped belongs to it.)
        assert events > TAIL_EVENTS or size > TAIL_BYTES


@pytest.mark.parametrize("gaps", [False, True], ids=["no gaps", "gaps"])
@pytest.mark.parametrize("seed", range(6))
def test_random_growth_never_shows_a_hole(seed: int, gaps: bool) -> None:
    dice = random.Random(seed)
    head = dice.randrange(50)
    tail, log = Tail(head), Log(head)
    sizes = [10, 1000, 20_000] if seed % 2 else [10, 200]
    for _turn in range(60):
        if dice.random() < 0.03:
            head = log.head + dice.randrange(1, 9)
            tail.restart(head)
            log = Log(head)
        batch, event_id = [], log.head
        for _ in range(dice.choice([1, 2, 50, 256, 700])):
            event_id += dice.choice([1, 1, 1, 5]) if gaps else 1
            batch.append(entry(event_id, dice.choice(sizes)))
        tail.extend(batch)
        log.add(batch)
        for _ in range(12):
            cursor = log.head - dice.choice([0, 1, dice.randrange(40), dice.randrange(3000), dice.randrange(9000)])
            check(tail, log, max(0, cursor), max(0, cursor) + dice.choice([0, 1, 7, 500, MAX_ID // 2]))


@pytest.mark.parametrize("again", [[11, 12, 13], [11], [11, 12, 13, 14, 15], [12, 13], [13, 20]], ids=str)
def test_a_batch_that_comes_again_takes_the_place_of_what_it_left(again: list[int]) -> None:
    tail = tail_of(10, 11, 12, 13)
    tail.extend([entry(event_id, size=7) for event_id in again])
    kept = [event_id for event_id in (11, 12, 13) if event_id < again[0]] + again
    assert ids(tail, 10) == (kept, again[-1])
    assert tail._bytes == sum(it.size for it in tail._entries) == 10 * (len(kept) - len(again)) + 7 * len(again)
