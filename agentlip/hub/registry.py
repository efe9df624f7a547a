"""The registry: every session of the process, and the index that finds the ones an event matches.

One native lock guards the index and `position`, the id of the last published event.  `join` and
the snapshot of `publish` both happen under it, so a session that has read the log up to
`position` either is in the snapshot of the next batch or reads that batch from the log: no hole,
no repeat.  Delivery itself happens outside the lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .. import concurrency
from ..store.log import Entry
from .subscription import Subscription

# Sockets served before others may run: a turn of the loop costs about as much as one delivery.
_BURST = 256


class Listener(Protocol):
    """What the registry needs of a session."""

    subscription: Subscription
    cursor: int

    def deliver(self, blob: bytes, events: int) -> None:
        """Take frames of `events` events, ascending; never blocks."""


class Registry:
    """Thread-safe; all methods may be called from any thread or greenlet."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._lock = concurrency.native_lock()
        self._everything: set[Listener] = set()
        self._by_channel: dict[str, set[Listener]] = {}
        self._by_topic: dict[str, set[Listener]] = {}
        # Live sessions whose cursor was above `position` when they joined: they skip what is below it.
        self._ahead: set[Listener] = set()

    def join(self, session: Listener) -> bool:
        """Make the session live, if it has read the log up to `position`; else False, and it must read on."""
        with self._lock:
            if session.cursor < self.position and not session.subscription.is_nothing:
                return False
            if session.cursor > self.position:
                self._ahead.add(session)
            wanted = session.subscription
            if wanted.is_everything:
                self._everything.add(session)
            for index, ids in ((self._by_channel, wanted.channels), (self._by_topic, wanted.topics)):
                for scope_id in ids or ():
                    index.setdefault(scope_id, set()).add(session)
            return True

    def leave(self, session: Listener) -> None:
        """Forget the session; leaving twice, or without having joined, is fine."""
        with self._lock:
            self._everything.discard(session)
            self._ahead.discard(session)
            wanted = session.subscription
            for index, ids in ((self._by_channel, wanted.channels), (self._by_topic, wanted.topics)):
                for scope_id in ids or ():
                    members = index.get(scope_id)
                    if members is not None:
                        members.discard(session)
                        if not members:
                            del index[scope_id]

    @property
    def is_live(self) -> bool:
        """Whether anybody waits for events."""
        return bool(self._everything or self._by_channel or self._by_topic or self._ahead)

    def skip_to(self, head: int) -> bool:
        """Move on to `head` without reading what lies between, if nobody is live who might want it."""
        with self._lock:
            if self.is_live:
                return False
            self.position = max(self.position, head)
            return True

    def publish(self, entries: Sequence[Entry]) -> None:
        """Hand a batch, ascending and right after `position`, to all sessions it matches. Only the tailer calls it.

        Encodes nothing: sessions that want the same events of the batch share one blob, so each
        costs one offer however many events wait. Cedes between bursts of sockets.
        """
        with self._lock:
            everything = list(self._everything)
            masks = self._masks(entries)
            floors = {session: session.cursor for session in self._ahead}
            self.position = entries[-1].event_id
            self._ahead = {session for session in self._ahead if session.cursor > self.position}
        frames = [entry.frame for entry in entries]
        full = (1 << len(frames)) - 1
        for session in everything:
            masks[session] = full
        for session, floor in floors.items():
            if session in masks:
                masks[session] &= sum(1 << bit for bit, entry in enumerate(entries) if entry.event_id > floor)
        blobs: dict[int, tuple[bytes, int]] = {}
        for served, (session, mask) in enumerate(masks.items(), 1):
            if mask not in blobs:
                chosen = [frame for bit, frame in enumerate(frames) if mask >> bit & 1]
                blobs[mask] = b"".join(chosen), len(chosen)
            blob, count = blobs[mask]
            if count:
                session.deliver(blob, count)
            if served % _BURST == 0:
                concurrency.cede()

    def _masks(self, entries: Sequence[Entry]) -> dict[Listener, int]:
        """For each session with ids, a bit for each event of the batch that it wants."""
        by_channel: dict[str | None, int] = {}
        by_topic: dict[str | None, int] = {}
        for bit, entry in enumerate(entries):
            channel_id, topic_id, topic_id2 = entry.scope
            by_channel[channel_id] = by_channel.get(channel_id, 0) | 1 << bit
            by_topic[topic_id] = by_topic.get(topic_id, 0) | 1 << bit
            by_topic[topic_id2] = by_topic.get(topic_id2, 0) | 1 << bit
        masks: dict[Listener, int] = {}
        for index, wanted in ((self._by_channel, by_channel), (self._by_topic, by_topic)):
            for scope_id, mask in wanted.items():
                for session in index.get(scope_id, ()) if scope_id is not None else ():
                    masks[session] = masks.get(session, 0) | mask
        return masks
