"""The single writer of a process: commits waiting commands in groups.

It is a greenlet under gevent, else a thread.  The statements run right there, without a switch:
handing each of them to another thread would cost a fight for the interpreter lock per statement.
Only what waits for the disk, the COMMIT, goes to a native thread (`Writer._end` tells when it does),
and meanwhile the event loop serves others.  Up to GROUP commands share a commit, fewer when they do
much: a group ends with the command that reaches one of the other GROUP_ limits.  Yet each is atomic
and has its own result or error: commands check before they write, so a refused one has nothing to
undo; should one fail after it wrote, the group is run again with a savepoint for each (which costs
40 % more, so it is not the rule).  Nothing that can switch or call out (a socket, the hub) runs inside
a command; `on_commit` hears of the new events after the commit, before callers get their answer.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson

from .. import concurrency
from ..errors import DatabaseLost, InternalError, LogAtEnd, ServiceUnavailable, ShuttingDown, ThreadLimit, WriteUnknown
from ..model import Entity, Scope, timestamp
from . import full_text, log
from .database import Database, is_busy, is_damage, is_index_damage
from .decoding import as_json, read_rows
from .ids import new_id

GROUP = 256
GROUP_EVENTS = 512
GROUP_BYTES = 1 << 20
GROUP_SECONDS = 0.01  # while a group runs, the event loop serves nobody
MAX_WAITING = 10_000
# Beyond the write timeout, within which the writer itself gives up what waits for a lock.
_GRACE_SECONDS = 1.0
# For what the writer is at: moving a million messages takes its time, a disk that is gone takes forever.
_STUCK_SECONDS = 60.0
_IDLE_SECONDS = 60.0
_CHECKPOINT_PAGES = 1000  # SQLite's default
_CHECKPOINT_EVERY = 64  # commits
_REPORTED = 4096
_ID_TABLES = {
    "ch_": "channels", "topic_": "topics", "msg_": "messages", "att_": "topic_attachments",
    "agent_": "agents", "tok_": "agent_tokens",
}  # fmt: skip
_LAST_ID = "SELECT id FROM {0} WHERE id >= '{1}' AND id < '{1}{{' ORDER BY id DESC LIMIT 1"

T = TypeVar("T")
logger = logging.getLogger("agentlip.store")


class Transaction:
    """What a command works with: the connection inside BEGIN IMMEDIATE, one clock reading, ids, the log."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.now_ms = time.time_ns() // 1_000_000
        self.now = timestamp(self.now_ms)
        # Topics whose `updated_at` is already this transaction's, with their channels.
        self.touched: dict[str, str] = {}
        self._last_ids: dict[str, str | None] = {}
        self.appended: list[log.Entry] = []
        self._bytes = 0
        self._group_ends = time.monotonic() + GROUP_SECONDS

    @property
    def is_full(self) -> bool:
        """Whether it has done as much as one group may."""
        much = len(self.appended) >= GROUP_EVENTS or self._bytes >= GROUP_BYTES
        return much or time.monotonic() >= self._group_ends

    def new_id(self, prefix: str) -> str:
        """An id that sorts after every id in its table that an id of ours can follow."""
        if prefix not in self._last_ids:
            rows = read_rows(self.connection, _LAST_ID.format(_ID_TABLES[prefix], prefix))
            self._last_ids[prefix] = rows[0][0] if rows else None
        made = self._last_ids[prefix] = new_id(prefix, self.now_ms, self._last_ids[prefix])
        return made

    def append(self, name: str, scope: Scope, entity: Entity, data: Any) -> int:
        """Append an event and return its id; `data` is anything orjson can serialise."""
        entry = log.append(self.connection, self.now, name, scope, entity, orjson.dumps(data, as_json).decode())
        self.appended.append(entry)
        self._bytes += entry.size
        return entry.event_id


class _IndexDamaged(Exception):
    """A command failed because the full-text index does not fit the messages: the group can be run again."""


class _Job:
    __slots__ = ("command", "deadline", "error", "heavy", "reply", "result")

    def __init__(self, command: Callable[[Transaction], Any], deadline: float, heavy: bool) -> None:
        self.command = command
        self.deadline = deadline
        self.heavy = heavy
        self.reply = concurrency.new_reply()
        self.result: Any = None
        self.error: BaseException | None = None


class Writer:
    """Runs commands; `submit` may be called from any thread or greenlet."""

    def __init__(self, database: Database, timeout: float, on_commit: Callable[[Sequence[log.Entry]], None]) -> None:
        """Call it where the writer shall run: under gevent on the event loop's thread.

        `on_commit` gets the events of each commit that has any, ascending; an empty list when they are too many to
        keep in memory.
        """
        self._database = database
        self._timeout = timeout
        self._on_commit = on_commit
        self._wakeup = concurrency.new_wakeup()
        self._offload = concurrency.Offload()
        self._lock = concurrency.native_lock()
        self._waiting: deque[_Job] = deque()
        self.callers = 0  # of `submit`, that have no answer yet
        self._stopped = False
        self._connection: sqlite3.Connection | None = None
        self._is_lax = database.synchronous == "NORMAL"
        self._commits = 0
        self._checkpoints = True  # whether a commit of the connection may begin one
        self._has_rebuilt = False  # the full-text index, in this group
        self.tasks = [concurrency.spawn(self._run)]

    def submit(self, command: Callable[[Transaction], T], heavy: bool = False) -> T:
        """Run `command` in a write transaction and return its result once it is committed.

        Blocks the calling greenlet or thread for at most about the write timeout, a minute longer when
        the command has begun by then. Raises what the command raised (then nothing of it was written),
        ServiceUnavailable when the database stays locked, the disk is full or the writer does not get to
        it, or WriteUnknown when it may be written all the same. A `heavy` command, one that touches many
        rows, runs on the native thread as a whole.
        """
        job = _Job(command, time.monotonic() + self._timeout, heavy)
        with self._lock:
            if self._stopped:
                raise ShuttingDown()
            if len(self._waiting) >= MAX_WAITING:
                raise ServiceUnavailable("too many writes are waiting")
            self._waiting.append(job)
            self.callers += 1
        self._wakeup.set()
        try:
            if not job.reply.wait(self._timeout + _GRACE_SECONDS):
                self._wait_on(job)
        finally:
            with self._lock:
                self.callers -= 1
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def _wait_on(self, job: _Job) -> None:
        """The job's time is up: take it back, or wait longer when it has begun. Raises ServiceUnavailable."""
        with self._lock:
            begun = job not in self._waiting
            if not begun:
                self._waiting.remove(job)
        if not begun:
            raise ServiceUnavailable("too many writes are waiting")
        if not job.reply.wait(_STUCK_SECONDS):
            raise WriteUnknown()

    def stop(self) -> None:
        """Refuse new commands; those already waiting are still committed."""
        with self._lock:
            self._stopped = True
        self._wakeup.set()

    def _run(self) -> None:
        while not self._stopped or self._waiting:
            if not self._waiting:
                self._wakeup.wait(_IDLE_SECONDS)
                concurrency.cede()  # requests that are ready now share the commit
            self._serve()
        self._offload.stop()
        self._close()
        self._database.close_lock()

    def _serve(self) -> None:
        jobs: list[_Job] = []
        with self._lock:
            if not self._waiting:
                return
            deadline = self._waiting[0].deadline
        try:
            settled = self._commit(jobs, deadline)
        except BaseException as error:
            self._roll_back()
            if not jobs:
                self._take(jobs)  # it failed before that: without an answer they would be tried again forever
            for job in jobs:
                job.result, job.error = None, InternalError.of(error)  # logged where it is answered
            settled = jobs
        concurrency.deliver([job.reply for job in settled])

    def _take(self, jobs: list[_Job]) -> None:
        with self._lock:
            jobs.extend([self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))])

    def _give_back(self, jobs: list[_Job], first: int) -> None:
        """The group is full: what it has not begun is the head of the next one."""
        with self._lock:
            self._waiting.extendleft(reversed(jobs[first:]))
        del jobs[first:]

    def _commit(self, jobs: list[_Job], deadline: float) -> list[_Job]:
        """Take a group of jobs, commit it and return those that are settled, each with a result or an error.

        While somebody else holds the database, jobs whose time is up are settled with
        ServiceUnavailable and the others go back to the head of the queue.
        """
        try:
            with self._database.locked(deadline, self._offload.run):
                self._take(jobs)  # only now: what came in while another process had the lock shares the commit
                if not jobs:
                    return jobs
                connection = self._begin(jobs[0].deadline)
                appended = self._run_group(connection, jobs)
                self._end(connection, jobs)
                self._check_kept()
        except (sqlite3.Error, ServiceUnavailable) as error:
            if not jobs:
                self._take(jobs)
            final = isinstance(error, ThreadLimit | DatabaseLost | WriteUnknown | LogAtEnd)
            busy = not final and (isinstance(error, ServiceUnavailable) or is_busy(error))
            self._roll_back()
            return self._fail(jobs, error, time.monotonic() if busy else math.inf)
        if appended:  # else nothing changed that anybody follows: nobody need look
            self._on_commit(appended if len(appended) <= _REPORTED else ())
        return jobs

    def _fail(self, jobs: list[_Job], error: sqlite3.Error | ServiceUnavailable, now: float) -> list[_Job]:
        """Settle the jobs whose deadline is before `now` with the error; queue the others again."""
        failure = self._database.failure(error) if isinstance(error, sqlite3.Error) else error
        if not isinstance(failure, InternalError):  # which is logged where it is answered
            logger.warning("A group of %d writes failed: %s", len(jobs), error)
        settled = [job for job in jobs if job.deadline <= now]
        for job in jobs:
            job.result, job.error = None, failure if job.deadline <= now else None
        with self._lock:
            self._waiting.extendleft(job for job in reversed(jobs) if job.deadline > now)
        return settled

    def _begin(self, deadline: float) -> sqlite3.Connection:
        """BEGIN IMMEDIATE, retried until the deadline while somebody else holds the lock."""
        self._database.check_file()
        while True:
            try:
                if self._connection is None:
                    self._connection, self._checkpoints = self._database.connect(), True
                self._connection.execute("BEGIN IMMEDIATE")
                self._database.watch.hold_wal()
                return self._connection
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(0.001)

    def _end(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        """Commit: on the native thread when that may wait for the disk, else here, which is sooner.

        It never waits where SQLite does not synchronise, but for the checkpoints and for the first commit after one.
        So those are left to the native thread: the first two of every _CHECKPOINT_EVERY.
        """
        is_lone = self._is_lax and len(jobs) == 1 and not jobs[0].heavy  # with more it has enough to do meanwhile
        here = is_lone and self._commits % _CHECKPOINT_EVERY > 1
        if here is self._checkpoints:
            connection.execute(f"PRAGMA wal_autocheckpoint = {0 if here else _CHECKPOINT_PAGES}").fetchall()
            self._checkpoints = not here
        if here:
            connection.commit()
        else:
            self._offload.run(connection.commit)
        self._commits += 1

    def _check_kept(self) -> None:
        """After a commit: it may be in a file that has lost its name meanwhile, and that may get it back."""
        try:
            self._database.check_file()
        except DatabaseLost as error:
            raise WriteUnknown() from error

    def _run_group(self, connection: sqlite3.Connection, jobs: list[_Job]) -> list[log.Entry]:
        self._has_rebuilt = False
        heavy = any(job.heavy for job in jobs)
        try:
            return self._offload.run(lambda: self._apply(connection, jobs)) if heavy else self._apply(connection, jobs)
        except _IndexDamaged:
            self._offload.run(lambda: self._rebuild(connection))
            return self._offload.run(lambda: self._apply_guarded(connection, jobs))

    def _apply(self, connection: sqlite3.Connection, jobs: list[_Job]) -> list[log.Entry]:
        """Run the commands, as many as fit into a group, and return the events they appended."""
        transaction = Transaction(connection)
        for number, job in enumerate(jobs, 1):
            changes = connection.total_changes
            self._run_one(transaction, job)
            if job.error is not None and connection.total_changes != changes:
                connection.execute("ROLLBACK")
                connection.execute("BEGIN IMMEDIATE")
                return self._apply_guarded(connection, jobs)
            if transaction.is_full:
                self._give_back(jobs, number)
        return transaction.appended

    def _apply_guarded(self, connection: sqlite3.Connection, jobs: list[_Job]) -> list[log.Entry]:
        transaction = Transaction(connection)
        for number, job in enumerate(jobs, 1):
            job.result = job.error = None
            appended = len(transaction.appended)
            connection.execute("SAVEPOINT command")
            self._run_one(transaction, job)
            if job.error is not None:
                connection.execute("ROLLBACK TO command")
                transaction.touched.clear()
                del transaction.appended[appended:]
            connection.execute("RELEASE command")
            if transaction.is_full:
                self._give_back(jobs, number)
        return transaction.appended

    def _run_one(self, transaction: Transaction, job: _Job) -> None:
        try:
            job.result = job.command(transaction)
        except sqlite3.Error as error:
            if is_index_damage(error) and not self._has_rebuilt and full_text.can_be_rebuilt(transaction.connection):
                raise _IndexDamaged from error
            failure = self._database.failure(error)
            if isinstance(failure, ServiceUnavailable) and not is_damage(error) and not is_index_damage(error):
                raise  # the whole group is lost: a full disk, for one, has rolled the transaction back
            if not transaction.connection.in_transaction:
                raise
            job.error = failure
        except LogAtEnd:
            raise  # with the transaction, as after a full disk
        except Exception as error:
            job.error = error

    def _rebuild(self, connection: sqlite3.Connection) -> None:
        """Fill the full-text index anew, and begin again: what the group has written is undone. May take seconds."""
        logger.warning("The full-text index does not match the messages and is being rebuilt")
        self._has_rebuilt = True
        connection.execute("ROLLBACK")
        full_text.rebuild(connection)
        connection.execute("BEGIN IMMEDIATE")

    def _roll_back(self) -> None:
        """Leave no transaction open; a connection that cannot even do that is dropped."""
        connection = self._connection
        if connection is None or not connection.in_transaction:
            return
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._close()

    def _close(self) -> None:
        self._database.watch.let_go_of_wal()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
