"""Rows as other programs leave them: one bad row hides no other, and every call answers."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentlip.store import checkup, schema
from agentlip.store.database import Database

from ..running_hub import Hub, receive_until
from .foreign_places import Place, change_schema


@pytest.fixture
def place(hub: Hub, request: pytest.FixtureRequest) -> Iterator[Place]:
    made = Place(hub, request.node.name[-90:])
    yield made
    made.sql(f"UPDATE messages SET sender = 's', content_raw = 'c', edited_at = NULL WHERE topic_id = '{made.topic}'")
    made.sql(f"UPDATE topics SET title = 't', updated_at = created_at WHERE id = '{made.topic}'")
    made.sql(f"UPDATE channels SET description = NULL, name = id WHERE id = '{made.channel}'")
    made.sql(f"UPDATE topic_attachments SET kind = 'note', value_json = '1' WHERE topic_id = '{made.topic}'")


BAD = "CAST(x'6f6bff6f6b' AS TEXT)"  # ok, a byte that is no UTF-8, ok
READ = "ok\N{REPLACEMENT CHARACTER}ok"


@pytest.mark.parametrize("column", ["sender", "content_raw", "created_at", "edited_at", "deleted_by"])
def test_a_message_that_is_not_utf_8_hides_no_other(place: Place, column: str) -> None:
    place.sql(f"UPDATE messages SET {column} = {BAD} WHERE id = '{place.bad}'")
    for path in (f"messages?topic_id={place.topic}", f"messages?channel_id={place.channel}"):
        rows = {row["id"]: row for row in place.get(f"/api/v1/{path}")["messages"]}
        assert rows[place.bad][column] == READ
        assert rows[place.good]["content_raw"] == "good words"
    assert place.get(f"/api/v1/messages/{place.bad}")["message"][column] == READ
    found = place.get(f"/api/v1/search?q=words&topic_id={place.topic}")["messages"]
    assert place.good in {row["id"] for row in found}
    if column == "content_raw":
        assert [row["id"] for row in place.get(f"/api/v1/search?q=ok&topic_id={place.topic}")["messages"]] == [
            place.bad
        ]
    edited = place.hub.call("PATCH", f"/api/v1/messages/{place.bad}", {"op": "edit", "content_raw": "mended"})
    assert edited.status_code == 200, edited.text
    assert edited.json()["message"]["content_raw"] == "mended"
    event = edited.json()["event_id"]
    with place.hub.listen(event - 1) as (socket, _):
        assert receive_until(socket, event)[-1]["name"] == "message.edited"


@pytest.mark.parametrize(("table", "column"), [("topics", "title"), ("topics", "updated_at"), ("channels", "name"),
                                               ("channels", "description")])  # fmt: skip
def test_a_topic_or_channel_that_is_not_utf_8_is_listed_and_used(place: Place, table: str, column: str) -> None:
    scope = place.topic if table == "topics" else place.channel
    place.sql(f"UPDATE {table} SET {column} = {BAD} WHERE id = '{scope}'")
    path = f"/api/v1/channels/{place.channel}/topics" if table == "topics" else "/api/v1/channels"
    assert {row["id"]: row for row in place.get(path)[table]}[scope][column] == READ
    assert place.get(f"/ui/data/topics?channel_id={place.channel}")["topics"]
    place.hub.post(place.topic)
    renamed = place.hub.call("PATCH", f"/api/v1/topics/{place.topic}", {"title": "another"})
    assert renamed.status_code == 200, renamed.text


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("'{\"a\":'", None),
        ("''", None),
        ("'NaN'", None),
        ("'{\"a\":\"\\ud800\"}'", {"a": "\N{REPLACEMENT CHARACTER}"}),
        ("'{\"\\uDC00\":\"\\ud83d\\ude00 \\\\ud800\"}'", {"\N{REPLACEMENT CHARACTER}": "\U0001f600 \\ud800"}),
        ("'{\"a\":\"' || CAST(x'ff' AS TEXT) || '\"}'", {"a": "\N{REPLACEMENT CHARACTER}"}),
        ("replace(printf('%.*c', 600, 'x'), 'x', '[') || replace(printf('%.*c', 600, 'x'), 'x', ']')", None),
    ],
)  # fmt: skip
def test_a_value_that_is_no_json_hides_no_other(place: Place, stored: str, read: object) -> None:
    place.sql(f"UPDATE topic_attachments SET value_json = {stored} WHERE id = '{place.attachments[0]}'")
    assert place.values() == {place.attachments[0]: read, place.attachments[1]: {"n": 1}}
    again = place.attach({"n": 0})
    assert (again.status_code, again.json()["event_id"], again.json()["attachment"]["value_json"]) == (200, None, read)


def test_an_attachment_that_is_not_utf_8_hides_no_other(place: Place) -> None:
    place.sql(f"UPDATE topic_attachments SET kind = {BAD} WHERE id = '{place.attachments[0]}'")
    rows = place.get(f"/api/v1/topics/{place.topic}/attachments")["attachments"]
    assert {row["kind"] for row in rows} == {READ, "note"}


LARGEST = (1 << 63) - 1


@pytest.mark.parametrize("version", [LARGEST, LARGEST - 1])
def test_the_largest_version_is_the_last(place: Place, version: int) -> None:
    other = place.hub.call("POST", "/api/v1/topics", {"channel_id": place.channel, "title": "other"}).json()["topic"]
    messages = f"/api/v1/messages/{place.bad}"
    place.sql(f"UPDATE messages SET version = {version} WHERE id = '{place.bad}'")
    for mode, topic in (("one", other["id"]), ("all", place.topic), ("later", other["id"])):
        change = {"op": "move_topic", "to_topic_id": topic, "mode": mode}
        moved = place.hub.call("PATCH", messages, change)
        assert (moved.status_code, moved.json()["affected_count"]) == (200, 1)
        (event,) = place.get(f"/api/v1/events?tail=1&channel_id={place.channel}")["events"]
        assert event["data_json"]["version"] == LARGEST
    change = {"op": "edit", "content_raw": "new", "expected_version": LARGEST}
    edited = place.hub.call("PATCH", messages, change)
    assert (edited.status_code, edited.json()["message"]["version"]) == (200, LARGEST)
    deleted = place.hub.call("PATCH", messages, {"op": "delete", "actor": "a"})
    assert (deleted.status_code, deleted.json()["message"]["version"]) == (200, LARGEST)
    assert place.get(messages)["message"]["version"] == LARGEST


@pytest.mark.parametrize("version", ["NULL", "'two'", "1.5", "x'ff'"])
def test_a_version_that_is_no_number_counts_as_none(
    start_hub: Callable[..., Hub], tmp_path: Path, version: str
) -> None:
    Database(tmp_path / "db.sqlite3").prepare()
    change_schema(tmp_path / "db.sqlite3", "messages", ") STRICT", ")")
    change_schema(tmp_path / "db.sqlite3", "messages", "version INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1)",
                  "version INTEGER")  # fmt: skip
    place = Place(start_hub(), "general")
    place.sql(f"UPDATE messages SET version = {version} WHERE id = '{place.bad}'")
    change = {"op": "edit", "content_raw": "new", "expected_version": 7}
    assert place.hub.call("PATCH", f"/api/v1/messages/{place.bad}", change).json()["code"] == "VERSION_CONFLICT"
    edited = place.hub.call("PATCH", f"/api/v1/messages/{place.bad}", {"op": "edit", "content_raw": "new"})
    assert (edited.status_code, edited.json()["message"]["version"]) == (200, 1)


def test_an_empty_dedupe_key_is_refused(place: Place) -> None:
    assert place.attach({"n": 7}, dedupe_key="").status_code == 400
    with pytest.raises(sqlite3.IntegrityError):
        place.sql(f"INSERT INTO topic_attachments VALUES ('att_1', '{place.topic}', 'k', NULL, '1', '', NULL, 't')")
    with pytest.raises(sqlite3.IntegrityError):
        place.sql(f"INSERT INTO topic_attachments VALUES ('att_1', '{place.topic}', '', NULL, '1', 'd', NULL, 't')")


def test_events_that_are_not_utf_8_are_replayed(place: Place) -> None:
    place.sql(
        "INSERT INTO events (ts, name, scope_channel_id, entity_type, entity_id, data_json) "
        f"VALUES ({BAD}, {BAD}, '{place.channel}', {BAD}, {BAD}, '{{\"a\":\"\\ud800\"}}')"
    )
    (event,) = place.get(f"/api/v1/events?tail=1&channel_id={place.channel}")["events"]
    assert (event["name"], event["entity"]) == (READ, {"type": READ, "id": READ})
    with place.hub.listen(event["event_id"] - 1) as (socket, _):
        assert json.loads(socket.recv(timeout=10))["name"] == READ


@pytest.mark.parametrize("how", ["an event", "the sequence"])
def test_a_log_without_ids_says_so_and_is_read_on(start_hub: Callable[..., Hub], how: str) -> None:
    hub = start_hub()
    place = Place(hub, "at the end")
    if how == "an event":
        place.sql(
            "INSERT INTO events (event_id, ts, name, scope_channel_id, entity_type, entity_id, data_json) VALUES "
            f"(9223372036854775807, '2026-01-01T00:00:00.000Z', 'own', '{place.channel}', 'x', 'x', '1')"
        )
    else:
        place.sql("UPDATE sqlite_sequence SET seq = 9223372036854775807 WHERE name = 'events'")
    for _ in range(2):
        answer = hub.call("POST", "/api/v1/messages", {"topic_id": place.topic, "sender": "me", "content_raw": "late"})
        assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert answer.json()["details"] == {"reason": "no event ids are left"}
        assert answer.elapsed.total_seconds() < 2, "it is not tried again until its time is up"
    rows = place.get(f"/api/v1/messages?topic_id={place.topic}")["messages"]
    assert {row["id"] for row in rows} == {place.good, place.bad}
    assert place.get("/health")["status"] == "ok"
    assert place.get("/ui/data/status")["head"] == (9223372036854775807 if how == "an event" else 6)
    assert place.get("/api/v1/events?after=0")["events"][0]["event_id"] == 1
    with hub.listen(0) as (socket, _):
        received = receive_until(socket, 6)
    assert [event["event_id"] for event in received][:6] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("last", ["msg_" + "z" * 100, "msg_~", "zebra", "msg_a" + "z" * 100, "msg_z a"])
def test_ids_that_calls_take_are_made_beside_any_others(start_hub: Callable[..., Hub], last: str) -> None:
    hub = start_hub()
    place = Place(hub, "ids")
    place.sql(
        "INSERT INTO messages (id, topic_id, channel_id, sender, content_raw, created_at) VALUES "
        f"('{last}', '{place.topic}', '{place.channel}', 'other', 'odd', '2026-01-01T00:00:00.000Z')"
    )
    made = [hub.post(place.topic, "new")["message"]["id"] for _ in range(3)]
    assert made == sorted(made)
    for message in made:
        assert re.fullmatch(r"msg_[a-zA-Z0-9_-]{20,60}", message)
        assert (
            hub.call("PATCH", f"/api/v1/messages/{message}", {"op": "edit", "content_raw": "newer"}).status_code == 200
        )


ODD_VALUES = {"a number": "7", "a fraction": "1.5", "bytes": "x'ff00'", "nothing": "NULL"}


@pytest.mark.parametrize("odd", ODD_VALUES)
def test_values_of_any_type_in_tables_that_are_not_strict_hide_nothing(
    start_hub: Callable[..., Hub], tmp_path: Path, odd: str
) -> None:
    path, value = tmp_path / "db.sqlite3", ODD_VALUES[odd]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for table, columns in schema._COLUMNS.items():
            first, *others = columns.split()
            key = "INTEGER PRIMARY KEY AUTOINCREMENT" if table == "events" else "PRIMARY KEY"
            connection.execute(f"CREATE TABLE {table} ({first} {key}, {', '.join(others)})")
        connection.executescript(
            f"""
            INSERT INTO meta VALUES ('schema_version', '1'), ('db_id', 'x');
            INSERT INTO channels VALUES ('ch_1', 'general', NULL, 'then'), ('ch_2', {value}, {value}, {value});
            INSERT INTO topics VALUES ('topic_1', 'ch_1', 't', 'then', 'then'),
                                      ('topic_2', 'ch_1', {value}, {value}, {value});
            INSERT INTO messages VALUES ('msg_1', 'topic_1', 'ch_1', 'me', 'words', 1, 'then', NULL, NULL, NULL),
                                        ('msg_2', 'topic_1', {value}, {value}, {value}, 1, {value}, NULL, NULL, NULL);
            INSERT INTO topic_attachments VALUES ('att_1', 'topic_1', 'note', NULL, '1', 'k', NULL, 'then'),
                                                 ('att_2', 'topic_1', 'note', NULL, {value}, 'l', NULL, 'then');
            INSERT INTO events VALUES
              (1, {value}, {value}, {value}, {value}, {value}, {value}, {value}, {value}),
              (2, 'then', 'own', 'ch_1', 'topic_1', NULL, 'x', 'y', '2');
            """
        )
    hub = start_hub()
    hub.is_described = False  # what another program wrote is shown as it is, of whatever type
    paths = {
        "/api/v1/channels": "channels", "/api/v1/channels/ch_1/topics": "topics",
        "/api/v1/messages?topic_id=topic_1": "messages", "/api/v1/topics/topic_1/attachments": "attachments",
        "/api/v1/events?after=0": "events", "/ui/data/topics": "topics",
    }  # fmt: skip
    for url, key in paths.items():
        answer = hub.call("GET", url)
        assert (answer.status_code, len(answer.json()[key])) == (200, 2), url
    found = hub.call("GET", "/api/v1/search?q=words").json()["messages"]
    assert [message["id"] for message in found] == ["msg_1"]
    assert hub.call("GET", "/ui/data/status").status_code == 200
    equal = {"kind": "note", "value_json": {}, "dedupe_key": "l"}
    again = hub.call("POST", "/api/v1/topics/topic_1/attachments", equal)
    assert (again.status_code, again.json()["attachment"]["id"]) == (200, "att_2")
    with hub.listen(0) as (socket, _):
        first, second = receive_until(socket, 2)
        assert {type(text) for text in (first["ts"], first["name"], *first["entity"].values())} == {str}
        assert (first["data"], second["data"]) == (None, 2)
        for call in (
            ("/api/v1/channels", {"name": "n\u00fcw"}),
            ("/api/v1/topics", {"channel_id": "ch_1", "title": "n\u00fcw"}),
            ("/api/v1/topics", {"channel_id": "ch_2", "title": "new"}),
        ):
            assert hub.call("POST", *call).status_code == 201
        edited = hub.call("PATCH", "/api/v1/messages/msg_2", {"op": "edit", "content_raw": "newer"})
        if odd == "nothing":
            assert edited.status_code == 400  # nobody could be told: the event would be of no channel
            return
        assert edited.status_code == 200
        assert receive_until(socket, edited.json()["event_id"])[-1]["name"] == "message.edited"


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_a_file_of_another_encoding_is_searched_and_not_repaired(
    start_hub: Callable[..., Hub], tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "db.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        connection.execute("CREATE TABLE first (x)")
        connection.executescript(f"DROP TABLE first; {schema._TABLES}")
        connection.execute("INSERT INTO meta VALUES ('schema_version', '1'), ('db_id', 'x')")
        connection.commit()
    place = Place(start_hub(), "gr\u00fc\u00dfe")
    found = place.get("/api/v1/search?q=GOOD")["messages"]
    assert [message["id"] for message in found] == [place.good]
    assert list(place.values().values()) == [{"n": 1}, {"n": 0}]
    assert [str(finding) for finding in checkup.examine(path) if finding.level != "ok"] == []
    place.hub.stop()
    assert [str(finding) for finding in checkup.repair(path) if "the WAL" not in finding.what] == []
