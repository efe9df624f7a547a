"""A topic whose rows another program changes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from ..running_hub import Hub


class Place:
    """A topic of the hub with two messages and two attachments, and a connection of another program."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub = hub
        self.channel, self.topic = hub.make_topic(name)
        self.good, self.bad = (hub.post(self.topic, word)["message"]["id"] for word in ("good words", "bad words"))
        self.attachments = [self.attach({"n": number}).json()["attachment"]["id"] for number in range(2)]

    def attach(self, value: object, **fields: object) -> Any:
        path = f"/api/v1/topics/{self.topic}/attachments"
        return self.hub.call("POST", path, {"kind": "note", "value_json": value, **fields})

    def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.hub.db, isolation_level=None, timeout=10)) as connection:
            connection.execute(statement)

    def get(self, path: str) -> dict[str, Any]:
        answer = self.hub.call("GET", path)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def values(self) -> dict[str, Any]:
        rows = self.get(f"/api/v1/topics/{self.topic}/attachments")["attachments"]
        return {row["id"]: row["value_json"] for row in rows}


def change_schema(db: Path, table: str, old: str, new: str) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        changed = connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ? AND instr(sql, ?)", (old, new, table, old)
        )
        assert changed.rowcount == 1
