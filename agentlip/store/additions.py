"""Tables beside those of protocol v1: made at their first use, versioned by a key of their own in `meta`.

Other hubs open the file as before, and do not know them; the tables of v1 get no column.
"""

from __future__ import annotations

import sqlite3

from ..errors import ServiceUnavailable
from .schema import statements

_KEY = "agents_version"
_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS agents (
  id TEXT PRIMARY KEY NOT NULL,
  name TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  description TEXT,
  created_at TEXT NOT NULL,
  disabled_at TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS agent_tokens (
  id TEXT PRIMARY KEY NOT NULL,
  agent_id TEXT NOT NULL REFERENCES agents(id) ON DELETE CASCADE,
  sha256 BLOB NOT NULL UNIQUE,
  label TEXT,
  scopes TEXT NOT NULL,
  channels TEXT,
  created_at TEXT NOT NULL,
  last_used_at TEXT,
  expires_at TEXT,
  revoked_at TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS idx_agent_tokens_agent ON agent_tokens(agent_id, id);
CREATE TABLE IF NOT EXISTS message_agents (
  message_id TEXT PRIMARY KEY NOT NULL,
  agent_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""


def are_made(connection: sqlite3.Connection) -> bool:
    """Whether the file has the tables; one look-up by key."""
    return _version(connection) > 0


def make(connection: sqlite3.Connection) -> None:
    """Make the tables inside the caller's write transaction, if they are missing. Raises ServiceUnavailable."""
    version = _version(connection)
    if version > _VERSION:
        raise ServiceUnavailable("agents are kept by a newer release")
    if version < _VERSION:
        for statement in statements(_TABLES):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (_KEY, str(_VERSION)),
        )


def _version(connection: sqlite3.Connection) -> int:
    rows = connection.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchall()
    return int(rows[0][0]) if rows else 0
