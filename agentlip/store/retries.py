"""Changes that may be asked for again under a key: their answers are kept for a day, in the file.

A key belongs to its owner, the credential that the call was made with.  The answer is written in the transaction of the
change, so they are there together or not at all, and whoever asks again, in any process, finds it inside a transaction
of his own.  Neither key nor credential is stored, only a digest of both; and as an answer may hold what is shown but
once, such as a new token, it can be read with that key and credential alone.

The table is one of its own, made at its first use, and versioned by `idempotency_version` in `meta`.  Rows lie in the
order of their making: the oldest few are looked at with each new one, and go when they are too old.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from ..errors import IdempotencyMismatch, InvalidInput, ServiceUnavailable
from .writer import Transaction

_VERSION = "1"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_KEPT_MS = 24 * 3600 * 1000
_SWEPT = 4
_NONCE_BYTES = 16
_TABLE = """
CREATE TABLE idempotency_keys (
  number INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  fingerprint BLOB NOT NULL,
  status INTEGER NOT NULL,
  answer BLOB NOT NULL
) STRICT
"""
# A clock that stepped back must not keep rows for years, nor a step forward and back forget those of a moment ago.
_IS_OLD = "(created_at <= :now - :kept OR created_at >= :now + :kept)"
_FIND = (
    "SELECT meta.value, fingerprint, status, answer FROM (SELECT 1) LEFT JOIN meta ON key = 'idempotency_version' "
    f"LEFT JOIN idempotency_keys ON id = :id AND NOT {_IS_OLD}"
)
_SWEEP = (
    f"DELETE FROM idempotency_keys WHERE {_IS_OLD} "
    f"AND number IN (SELECT number FROM idempotency_keys ORDER BY number LIMIT {_SWEPT})"
)

T = TypeVar("T")
# A result as it is answered: status and body. Runs inside the transaction.
Encode = Callable[[Any], tuple[int, bytes]]


class Replayed(Exception):
    """The change was made before; this is what was answered then."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__("the change was made before")
        self.status = status
        self.body = body


class Retry:
    """A call with a key: `owner` is the credential it was let in with, `asked` all of what it asks for.

    `answer` is what the call must answer, once its change is made. Raises InvalidInput for a key that is none.
    """

    def __init__(self, owner: str, key: str, asked: tuple[str | bytes, ...], encode: Encode) -> None:
        if not _KEY.fullmatch(key):
            raise InvalidInput("Idempotency-Key must be 1 to 255 visible ASCII characters")
        self._secret = _digest(owner, key)
        self._id = _digest("id", self._secret)
        self._fingerprint = _digest(*asked)
        self._encode = encode
        self.answer: tuple[int, bytes] | None = None
        self.is_spent = False

    def run(self, transaction: Transaction, command: Callable[[Transaction], T]) -> T:
        """Run the command and keep what is to be answered. Raises Replayed, or IdempotencyMismatch, in its place."""
        age = {"now": transaction.now_ms, "kept": _KEPT_MS}
        is_made = self._look(transaction.connection, age)
        result = command(transaction)
        self.answer = status, body = self._encode(result)
        if is_made:
            transaction.execute(_SWEEP, age)
        else:
            _make(transaction.connection)
        nonce = os.urandom(_NONCE_BYTES)
        transaction.execute(
            "INSERT OR REPLACE INTO idempotency_keys (id, created_at, fingerprint, status, answer) "
            "VALUES (?, ?, ?, ?, ?)",
            (self._id, transaction.now_ms, self._fingerprint, status, nonce + self._sealed(body, nonce)),
        )
        return result

    def _look(self, connection: sqlite3.Connection, age: dict[str, int]) -> bool:
        """Whether the table is there, and has nothing under this key."""
        try:
            row = connection.execute(_FIND, {"id": self._id, **age}).fetchall()[0]
        except sqlite3.OperationalError as error:
            if not str(error).startswith(("no such table", "no such column")):
                raise
            _check_version(connection)
            return False
        version, fingerprint, status, answer = row
        if version != _VERSION:
            _check_version(connection)
        if fingerprint is None:
            return True
        if fingerprint != self._fingerprint:
            raise IdempotencyMismatch()
        raise Replayed(status, self._sealed(answer[_NONCE_BYTES:], answer[:_NONCE_BYTES]))

    def _sealed(self, text: bytes, nonce: bytes) -> bytes:
        """The text as it is stored, or what is stored as text: both are the same, one step to and fro."""
        stream = hashlib.shake_256(self._secret + nonce).digest(len(text))
        return (int.from_bytes(text) ^ int.from_bytes(stream)).to_bytes(len(text))


# The call that this thread or greenlet is about, if it has a key.
current: ContextVar[Retry | None] = ContextVar("agentlip_retry", default=None)


@contextmanager
def under(retry: Retry) -> Iterator[None]:
    """Meanwhile what this thread or greenlet has `Store.write` run belongs to the call."""
    before = current.set(retry)
    try:
        yield
    finally:
        current.reset(before)


def _digest(*parts: str | bytes) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(raw).to_bytes(8))
        found.update(raw)
    return found.digest()


def _check_version(connection: sqlite3.Connection) -> None:
    """Raise ServiceUnavailable when another release keeps the keys of this file in its own way."""
    rows = connection.execute("SELECT value FROM meta WHERE key = 'idempotency_version'").fetchall()
    if rows and rows[0][0] != _VERSION:
        raise ServiceUnavailable(
            "idempotency keys are kept by a newer release", "A newer release keeps the idempotency keys of this hub"
        )


def _make(connection: sqlite3.Connection) -> None:
    connection.execute(_TABLE)
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('idempotency_version', ?)", (_VERSION,))
