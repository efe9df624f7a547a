"""Figures of a database file, read beside whoever uses it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agentlip.errors import StorageError
from agentlip.store import mutations
from agentlip.store.statistics import Statistics
from agentlip.store.store import Store


@pytest.mark.parametrize("name", ["db.sqlite3", "a%41 b#c?d.sqlite3"])
def test_everything_is_counted_whatever_the_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    store = Store(path, "NORMAL", 5)
    try:
        channel, _event_id = store.write(mutations.create_channel, "a", None)
        topic, _event_id = store.write(mutations.create_topic, channel.id, "t")
        for _ in range(3):
            store.write(mutations.post_message, topic.id, "s", "x", lambda _url: True)
        figures = Statistics.read(path)
        assert figures.wal_bytes > 0
        assert figures.database_bytes == path.stat().st_size
        assert (figures.head, figures.channels, figures.topics, figures.messages) == (5, 1, 1, 3)
        assert (figures.db_id, figures.schema_version) == (store.db_id, 1)
    finally:
        store.close()


def test_a_file_at_rest_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    store = Store(path, "FULL", 5)
    store.close()
    Statistics.read(path)
    files, content = sorted(os.listdir(tmp_path)), path.read_bytes()
    assert Statistics.read(path).head == 0
    assert (sorted(os.listdir(tmp_path)), path.read_bytes()) == (files, content)


def test_a_write_that_is_under_way_is_not_waited_for_and_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    Store(path, "FULL", 5).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO channels (id, name, created_at) VALUES ('ch_x', 'x', '2026-01-31T12:00:00.000Z')")
        assert Statistics.read(path).channels == 0
        writer.execute("COMMIT")
    assert Statistics.read(path).channels == 1


@pytest.mark.parametrize("content", [None, b"", b"not a database" * 100])
def test_what_is_no_database_is_one_clear_error_and_makes_no_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "db.sqlite3"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError, match="cannot read") as caught:
        Statistics.read(path)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ([] if content is None else ["db.sqlite3"])
