"""Agents and their tokens: commands, each in one transaction, and reads.

A counter in `meta` tells every process that what it holds of the tokens in memory is old.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import Conflict, NotFound
from ..model import Agent, AgentCreated, AgentUpdated, Entity, Identity, Scope, Token, timestamp
from . import additions, queries
from .decoding import read_rows
from .writer import Transaction

_GENERATION = "agents_generation"
_AGENT = "id, name, kind, description, created_at, disabled_at"
_TOKEN = "id, label, scopes, channels, created_at, last_used_at, expires_at, revoked_at"
_LIVE = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)"

logger = logging.getLogger("agentlip.store")


class Grant(NamedTuple):
    """A token to be made: the SHA-256 of its secret, and what it may do.

    `lifetime` is in seconds; it ends at `until` at the latest.
    """

    sha256: bytes
    scopes: Sequence[str]
    channels: Sequence[str] | None = None
    label: str | None = None
    lifetime: int | None = None
    until: str | None = None


def create(
    transaction: Transaction, name: str, kind: str, description: str | None, grant: Grant
) -> tuple[Agent, Token, int]:
    """A new agent with its first token. Raises Conflict when the name is taken."""
    additions.make(transaction.connection)
    taken = transaction.execute("SELECT id FROM agents WHERE name = ?", (name,)).fetchall()
    if taken:
        raise Conflict("An agent with this name already exists", reason="ALREADY_EXISTS", id=taken[0][0])
    agent = Agent(transaction.new_id("agent_"), name, kind, description, transaction.now, None)
    _check_channels(transaction, grant)
    transaction.execute(
        f"INSERT INTO agents ({_AGENT}) VALUES (?, ?, ?, ?, ?, ?)",
        (agent.id, name, kind, description, agent.created_at, None),
    )
    token = _insert(transaction, agent, grant)
    event_id = transaction.append("agent.created", Scope(), Entity("agent", agent.id), AgentCreated(agent))
    return agent, token, event_id


def change(
    transaction: Transaction, name: str, description: str | None, kind: str | None, disabled: bool | None
) -> tuple[Agent, int | None]:
    """What is None stays; without a change there is no event. Raises NotFound."""
    old = agent(transaction.connection, name)
    ended = old.disabled_at if disabled is None else (old.disabled_at or transaction.now) if disabled else None
    new = Agent(
        old.id, name, old.kind if kind is None else kind,
        old.description if description is None else description, old.created_at, ended,
    )  # fmt: skip
    if new == old:
        return old, None
    transaction.execute(
        "UPDATE agents SET kind = ?, description = ?, disabled_at = ? WHERE id = ?",
        (new.kind, new.description, new.disabled_at, new.id),
    )
    _tell(transaction)
    return new, transaction.append("agent.updated", Scope(), Entity("agent", new.id), AgentUpdated(new))


def add_token(transaction: Transaction, name: str, grant: Grant) -> tuple[Token]:
    """Raises NotFound, also when a channel is not there."""
    found = agent(transaction.connection, name)
    _check_channels(transaction, grant)
    return (_insert(transaction, found, grant),)


def rotate(transaction: Transaction, name: str, grant: Grant, grace_seconds: int) -> tuple[Token, str]:
    """A new token; those before it end after the grace, at once when it is 0. Returns when. Raises NotFound."""
    found = agent(transaction.connection, name)
    end = timestamp(transaction.now_ms + 1000 * grace_seconds)
    live = (found.id, transaction.now)
    if grace_seconds:
        sql = f"UPDATE agent_tokens SET expires_at = min(coalesce(expires_at, ?), ?) WHERE agent_id = ? AND {_LIVE}"
        transaction.execute(sql, (end, end, *live))
    else:
        transaction.execute(f"UPDATE agent_tokens SET revoked_at = ? WHERE agent_id = ? AND {_LIVE}", (end, *live))
    return _insert(transaction, found, grant), end


def revoke(transaction: Transaction, name: str, token_id: str) -> tuple[Token]:
    """A second time changes nothing. Raises NotFound."""
    found = agent(transaction.connection, name)
    transaction.execute(
        "UPDATE agent_tokens SET revoked_at = ? WHERE id = ? AND agent_id = ? AND revoked_at IS NULL",
        (transaction.now, token_id, found.id),
    )
    _tell(transaction)
    for token in tokens(transaction.connection, name):
        if token.token_id == token_id:
            return (token,)
    raise NotFound("Token not found")


def note_use(transaction: Transaction, token_id: str) -> None:
    """Set when a token was last used."""
    transaction.execute("UPDATE agent_tokens SET last_used_at = ? WHERE id = ?", (transaction.now, token_id))


def sign(transaction: Transaction, message_id: str, agent_id: str) -> None:
    """The message comes from this agent: its sender is verified."""
    transaction.execute(
        "INSERT INTO message_agents (message_id, agent_id) VALUES (?, ?)", (message_id, agent_id)
    )  # the agent has a token, so there are the tables


def _check_channels(transaction: Transaction, grant: Grant) -> None:
    for channel_id in grant.channels or ():
        queries.channel(transaction.connection, channel_id)


def _insert(transaction: Transaction, agent: Agent, grant: Grant) -> Token:
    asked = None if grant.lifetime is None else timestamp(transaction.now_ms + 1000 * grant.lifetime)
    expires = min((each for each in (asked, grant.until) if each is not None), default=None)
    channels = None if grant.channels is None else list(grant.channels)
    token = Token(
        transaction.new_id("tok_"), grant.label, list(grant.scopes), channels, transaction.now, None, expires, None
    )
    transaction.execute(
        f"INSERT INTO agent_tokens ({_TOKEN}, agent_id, sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            token.token_id, token.label, json.dumps(token.scopes), None if channels is None else json.dumps(channels),
            token.created_at, None, expires, None, agent.id, grant.sha256,
        ),
    )  # fmt: skip
    _tell(transaction)
    return token


def _tell(transaction: Transaction) -> None:
    """Have every process read the tokens anew."""
    transaction.execute(
        "INSERT INTO meta (key, value) VALUES (?, '1') ON CONFLICT (key) DO UPDATE SET value = value + 1",
        (_GENERATION,),
    )


def generation(connection: sqlite3.Connection) -> str | None:
    """Another one than before: agents or tokens have changed. None when there are none."""
    rows = connection.execute("SELECT value FROM meta WHERE key = ?", (_GENERATION,)).fetchall()
    return str(rows[0][0]) if rows else None


def identities(connection: sqlite3.Connection, now: str) -> dict[bytes, Identity]:
    """All tokens that are good now, by the SHA-256 of their secrets."""
    agents = {each.id: each for each in _agents(connection) if each.disabled_at is None}
    rows = read_rows(connection, f"SELECT {_TOKEN}, agent_id, sha256 FROM agent_tokens WHERE {_LIVE}", (now,))
    found = {}
    for *row, agent_id, sha256 in rows:
        try:
            if agent_id in agents:
                found[sha256] = Identity(agents[agent_id], _token(row))
        except ValueError:  # of another program, or damaged: nobody has such a token, and the others are good
            logger.warning("The token %s of an agent cannot be read", row[0])
    return found


def agents(connection: sqlite3.Connection) -> list[Agent]:
    """By name."""
    return _agents(connection) if additions.are_made(connection) else []


def _agents(connection: sqlite3.Connection) -> list[Agent]:
    return [Agent(*row) for row in read_rows(connection, f"SELECT {_AGENT} FROM agents ORDER BY name")]


def agent(connection: sqlite3.Connection, name: str) -> Agent:
    """Raises NotFound."""
    if additions.are_made(connection):
        rows = read_rows(connection, f"SELECT {_AGENT} FROM agents WHERE name = ?", (name,))
        if rows:
            return Agent(*rows[0])
    raise NotFound("Agent not found")


def tokens(connection: sqlite3.Connection, name: str) -> list[Token]:
    """An agent's, the oldest first. Raises NotFound."""
    found = agent(connection, name)
    sql = f"SELECT {_TOKEN} FROM agent_tokens WHERE agent_id = ? ORDER BY id"
    return [_token(row) for row in read_rows(connection, sql, (found.id,))]


def _token(row: Sequence[Any]) -> Token:
    token_id, label, scopes, channels, *times = row
    return Token(token_id, label, json.loads(scopes), None if channels is None else json.loads(channels), *times)
