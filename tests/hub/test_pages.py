"""Pages: the same bytes from memory and from the log, where they end, and which are shared."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentlip.hub.pages import KEPT_PAGES, PAGE_BYTES, PAGE_EVENTS, Page, Pages
from agentlip.hub.subscription import Subscription
from agentlip.hub.tail import Tail
from agentlip.model import Channel, Entity, Scope, Topic
from agentlip.server.websocket.transport import encode
from agentlip.store import mutations
from agentlip.store.log import MAX_ID, Entry
from agentlip.store.store import Store
from agentlip.store.writer import Transaction

LOTS = 1 << 30
EVENTS = 2600
EVERYTHING = Subscription(None, None)


def ids(*some: str) -> frozenset[str]:
    return frozenset(some)


WANTED = {
    "everything": EVERYTHING,
    "a channel": Subscription(ids("ch_0"), ids()),
    "two channels": Subscription(ids("ch_0", "ch_1"), ids()),
    "a topic": Subscription(ids(), ids("topic_1")),
    "topics": Subscription(ids(), ids("topic_0", "topic_2")),
    "a second topic": Subscription(ids(), ids("moved_1")),
    "both": Subscription(ids("ch_2"), ids("topic_1", "moved_0")),
    "a rare one": Subscription(ids(), ids("topic_rare")),
    "very many": Subscription(ids("ch_2", *map(str, range(5000))), ids("topic_1", "moved_0", *map(str, range(5000)))),
    "very many, but rare": Subscription(ids(), ids("topic_rare", *map(str, range(5000)))),
    "very many unknown ones": Subscription(ids(*map(str, range(5000))), ids(*map(str, range(5000)))),
    "unknown ones": Subscription(ids("ch_x"), ids("topic_x")),
}


def fill(transaction: Transaction) -> None:
    dice = random.Random(7)
    for number in range(EVENTS):
        channel, topic = f"ch_{dice.randrange(3)}", f"topic_{dice.randrange(3)}"
        moved = f"moved_{dice.randrange(2)}" if dice.random() < 0.2 else None
        scope = Scope(channel, "topic_rare" if number in (3, 2000) else topic, moved)
        size = dice.choice([0, 10, 10, 300, 3000]) if number % 400 else PAGE_BYTES + 9
        transaction.append("an.event", scope, Entity("e", "e_1"), "x" * size)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store(tmp_path_factory.mktemp("pages") / "db.sqlite3", "NORMAL", 5.0)
    opened.write(fill)
    opened.latest()  # opens this thread's reader, which the tests share
    yield opened
    opened.close()


def entries_of(store: Store, after: int = 0, until: int = MAX_ID) -> list[Entry]:
    return store.entries(after, until, LOTS, LOTS)


def from_log(store: Store, size: int = 10_000) -> Pages:
    """Pages whose tail is empty, so that all is read."""
    return Pages(store, Tail(store.latest()), size)


def from_memory(store: Store, floor: int = 0, head: int = EVENTS, size: int = 10_000) -> Pages:
    """Pages whose tail holds the log from `floor` to `head`."""
    tail = Tail(floor)
    tail.extend(entries_of(store, floor, head))
    return Pages(store, tail, size)


def walk(pages: Pages, after: int, until: int, wanted: Subscription) -> list[Page]:
    """The pages a session would send."""
    found: list[Page] = []
    while after < until:
        page = pages.next(after, until, wanted, encode)
        assert after < page.last_id <= until, "each page brings the cursor forward"
        found.append(page)
        after = page.last_id
    return found


def expected(store: Store, after: int, until: int, wanted: Subscription) -> list[Entry]:
    return [entry for entry in entries_of(store, after, until) if wanted.matches(entry.scope)]


@pytest.mark.parametrize("name", WANTED)
@pytest.mark.parametrize(("after", "until"), [(0, EVENTS), (1, 2), (7, 1207), (499, 501), (500, 1000), (2590, EVENTS)])
def test_memory_and_log_give_the_same_bytes(store: Store, name: str, after: int, until: int) -> None:
    wanted = WANTED[name]
    events = expected(store, after, until, wanted)
    blob = encode(events)
    kinds = {
        "log": from_log(store),
        "memory": from_memory(store),
        "memory begins later": from_memory(store, floor=900),
        "memory ends earlier": from_memory(store, head=1100),
        "small pages": from_memory(store, size=13),
    }
    for kind, pages in kinds.items():
        found = walk(pages, after, until, wanted)
        assert b"".join(page.blob for page in found) == blob, kind
        assert sum(page.events for page in found) == len(events), kind
        assert found[-1].last_id == until, kind


@pytest.mark.parametrize("name", WANTED)
def test_pages_are_equal_one_by_one(store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentlip.store.log.SCAN_SECONDS", 60)  # a busy machine would cut pages of many ids short
    memory, log = (walk(pages, 0, EVENTS, WANTED[name]) for pages in (from_memory(store), from_log(store)))
    if WANTED[name].is_everything:
        assert memory == log
    # Read from the log, a page whose last event of all exceeds the bytes ends at the bound, not at that event.
    assert [page.blob for page in memory if page.events] == [page.blob for page in log if page.events]


@pytest.mark.parametrize("name", WANTED)
def test_the_cursor_stands_at_the_last_event_of_a_page_cut_short_and_else_at_its_end(store: Store, name: str) -> None:
    wanted, pages = WANTED[name], from_memory(store, size=50)
    for page in walk(pages, 0, EVENTS, wanted):
        frames = expected(store, 0, page.last_id, wanted)[-page.events :] if page.events else []
        assert page.blob == encode(frames)
        if page.events == 50 or len(page.blob) > PAGE_BYTES:
            assert page.last_id == frames[-1].event_id
        else:
            assert page.last_id == EVENTS or wanted.is_everything


def test_a_tail_that_ends_before_the_bound_ends_the_page(store: Store) -> None:
    pages, wanted = from_memory(store, floor=1000, head=1010), WANTED["unknown ones"]
    assert pages.next(1000, EVENTS, wanted, encode) == Page(b"", 0, 1010)
    assert pages.next(1010, EVENTS, wanted, encode) == Page(b"", 0, EVENTS), "from there on the log is read"


@pytest.mark.parametrize("make", [from_log, from_memory])
@pytest.mark.parametrize("size", [1, 7, PAGE_EVENTS, 10_000])
@pytest.mark.parametrize("name", ["everything", "two channels"])
def test_pages_are_bounded_in_events_and_bytes(store: Store, make: type[Pages], size: int, name: str) -> None:
    largest = max(len(encode([entry])) for entry in entries_of(store))
    pages = walk(make(store, size=size), 0, EVENTS if size > 1 else 90, WANTED[name])
    assert max(page.events for page in pages) <= min(size, PAGE_EVENTS)
    for page in pages:
        assert len(page.blob) <= PAGE_BYTES + largest
    assert any(len(page.blob) > PAGE_BYTES for page in pages), "the byte limit was met"


@pytest.mark.parametrize("make", [from_log, from_memory])
def test_pages_of_everything_are_shared(store: Store, make: type[Pages]) -> None:
    pages = make(store, size=10)
    first = pages.next(0, EVENTS, EVERYTHING, encode)
    assert pages.next(0, EVENTS, EVERYTHING, encode) is first
    assert pages.next(0, EVENTS - 1, Subscription(None, None), encode) is first, "whatever the bound, if it lies beyond"
    assert pages.next(0, 9, EVERYTHING, encode) is not first


def test_each_transport_has_its_own_pages(store: Store) -> None:
    pages = from_log(store, size=10)
    ours = pages.next(410, EVENTS, EVERYTHING, encode)
    theirs = pages.next(410, EVENTS, EVERYTHING, lambda entries: b"%d of theirs" % len(entries))
    assert theirs == Page(b"10 of theirs", 10, ours.last_id)
    assert pages.next(410, EVENTS, EVERYTHING, encode) is ours


@pytest.mark.parametrize("make", [from_log, from_memory])
def test_clients_with_different_cursors_meet_on_the_same_pages(store: Store, make: type[Pages]) -> None:
    pages = make(store, size=10)
    one, other = (walk(pages, cursor, 400, EVERYTHING) for cursor in (52, 57))
    assert one[0].last_id == other[0].last_id == 60
    assert [id(page) for page in one[1:]] == [id(page) for page in other[1:]]
    assert len(one) > 3


def test_only_the_latest_used_pages_are_kept(store: Store) -> None:
    pages = from_memory(store, size=10)
    first, second = pages.next(410, EVENTS, EVERYTHING, encode), pages.next(420, EVENTS, EVERYTHING, encode)
    for start in range(430, 430 + 10 * (KEPT_PAGES - 1), 10):
        pages.next(start, EVENTS, EVERYTHING, encode)
        assert pages.next(410, EVENTS, EVERYTHING, encode) is first, "used all the time"
    again = pages.next(420, EVENTS, EVERYTHING, encode)
    assert again == second
    assert again is not second


def test_pages_of_some_ids_are_not_kept(store: Store) -> None:
    pages, wanted = from_memory(store), WANTED["a channel"]
    assert pages.next(0, EVENTS, wanted, encode) == pages.next(0, EVENTS, wanted, encode)
    assert pages.next(0, EVENTS, wanted, encode) is not pages.next(0, EVENTS, wanted, encode)


@pytest.mark.parametrize("name", ["everything", "a channel"])
def test_one_event_over_the_limit_is_a_page_of_its_own(store: Store, name: str) -> None:
    entry = next(it for it in entries_of(store) if len(it.envelope) > PAGE_BYTES and it.scope.channel_id == "ch_0")
    for pages in (from_log(store), from_memory(store)):
        page = pages.next(entry.event_id - 1, EVENTS, WANTED[name], encode)
        assert page == Page(encode([entry]), 1, entry.event_id)


def test_both_topics_see_a_moved_message(tmp_path: Path) -> None:
    tail, entries = Tail(0), list[Entry]()
    store = Store(tmp_path / "db.sqlite3", "NORMAL", 5.0, entries.extend)
    try:
        channel: Channel = store.write(mutations.create_channel, "general", None)[0]
        old, new = (topic_of(store, channel, title) for title in ("old", "new"))
        message = store.write(mutations.post_message, old.id, "ann", "hi")[0]
        store.write(mutations.move_message, message.id, new.id, "one", None)
        tail.extend(entries)
        head = store.latest()
        for topic in (old, new):
            wanted = Subscription(ids(), ids(topic.id))
            memory = Pages(store, tail, 100).next(0, head, wanted, encode)
            assert memory.blob == from_log(store).next(0, head, wanted, encode).blob
            assert b"message.moved_topic" in memory.blob
    finally:
        store.close()


def topic_of(store: Store, channel: Channel, title: str) -> Topic:
    return store.write(mutations.create_topic, channel.id, title)[0]
