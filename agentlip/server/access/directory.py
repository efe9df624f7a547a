"""The agents' tokens in memory: who a token is of, and whether it is still good.

Every process has its own copy, and reads it anew when the counter in the file says so. That costs one look-up by key
for each call that shows such a token, so what was revoked elsewhere is refused here at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import NamedTuple

from ... import concurrency
from ...commands.agents import secret_digest
from ...errors import AgentlipError
from ...model import Identity, timestamp
from ...store import agents
from ...store.store import Store

_LOOK_SECONDS = 0.25  # between looks of those who ask again and again
_NOTE_SECONDS = 60.0  # how exactly it is known when a token was last used

logger = logging.getLogger("agentlip.access")


class _Known(NamedTuple):
    generation: str | None
    by_digest: Mapping[bytes, Identity]
    by_id: Mapping[str, Identity]


class Directory:
    """Of one store. May be called from any thread or greenlet; reads the file inline."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked = 0.0
        self._known = _Known(None, {}, {})  # one object: threads that read at once must not mix what they found
        self._noted: dict[str, float] = {}

    def find(self, secret: str) -> Identity | None:
        """Who shows this token; None for one that nobody has, or that is not good any more."""
        self._refresh()
        # Found by its digest: how long that takes tells nothing of the secret.
        identity = self._known.by_digest.get(secret_digest(secret))
        if identity is None or _is_over(identity):
            return None
        self._note(identity.token.token_id)
        return identity

    def is_good(self, token_id: str) -> bool:
        """Whether a token that was found may still be used, as of a quarter of a second ago."""
        if time.monotonic() > self._looked + _LOOK_SECONDS:
            try:
                self._refresh()
            except AgentlipError:
                return True  # the database is away for the moment: others say so
        identity = self._known.by_id.get(token_id)
        return identity is not None and not _is_over(identity)

    def _refresh(self) -> None:
        self._looked = time.monotonic()
        generation = self._store.read(agents.generation)
        if generation == self._known.generation:
            return
        found = self._store.read(agents.identities, timestamp(time.time_ns() // 1_000_000))
        # The counter was read first: what changes meanwhile is read next time.
        self._known = _Known(generation, found, {each.token.token_id: each for each in found.values()})

    def _note(self, token_id: str) -> None:
        now = time.monotonic()
        if now < self._noted.get(token_id, -_NOTE_SECONDS) + _NOTE_SECONDS:
            return
        self._noted[token_id] = now
        try:
            concurrency.spawn(self._write_use, token_id)  # nobody waits for it
        except AgentlipError:
            del self._noted[token_id]

    def _write_use(self, token_id: str) -> None:
        try:
            self._store.write(agents.note_use, token_id)
        except AgentlipError as error:
            logger.debug("The use of a token was not noted: %s", error)


def _is_over(identity: Identity) -> bool:
    expires = identity.token.expires_at
    return expires is not None and expires <= timestamp(time.time_ns() // 1_000_000)
