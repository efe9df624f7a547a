"""The live path against a model: whatever order things happen in, no hole, no repeat, no disorder and no lost Close.

The model is a list of what was committed, and for each session what it asked for and how it ended. The rules play
sessions that come with random subscriptions and cursors, stall, read on, leave, are closed or fail; commits of this
process and of others; turns of the tailer; followers. A `plan` says what comes between: each of its steps happens at
the next seam, inside a read of the log, an offer to a socket or before a join, as another thread or greenlet would do
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agentlip import wire
from agentlip.hub.follower import Follower
from agentlip.hub.registry import Listener
from agentlip.hub.session import Session, State
from agentlip.hub.subscription import Subscription
from agentlip.model import Scope
from agentlip.store.log import Entry
from agentlip.store.store import Store

from .core import Core, RecordingTransport, hello

QUEUE_EVENTS = 5
pytestmark = pytest.mark.shares_a_hub  # its store, that is
CHANNELS, TOPICS = ["ch_a", "ch_b"], ["topic_a", "topic_b", "topic_c"]

some_scopes = st.lists(
    st.builds(Scope, st.sampled_from(CHANNELS), st.sampled_from([None, *TOPICS]), st.sampled_from([None, *TOPICS])),
    min_size=1,
    max_size=8,
)
some_ids = st.tuples(st.frozensets(st.sampled_from(CHANNELS)), st.frozensets(st.sampled_from(TOPICS)))
some_wanted = st.one_of(st.just((None, None)), some_ids, some_ids)
STEPS = ("commit", "commit", "foreign", "turn", "turn", "join", "drain", "stall", "close", "leave")
plans = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9)), max_size=4)


class SeamStore(Store):
    """A store with a seam: `at_read` runs between the reading of a page and its return."""

    at_read: Callable[[], None] = staticmethod(lambda: None)

    def entries(self, *args: Any) -> list[Entry]:
        found = super().entries(*args)
        self.at_read()
        return found

    def page(self, *args: Any) -> tuple[list[Entry], int]:
        found = super().page(*args)
        self.at_read()
        return found


class Peer:
    """What the model knows of one session."""

    def __init__(self, session: Session, transport: RecordingTransport, after: int, wanted: Subscription) -> None:
        self.session = session
        self.transport = transport
        self.after = after
        self.wanted = wanted
        self.greeted = False
        self.stalled_once = False
        self.fails = False  # its transport has raised
        self.left = False
        self.expected_close: wire.Close | None = None  # the first we know of

    @property
    def is_open(self) -> bool:
        return not self.left and not self.session.is_closed


class Reader:
    """What the model knows of one follower."""

    def __init__(self, follower: Follower, after: int, wanted: Subscription) -> None:
        self.follower = follower
        self.after = after
        self.wanted = wanted
        self.taken = 0


class LivePath(RuleBasedStateMachine):
    store: SeamStore

    def __init__(self) -> None:
        super().__init__()
        self.core = Core(self.store._database.path, self.store, QUEUE_EVENTS=str(QUEUE_EVENTS))
        self.hub = self.core.hub
        self.base = self.store.latest()
        self.log: list[Scope] = []
        self.peers: list[Peer] = []
        self.readers: list[Reader] = []
        self.busy: set[Session] = set()  # driven somewhere below on this stack: another thread would wait for it
        self.in_turn = False
        self.plan: list[tuple[str, int]] = []
        self.store.at_read = self.seam
        self._join = self.hub.feed.registry.join
        self.hub.feed.registry.join = self.join_at_a_seam  # type: ignore[method-assign]

    # The model

    @property
    def head(self) -> int:
        return self.base + len(self.log)

    def matching(self, after: int, wanted: Subscription) -> list[int]:
        return [
            event_id
            for event_id, scope in enumerate(self.log, self.base + 1)
            if event_id > after and wanted.matches(scope)
        ]

    # What comes between

    def seam(self) -> None:
        if self.plan:
            self.step(*self.plan.pop(0))

    def join_at_a_seam(self, listener: Listener) -> bool:
        self.seam()
        return self._join(listener)

    def planned(self, plan: list[tuple[str, int]], call: Callable[[], object]) -> None:
        self.plan = list(plan)
        try:
            call()
        finally:
            self.plan = []

    def step(self, what: str, number: int) -> None:
        scope = Scope(CHANNELS[number % 2], TOPICS[number % 3] if number % 4 else None)
        open_peers = [
            peer for peer in self.peers if peer.is_open and (what != "drain" or peer.session not in self.busy)
        ]
        peer = open_peers[number % len(open_peers)] if open_peers else None
        if what == "commit":
            self.commit([scope])
        elif what == "foreign":
            self.foreign([scope])
        elif what == "turn":
            self.turn()
        elif what == "join":
            self.join(self.base + number, Subscription(None, None))
        elif peer is None:
            return
        elif what == "drain":
            self.drain(peer)
        elif what == "stall":
            peer.transport.stalled = peer.stalled_once = True
        elif what == "close":
            self.close(peer, wire.SHUTTING_DOWN)
        elif what == "leave":
            self.leave(peer)

    # What can happen

    def commit(self, scopes: list[Scope]) -> None:
        self.log += scopes
        self.core.commit(*scopes)

    def foreign(self, scopes: list[Scope]) -> None:
        self.log += scopes
        self.core.foreign(*scopes)

    def turn(self) -> None:
        if not self.in_turn:  # there is only one tailer
            self.in_turn = True
            try:
                self.core.turn()
            finally:
                self.in_turn = False

    def open(self, after: int, wanted: Subscription) -> Peer:
        session, transport = self.core.open(max_events=QUEUE_EVENTS)
        peer = Peer(session, transport, after, wanted)
        transport.at_offer = lambda: self.at_offer(peer)
        self.peers.append(peer)
        return peer

    def at_offer(self, peer: Peer) -> None:
        self.seam()
        if peer.fails:
            raise OSError("the transport fails")

    def greet(self, peer: Peer) -> None:
        peer.after = min(peer.after, self.head)
        peer.greeted = True
        wanted = {"channels": peer.wanted.channels, "topics": peer.wanted.topics}
        message = hello(peer.after) if peer.wanted.is_everything else hello(peer.after, **wanted)  # type: ignore[arg-type]
        self.driving(peer, lambda: peer.session.on_message(message))

    def driving(self, peer: Peer, call: Callable[[], None]) -> None:
        self.busy.add(peer.session)
        try:
            call()
        except OSError:
            assert peer.fails
            self.leave(peer)  # as its reader would
        finally:
            self.busy.discard(peer.session)

    def join(self, after: int, wanted: Subscription) -> Peer:
        peer = self.open(after, wanted)
        self.greet(peer)
        return peer

    def drain(self, peer: Peer) -> None:
        self.driving(peer, lambda: peer.transport.drain(peer.session))

    def close(self, peer: Peer, close: wire.Close) -> None:
        if not peer.session.is_closed:
            peer.expected_close = close
        peer.session.close(close)

    def leave(self, peer: Peer) -> None:
        self.hub.leave(peer.session)
        peer.left = True

    # The rules

    @rule(after=st.integers(0, 30), wanted=some_wanted, plan=plans, stalled=st.booleans())
    def a_session_joins(self, after: int, wanted: tuple[Any, Any], plan: list[tuple[str, int]], stalled: bool) -> None:
        peer = self.open(self.base + after, Subscription(*wanted))
        peer.transport.stalled = peer.stalled_once = stalled
        self.planned(plan, lambda: self.greet(peer))

    @rule(after=st.integers(0, 30), wanted=some_wanted)
    def a_session_comes_and_says_nothing(self, after: int, wanted: tuple[Any, Any]) -> None:
        self.open(self.base + after, Subscription(*wanted))

    @rule(scopes=some_scopes)
    def this_process_commits(self, scopes: list[Scope]) -> None:
        self.commit(scopes)

    @rule(scopes=some_scopes)
    def another_process_commits(self, scopes: list[Scope]) -> None:
        self.foreign(scopes)

    @rule(plan=plans)
    def the_tailer_takes_a_turn(self, plan: list[tuple[str, int]]) -> None:
        self.planned(plan, self.turn)

    def one_of(self, data: st.DataObject) -> Peer:
        return data.draw(st.sampled_from([peer for peer in self.peers if peer.is_open]))

    def some_are_open(self) -> bool:
        return any(peer.is_open for peer in self.peers)

    @precondition(some_are_open)
    @rule(data=st.data(), plan=plans)
    def a_session_says_something(self, data: st.DataObject, plan: list[tuple[str, int]]) -> None:
        """Hello, when it has not said it yet; else it is one message too many."""
        peer = self.one_of(data)
        if peer.greeted:
            peer.expected_close = wire.UNEXPECTED_MESSAGE
            peer.session.on_message("more")
        else:
            self.planned(plan, lambda: self.greet(peer))

    @precondition(some_are_open)
    @rule(data=st.data())
    def a_session_stalls(self, data: st.DataObject) -> None:
        peer = self.one_of(data)
        peer.transport.stalled = peer.stalled_once = True

    @precondition(some_are_open)
    @rule(data=st.data(), plan=plans)
    def a_session_reads_on(self, data: st.DataObject, plan: list[tuple[str, int]]) -> None:
        peer = self.one_of(data)
        self.planned(plan, lambda: self.drain(peer))

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), code=st.sampled_from([wire.SHUTTING_DOWN, wire.HELLO_TIMEOUT]))
    def a_session_is_closed(self, data: st.DataObject, code: wire.Close) -> None:
        """Also one that is: it happens that several find a reason at once."""
        self.close(data.draw(st.sampled_from(self.peers)), code)

    @precondition(some_are_open)
    @rule(data=st.data())
    def a_session_leaves(self, data: st.DataObject) -> None:
        self.leave(self.one_of(data))

    @precondition(some_are_open)
    @rule(data=st.data())
    def the_transport_of_a_session_will_fail(self, data: st.DataObject) -> None:
        self.one_of(data).fails = True

    @rule()
    def all_are_closed(self) -> None:
        for peer in self.peers:
            if peer.is_open:
                peer.expected_close = wire.SHUTTING_DOWN
        self.hub.close_all()

    @rule(after=st.integers(0, 30), wanted=some_wanted)
    def somebody_follows(self, after: int, wanted: tuple[Any, Any]) -> None:
        follower = self.hub.follow(self.base + after, *wanted)
        self.readers.append(Reader(follower, self.base + after, Subscription(*wanted)))

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), most=st.integers(1, 9))
    def a_follower_takes_what_is_there(self, data: st.DataObject, most: int) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        there = self.matching(reader.after, reader.wanted)[reader.taken :][:most]
        assert [next(reader.follower).event_id for _ in there] == there
        reader.taken += len(there)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def a_follower_is_closed(self, data: st.DataObject) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        self.readers.remove(reader)
        reader.follower.close()
        assert list(reader.follower) == []

    @rule()
    def everything_comes_to_rest(self) -> None:
        for peer in self.peers:
            if peer.is_open:
                self.drain(peer)
        self.turn()
        for peer in self.peers:
            if peer.is_open and peer.greeted and not peer.fails:
                assert peer.session.state is State.LIVE
                assert peer.transport.event_ids == self.matching(peer.after, peer.wanted), "something is missing"

    @invariant()
    def nobody_sees_a_hole_a_repeat_or_disorder(self) -> None:
        for peer in self.peers:
            seen, messages = peer.transport.event_ids, peer.transport.messages
            assert seen == self.matching(peer.after, peer.wanted)[: len(seen)]
            assert [message["type"] for message in messages[:1]] == ["hello_ok"][: len(messages)]

    @invariant()
    def each_close_comes_once_and_for_a_reason(self) -> None:
        for peer in self.peers:
            session, transport = peer.session, peer.transport
            assert len(transport.closes) <= 1
            assert session.is_closed or not (transport.closes or transport.kills)
            if transport.closes:
                assert transport.closes == [session.closed_with]
            elif session.is_closed:
                assert peer.left or transport.kills == 1
            if peer.expected_close is not None:
                assert transport.closes == [peer.expected_close]
            elif transport.closes == [wire.BACKPRESSURE]:
                assert peer.stalled_once
            else:
                assert transport.closes == ([wire.REPLAY_FAILED] if transport.closes else [])
                assert peer.fails or peer.left or not session.is_closed

    @invariant()
    def those_who_have_gone_are_forgotten(self) -> None:
        registry = self.hub.feed.registry
        listed = {*registry._everything, *registry._wide, *registry._ahead}
        for index in (registry._by_channel, registry._by_topic):
            listed.update(*index.values())
        known = {peer.session for peer in self.peers if peer.is_open} | {it.follower.bell for it in self.readers}
        assert listed <= known
        assert all(session.cursor > registry.position for session in registry._ahead)
        assert self.hub.connection_count() == sum(peer.is_open for peer in self.peers)

    def teardown(self) -> None:
        self.everything_comes_to_rest()
        for peer in self.peers:
            if peer.is_open and peer.expected_close is None:
                peer.expected_close = wire.SHUTTING_DOWN
        self.hub.shut_down()
        self.each_close_comes_once_and_for_a_reason()
        assert not self.hub.feed.registry.is_live
        for reader in self.readers:
            assert list(reader.follower) == []
        self.store.at_read = lambda: None


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One log for all plays: each begins at its head. Two ids are many here, and pages of many end by time."""
    with pytest.MonkeyPatch.context() as patched:
        for place in ("agentlip.hub.subscription.FEW_IDS", "agentlip.store.log.FEW_IDS"):
            patched.setattr(place, 2)
        LivePath.store = SeamStore(tmp_path_factory.mktemp("model") / "db.sqlite3", "NORMAL", 5.0)
        yield
        LivePath.store.close()


TestLivePath = LivePath.TestCase
TestLivePath.settings = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=150,
    stateful_step_count=30,
    phases=[Phase.generate],  # Phase.shrink gives a short play of a failure, after some minutes
    suppress_health_check=list(HealthCheck),
)
