"""Fixtures of the store's tests: a real SQLite file in a folder of its own, and what may be in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentlip.model import Channel, Topic
from agentlip.store import mutations
from agentlip.store.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database will be."""
    return tmp_path / "db.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path, "NORMAL", 5.0)
    yield opened
    opened.close()


@pytest.fixture
def foreign(store: Store, path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of some other program to the store's file, in autocommit mode."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as connection:
        yield connection


@pytest.fixture
def channel(store: Store) -> Channel:
    return store.write(mutations.create_channel, "general", None)[0]


@pytest.fixture
def topic(store: Store, channel: Channel) -> Topic:
    return store.write(mutations.create_topic, channel.id, "hello")[0]


@pytest.fixture
def other_topic(store: Store, channel: Channel, topic: Topic) -> Topic:
    return store.write(mutations.create_topic, channel.id, "other")[0]
