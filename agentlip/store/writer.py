"""The single writer of a process: a native thread that commits waiting commands in groups.

Callers block only themselves (their greenlet or thread); the event loop never waits for the disk
or for a lock.  Up to GROUP commands share one commit, each in a savepoint of its own: each is
atomic and has its own result or error.  Nothing that can switch greenlets or call out (a socket,
the hub) runs inside the transaction; `on_commit` rings afterwards, before callers get their answer.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from .. import concurrency
from ..errors import InternalError, ServiceUnavailable, ShuttingDown
from ..model import Entity, Scope, timestamp
from . import log
from .database import Database, is_busy, public_error
from .ids import new_id

GROUP = 256
MAX_WAITING = 10_000
_ID_TABLES = {"ch_": "channels", "topic_": "topics", "msg_": "messages", "att_": "topic_attachments"}

T = TypeVar("T")
logger = logging.getLogger("agentlip.store")


class Transaction:
    """What a command works with: the connection inside BEGIN IMMEDIATE, one clock reading, ids, the log."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.now_ms = time.time_ns() // 1_000_000
        self.now = timestamp(self.now_ms)
        self._last_ids: dict[str, str | None] = {}

    def new_id(self, prefix: str) -> str:
        """An id that sorts after every id of the prefix's table."""
        if prefix not in self._last_ids:
            row = self.execute(f"SELECT max(id) FROM {_ID_TABLES[prefix]}").fetchone()
            self._last_ids[prefix] = row[0]
        made = self._last_ids[prefix] = new_id(prefix, self.now_ms, self._last_ids[prefix])
        return made

    def append(self, name: str, scope: Scope, entity: Entity, data: Any) -> int:
        """Append an event; `data` is anything orjson can serialise."""
        return log.append(self.connection, self.now, name, scope, entity, orjson.dumps(data).decode())


class _Job:
    __slots__ = ("command", "deadline", "error", "reply", "result")

    def __init__(self, command: Callable[[Transaction], Any], deadline: float) -> None:
        self.command = command
        self.deadline = deadline
        self.reply = concurrency.new_reply()
        self.result: Any = None
        self.error: BaseException | None = None


class Writer:
    """Runs commands; `submit` may be called from any thread or greenlet."""

    def __init__(self, database: Database, timeout: float, on_commit: Callable[[], None]) -> None:
        self._database = database
        self._timeout = timeout
        self._on_commit = on_commit
        self._condition = concurrency.NativeCondition()
        self._waiting: deque[_Job] = deque()
        self._running = False
        self._stopped = False
        self._connection: sqlite3.Connection | None = None

    def submit(self, command: Callable[[Transaction], T]) -> T:
        """Run `command` in a write transaction and return its result once it is committed.

        Blocks the calling greenlet or thread for at most about the write timeout. Raises what the
        command raised (then nothing of it was written), or ServiceUnavailable when the database
        stays locked or the disk is full.
        """
        job = _Job(command, time.monotonic() + self._timeout)
        with self._condition:
            if self._stopped:
                raise ShuttingDown()
            if len(self._waiting) >= MAX_WAITING:
                raise ServiceUnavailable("too many writes are waiting")
            self._waiting.append(job)
            if not self._running:
                self._running = True
                concurrency.start_native_thread(self._run)
            self._condition.notify()
        job.reply.wait()
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def stop(self) -> None:
        """Refuse new commands; those already waiting are still committed."""
        with self._condition:
            self._stopped = True
            self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._stopped:
                    self._condition.wait()
                if not self._waiting:
                    self._running = False
                    break
                jobs = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
            try:
                settled = self._commit(jobs)
            except BaseException:
                logger.exception("The writer failed")
                self._roll_back()
                for job in jobs:
                    job.result, job.error = None, InternalError()
                settled = jobs
            concurrency.deliver([job.reply for job in settled])
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _commit(self, jobs: list[_Job]) -> list[_Job]:
        """Commit the group and return the jobs that are settled, each with a result or an error.

        While somebody else holds the database, jobs whose time is up are settled with
        ServiceUnavailable and the others go back to the head of the queue.
        """
        try:
            with self._database.locked(min(job.deadline for job in jobs)):
                connection = self._begin(min(job.deadline for job in jobs))
                transaction = Transaction(connection)
                for job in jobs:
                    self._run_one(transaction, job)
                connection.execute("COMMIT")
        except (sqlite3.Error, ServiceUnavailable) as error:
            busy = isinstance(error, ServiceUnavailable) or is_busy(error)
            self._roll_back()
            return self._fail(jobs, error, time.monotonic() if busy else math.inf)
        self._on_commit()
        return jobs

    def _fail(self, jobs: list[_Job], error: sqlite3.Error | ServiceUnavailable, now: float) -> list[_Job]:
        """Settle the jobs whose deadline is before `now` with the error; queue the others again."""
        failure = public_error(error) if isinstance(error, sqlite3.Error) else error
        logger.log(
            logging.ERROR if isinstance(failure, InternalError) else logging.WARNING,
            "A group of %d writes failed: %s",
            len(jobs),
            error,
        )
        settled = [job for job in jobs if job.deadline <= now]
        for job in jobs:
            job.result, job.error = None, failure if job.deadline <= now else None
        with self._condition:
            self._waiting.extendleft(job for job in reversed(jobs) if job.deadline > now)
        return settled

    def _begin(self, deadline: float) -> sqlite3.Connection:
        """BEGIN IMMEDIATE, retried until the deadline while somebody else holds the lock."""
        while True:
            try:
                if self._connection is None:
                    self._connection = self._database.connect()
                self._connection.execute("BEGIN IMMEDIATE")
                return self._connection
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
            concurrency.native_sleep(0.001)

    def _run_one(self, transaction: Transaction, job: _Job) -> None:
        transaction.execute("SAVEPOINT command")
        try:
            job.result = job.command(transaction)
        except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError) as error:
            job.error = InternalError()
            logger.error("A write was refused by the database", exc_info=error)
        except sqlite3.Error:
            raise  # the whole group is lost: a full disk, for one, has rolled the transaction back
        except Exception as error:
            job.error = error
        if job.error is not None:
            transaction.execute("ROLLBACK TO command")
        transaction.execute("RELEASE command")

    def _roll_back(self) -> None:
        """Leave no transaction open; a connection that can not even do that is dropped."""
        connection = self._connection
        if connection is None or not connection.in_transaction:
            return
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._connection = None
            connection.close()
