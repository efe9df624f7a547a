"""A database that another program has changed or damaged: who is told what."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentlip.store.database import Database

from ..running_hub import TOKEN, Hub, eventually
from .foreign_places import Place, change_schema

FULL_TEXT = """
CREATE VIRTUAL TABLE messages_fts USING fts5(content_raw, content='messages', content_rowid='rowid');
CREATE TRIGGER messages_fts_insert AFTER INSERT ON messages BEGIN
  INSERT INTO messages_fts(rowid, content_raw) VALUES (new.rowid, new.content_raw);
END;
CREATE TRIGGER messages_fts_update AFTER UPDATE ON messages BEGIN
  INSERT INTO messages_fts(messages_fts, rowid, content_raw) VALUES ('delete', old.rowid, old.content_raw);
  INSERT INTO messages_fts(rowid, content_raw) VALUES (new.rowid, new.content_raw);
END;
"""


def test_a_rule_of_another_hub_is_the_callers_mistake(start_hub: Callable[..., Hub], tmp_path: Path) -> None:
    Database(tmp_path / "db.sqlite3").prepare()
    change_schema(tmp_path / "db.sqlite3", "topic_attachments", "key TEXT,", "key TEXT CHECK (length(key) >= 3),")
    place = Place(start_hub(), "general")
    refused = place.attach({"n": 5}, key="k")
    assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_INPUT")
    assert place.attach({"n": 5}, key="key").status_code == 201


def errors_in(hub: Hub) -> list[dict[str, Any]]:
    return [line for line in hub.log_lines() if line["level"] == "error"]


def test_a_500_of_the_database_has_one_record_with_its_cause(start_hub: Callable[..., Hub]) -> None:
    place = Place(hub := start_hub(), "general")
    place.sql("ALTER TABLE topic_attachments RENAME COLUMN kind TO sort")
    place.sql("CREATE TRIGGER no_more BEFORE INSERT ON messages BEGIN SELECT RAISE(FAIL, 'no more'); END")
    body = {"topic_id": place.topic, "sender": "s", "content_raw": "c"}
    assert hub.call("GET", f"/api/v1/topics/{place.topic}/attachments").json()["code"] == "INTERNAL_ERROR"
    assert hub.call("POST", "/api/v1/messages", body).status_code == 500
    read, written = eventually(lambda: len(errors_in(hub)) > 1 and errors_in(hub))
    assert "no such column: kind" in read["exception"]
    assert "no more" in written["exception"]
    assert TOKEN not in hub.log()


def test_a_damaged_page_is_503_and_health_says_so(start_hub: Callable[..., Hub]) -> None:
    place = Place(hub := start_hub(), "general")
    hub.stop()
    with closing(sqlite3.connect(hub.db)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'topic_attachments'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with hub.db.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    hub.start()
    assert hub.call("GET", "/health").json()["status"] == "ok"
    for _ in range(2):
        refused = hub.call("GET", f"/api/v1/topics/{place.topic}/attachments")
        assert (refused.status_code, refused.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert refused.json()["details"] == {"reason": "database damaged"}
    refused = place.attach({"n": 9})
    assert (refused.status_code, refused.json()["details"]) == (503, {"reason": "database damaged"})
    health = hub.call("GET", "/health").json()
    assert (health["status"], health["reason"]) == ("degraded", "database damaged")
    hub.post(place.topic)
    assert len([line for line in errors_in(hub) if "is damaged" in line["message"]]) == 1


@pytest.mark.parametrize("when", ["before the start", "while the hub runs"])
def test_an_index_that_lacks_messages_is_filled(start_hub: Callable[..., Hub], when: str) -> None:
    hub = start_hub()
    _, topic = hub.make_topic()
    _, other = hub.make_topic("other")
    messages = [hub.post(topic, f"apple {number}")["message"]["id"] for number in range(9)]
    if when == "before the start":
        hub.stop()
    with closing(sqlite3.connect(hub.db, isolation_level=None, timeout=10)) as connection:
        connection.executescript(FULL_TEXT)
    if when == "before the start":
        hub.start()
        page = hub.call("GET", "/api/v1/search?q=apple").json()
        assert (len(page["messages"]), page["fts_used"]) == (9, True)
    change = f"/api/v1/messages/{messages[0]}"
    assert hub.call("PATCH", change, {"op": "edit", "content_raw": "pear"}).status_code == 200
    assert hub.call("PATCH", f"/api/v1/messages/{messages[1]}", {"op": "delete", "actor": "a"}).status_code == 200
    page = hub.call("GET", "/api/v1/search?q=apple").json()
    assert ({row["id"] for row in page["messages"]}, page["fts_used"]) == (set(messages[2:]), True)
    events = [row["name"] for row in hub.call("GET", "/api/v1/events?tail=2").json()["events"]]
    assert events == ["message.edited", "message.deleted"]
    assert other


def test_an_index_that_misses_changes_is_not_used(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    _, topic = hub.make_topic()
    with closing(sqlite3.connect(hub.db, isolation_level=None, timeout=10)) as connection:
        connection.executescript(FULL_TEXT + "DROP TRIGGER messages_fts_update;")
    message = hub.post(topic, "apple")["message"]["id"]
    hub.call("PATCH", f"/api/v1/messages/{message}", {"op": "edit", "content_raw": "pear"})
    page = hub.call("GET", "/api/v1/search?q=pear").json()
    assert ([row["id"] for row in page["messages"]], page["fts_used"]) == ([message], False)
