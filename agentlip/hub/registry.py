"""The registry: every session of the process, and the index that finds the ones an event matches.

One native lock guards the index and `position`, the id of the last published event.  `join` and
the snapshot of `publish` both happen under it, so a session that has read the log up to
`position` either is in the snapshot of the next batch or reads that batch from the log: no hole,
no repeat.  Delivery itself happens outside the lock, and so does all work that grows with the number
of events: nobody waits long for it.

The tailer alone moves `position`; `join` and `leave` alone change the index.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from .. import concurrency
from ..store.log import Entry
from .subscription import Subscription

# Sockets served before others may run: a turn of the loop costs about as much as one delivery.
_BURST = 256

# What a transport sends for events; one function for all its sockets, so that they share what it returns.
Encode = Callable[[Sequence[Entry]], bytes]

logger = logging.getLogger("agentlip.hub")


class Listener(Protocol):
    """What the registry needs of a session."""

    subscription: Subscription
    cursor: int

    @property
    def encode(self) -> Encode: ...

    def deliver(self, blob: bytes, events: int) -> None:
        """Take `events` encoded events, ascending; never blocks."""

    def drop(self) -> None:
        """A delivery has failed, so it cannot be served any further."""


class Registry:
    """Thread-safe; all methods may be called from any thread or greenlet."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._lock = concurrency.native_lock()
        self._everything: set[Listener] = set()
        self._by_channel: dict[str, set[Listener]] = {}
        self._by_topic: dict[str, set[Listener]] = {}
        # Those with many ids: matched one by one, so that coming and going costs no more than for one id.
        self._wide: set[Listener] = set()
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
            elif wanted.is_wide:
                self._wide.add(session)
            else:
                for index, ids in ((self._by_channel, wanted.channels), (self._by_topic, wanted.topics)):
                    for scope_id in ids or ():
                        index.setdefault(scope_id, set()).add(session)
            return True

    def leave(self, session: Listener) -> None:
        """Forget the session; leaving twice, or without having joined, is fine."""
        with self._lock:
            self._everything.discard(session)
            self._wide.discard(session)
            self._ahead.discard(session)
            wanted = session.subscription
            if wanted.is_wide:
                return
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
        return bool(self._everything or self._wide or self._by_channel or self._by_topic or self._ahead)

    def skip_to(self, head: int) -> bool:
        """Move on to `head` without reading what lies between, if nobody is live who might want it."""
        with self._lock:
            if self.is_live:
                return False
            self.position = max(self.position, head)
            return True

    def publish(self, entries: Sequence[Entry]) -> None:
        """Hand a batch, ascending and right after `position`, to all sessions it matches. Only the tailer calls it.

        Sessions of one transport that want the same events of the batch share one blob, so each costs one offer
        however many events wait. Cedes between bursts of sockets. It raises only before anything has moved: then the
        same batch may come again. A session that fails is dropped, and nobody else notices.
        """
        for entry in entries:
            entry.envelope  # noqa: B018  # made now, as it may fail
        by_channel, by_topic = _masks(entries)
        with self._lock:
            everything, wide = list(self._everything), list(self._wide)
            chosen = [(mask, list(self._by_channel.get(scope_id, ()))) for scope_id, mask in by_channel.items()]
            chosen += [(mask, list(self._by_topic.get(scope_id, ()))) for scope_id, mask in by_topic.items()]
            floors = {session: session.cursor for session in self._ahead}
            self.position = entries[-1].event_id
            self._ahead = {session for session in self._ahead if session.cursor > self.position}
        masks: dict[Listener, int] = dict.fromkeys(everything, (1 << len(entries)) - 1)
        for mask, sessions in chosen:
            for session in sessions:
                masks[session] = masks.get(session, 0) | mask
        for session in wide:
            masks[session] = _touched(by_channel, session.subscription.channels) | _touched(
                by_topic, session.subscription.topics
            )
        for session, floor in floors.items():
            if session in masks:
                masks[session] &= sum(1 << bit for bit, entry in enumerate(entries) if entry.event_id > floor)
        self._deliver(masks, entries)

    def _deliver(self, masks: dict[Listener, int], entries: Sequence[Entry]) -> None:
        blobs: dict[tuple[Encode, int], tuple[bytes, int]] = {}
        for served, (session, mask) in enumerate(masks.items(), 1):
            if mask:
                try:
                    found = blobs.get((session.encode, mask))
                    if found is None:
                        wanted = [entry for bit, entry in enumerate(entries) if mask >> bit & 1]
                        found = blobs[session.encode, mask] = session.encode(wanted), len(wanted)
                    session.deliver(*found)
                except Exception:
                    logger.exception("A delivery failed; the session is dropped")
                    self._drop(session)
            if served % _BURST == 0:
                concurrency.cede()

    def _drop(self, session: Listener) -> None:
        """End a session that has missed a batch: it must not get the next one."""
        self.leave(session)
        try:
            session.drop()
        except Exception:
            logger.exception("A session could not be dropped")


def _masks(entries: Sequence[Entry]) -> tuple[dict[str, int], dict[str, int]]:
    """For each channel and each topic that the batch touches, a bit for each of its events that does."""
    by_channel: dict[str, int] = {}
    by_topic: dict[str, int] = {}
    for bit, entry in enumerate(entries):
        channel_id, topic_id, topic_id2 = entry.scope
        if channel_id is not None:
            by_channel[channel_id] = by_channel.get(channel_id, 0) | 1 << bit
        for scope_id in (topic_id, topic_id2):
            if scope_id is not None:
                by_topic[scope_id] = by_topic.get(scope_id, 0) | 1 << bit
    return by_channel, by_topic


def _touched(masks: dict[str, int], wanted: frozenset[str] | None) -> int:
    """The events that touch one of the wanted ids."""
    found = 0
    for scope_id, mask in masks.items():
        if wanted and scope_id in wanted:
            found |= mask
    return found
