"""An agent that handles every message exactly once, and survives `kill -9` at any moment.

    python examples/agents/checkpoint.py counts.sqlite3
    python examples/agents/checkpoint.py counts.sqlite3 --show

It counts the words that each sender has written. What it has counted and how far it is in the log (the cursor) are
changed in one transaction: either both are stored or neither, so nothing is counted twice and nothing is left out.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys

from agentlip.client import HubClient
from agentlip.errors import AgentlipError
from agentlip.model import Event

TABLES = """
CREATE TABLE IF NOT EXISTS counts (sender TEXT PRIMARY KEY, messages INTEGER, words INTEGER);
CREATE TABLE IF NOT EXISTS cursor (only INTEGER PRIMARY KEY CHECK (only = 1), event_id INTEGER, db_id TEXT);
INSERT OR IGNORE INTO cursor VALUES (1, 0, NULL);
"""


def handle(state: sqlite3.Connection, event: Event, db_id: str | None) -> None:
    """Count the message of the event, if it is one, and move the cursor on."""
    with state:  # one transaction
        if event.name == "message.created":
            message = event.data["message"]
            state.execute(
                "INSERT INTO counts VALUES (?1, 1, ?2) ON CONFLICT (sender) "
                "DO UPDATE SET messages = messages + 1, words = words + ?2",
                (message["sender"], len(message["content_raw"].split())),
            )
        state.execute("UPDATE cursor SET event_id = ?, db_id = ?", (event.event_id, db_id))


def follow(state: sqlite3.Connection) -> None:
    """Go on where the last run ended, forever. LogChanged ends it: the counts are of another log than the hub's."""
    after, db_id = state.execute("SELECT event_id, db_id FROM cursor").fetchone()
    with HubClient.discover() as client, client.stream(after, db_id=db_id) as stream:
        for event in stream:
            handle(state, event, stream.db_id)


def show(state: sqlite3.Connection) -> None:
    for sender, messages, words in state.execute("SELECT * FROM counts ORDER BY sender"):
        print(f"{sender}: {messages} messages, {words} words")


def main() -> None:
    arguments = argparse.ArgumentParser(description="Counts words per sender, exactly once.")
    arguments.add_argument("file", help="where the counts and the cursor are kept")
    arguments.add_argument("--show", action="store_true", help="print the counts and end")
    chosen = arguments.parse_args()
    state = sqlite3.connect(chosen.file)
    state.executescript(TABLES)
    try:
        show(state) if chosen.show else follow(state)
    except AgentlipError as error:
        sys.exit(f"checkpoint: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
