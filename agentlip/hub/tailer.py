"""The tailer: the single reader of the log in a process. It owns the order of what is published.

It reads from its own position, so a doubled wake-up does nothing and a lost one costs one poll
interval: commits of other processes, with or without this package, are seen the same way.  The
writer of this process hands over what it committed; where that follows directly on the position
it need not be read back.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

from .. import concurrency
from ..errors import AgentlipError, DatabaseLost
from ..store.log import MAX_ID, Entry
from ..store.store import Store
from .registry import Registry
from .tail import Tail

POLL_SECONDS = 0.1
REST_SECONDS = 1.0  # between looks while nobody is live
LONG_SECONDS = 0.0003
MAX_PAUSE_SECONDS = 0.02
BATCH_EVENTS = 256
BATCH_BYTES = 256 * 1024
_HANDED_BYTES = 4 * 1024 * 1024

logger = logging.getLogger("agentlip.hub")


class Tailer:
    """Runs in a greenlet or thread of its own between `start` and `stop`."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        tail: Tail,
        batch_events: int,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_lost` is called at each look while the database is not the one that was opened."""
        self._store = store
        self._on_lost = on_lost
        self._registry = registry
        self._tail = tail
        self._batch_events = min(BATCH_EVENTS, batch_events)
        self._wakeup: concurrency.Wakeup = concurrency.new_wakeup()
        # `wake` adds to what was handed over and says when to look; the tailer takes away, and forgets a look before it
        # reads the log, so that a later one is never lost. All else is the tailer's own.
        self._lock = concurrency.native_lock()
        self._handed: deque[Entry] = deque()
        self._handed_bytes = 0
        self._look = False
        self.in_company = False  # in this turn several posted at a time
        self.resting = False  # nobody was live: whoever becomes so must wake the tailer
        self._stopped = False
        self.tasks: list[concurrency.Task] = []

    def start(self) -> None:
        self.tasks.append(concurrency.spawn(self._run))

    def wake(self, entries: Sequence[Entry] = ()) -> None:
        """Publish the entries, just committed here, or look at the log; from any thread or greenlet, never blocks."""
        with self._lock:
            if entries and self._handed_bytes < _HANDED_BYTES:
                self._handed.extend(entries)
                self._handed_bytes += sum([entry.size for entry in entries])
            else:
                self._look = True  # also when so much waits that it is better read back from the log
        self._wakeup.set()

    def stop(self) -> None:
        self._stopped = True
        self._wakeup.set()

    def _run(self) -> None:
        failing = False
        while not self._stopped:
            self.resting = True  # before the question: who joins after it will see this
            self.resting = not self._registry.is_live
            if not self._wakeup.wait(REST_SECONDS if self.resting else POLL_SECONDS):
                self._look = True
            self.resting = False
            started = time.monotonic()
            try:
                self._catch_up()
                failing = False
                pause = self.pause_after(time.monotonic() - started)
                if pause:
                    time.sleep(pause)
            except DatabaseLost:
                self._on_lost()
            except Exception as error:
                if not failing:
                    what = "The log cannot be read" if isinstance(error, AgentlipError) else "Publishing failed"
                    logger.exception("%s; trying again", what)
                failing = self._look = True  # what was handed over may be lost; it is in the log

    def pause_after(self, spent: float) -> float:
        """How many seconds to leave to the posters after a turn of `spent` seconds: in company eight times as many.

        A socket costs the same for one event as for ten, so events that share a fan-out give more of them per second
        to everybody, and the fan-out takes no more than a ninth of the time. A poster who is alone would gain nothing.
        """
        return min(8 * spent, MAX_PAUSE_SECONDS) if self.in_company and spent > LONG_SECONDS else 0.0

    def _catch_up(self) -> None:
        self.in_company = False
        while not self._stopped:
            entries = self._take()
            if not entries:
                if not self._look and not self._handed:
                    return
                self._look = False
                handed = self._last_handed()
                if not self._registry.is_live:
                    self._skip(handed)
                    continue
                entries = self._store.entries(self._registry.position, MAX_ID, self._batch_events, BATCH_BYTES)
                if not entries:
                    self._forget_handed(handed)
                    continue
                self.in_company |= len(entries) > 1  # others write elsewhere, and here nobody counts them
                # A short page was all there is; a later commit rings again, and may have done so since.
                if len(entries) == self._batch_events or sum(len(it.envelope) for it in entries) > BATCH_BYTES:
                    self._look = True
            self.in_company |= self._store.writers > 1  # before: who has been answered meanwhile is not counted
            self._tail.extend(entries)
            if not self._registry.skip_to(entries[-1].event_id):
                self._registry.publish(entries)
                if self._look:
                    concurrency.cede()  # flushers must keep up with a long run of batches

    def _skip(self, handed: int) -> None:
        """Move on to the head of the log: nobody is live who might want what lies between."""
        head = self._store.latest()
        if head <= self._registry.position:
            self._forget_handed(handed)
        elif self._registry.skip_to(head):
            self._tail.restart(head)

    def _last_handed(self) -> int:
        with self._lock:
            return self._handed[-1].event_id if self._handed else 0

    def _forget_handed(self, until: int) -> None:
        """The log has nothing beyond the position: what was handed over before that look was deleted by some other
        program. What came after it was not."""
        with self._lock:
            while self._handed and self._handed[0].event_id <= until:
                self._handed_bytes -= self._handed.popleft().size
            if not self._handed:
                self._handed_bytes = 0

    def _take(self) -> list[Entry]:
        """A batch of what this process committed, if it follows directly on the position; else nothing."""
        batch: list[Entry] = []
        size = 0
        with self._lock:
            handed = self._handed
            while handed and handed[0].event_id <= self._registry.position:
                self._handed_bytes -= handed.popleft().size  # read from the log already
            following = self._registry.position + 1
            while handed and handed[0].event_id == following and len(batch) < self._batch_events:
                batch.append(handed.popleft())
                following += 1
                size += batch[-1].size
                if size > BATCH_BYTES:
                    break
            self._handed_bytes = self._handed_bytes - size if handed else 0
        return batch
