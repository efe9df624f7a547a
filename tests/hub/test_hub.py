"""What host code may call on the hub, in one process on real threads, over a real file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentlip import create_app

from ..running_hub import eventually


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Any]:
    app = create_app({"AGENTLIP_DB": str(tmp_path / "db.sqlite3")})
    state = app.extensions["agentlip"]
    yield state
    state.shut_down()
    state.hub.stop()
    state.store.close()


def append_elsewhere(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        cursor = connection.execute(
            "INSERT INTO events (ts, name, scope_channel_id, entity_type, entity_id, data_json) "
            "VALUES ('t', 'host.event', 'ch_1', 'thing', '1', '{}')"
        )
        connection.commit()
        return int(cursor.lastrowid or 0)


def test_publishing_ids_brings_the_hub_to_the_head_of_the_log(state: Any, tmp_path: Path) -> None:
    event_id = append_elsewhere(tmp_path / "db.sqlite3")
    state.publish_event_ids([event_id])
    eventually(lambda: state.hub.feed.registry.position == event_id, 5, "the tailer's turn")
    state.publish_event({"event_id": event_id})
    assert state.connection_count() == 0
    state.close_all()


@pytest.mark.parametrize("event_ids", [[0], [-1], ["1"], [True], [1.5], [None]])
def test_ids_that_can_not_be_are_refused(state: Any, event_ids: list[Any]) -> None:
    with pytest.raises(ValueError, match="event ids"):
        state.publish_event_ids(event_ids)


def test_two_applications_in_one_process_do_not_see_each_other(tmp_path: Path) -> None:
    apps = [create_app({"AGENTLIP_DB": str(tmp_path / name / "db.sqlite3")}) for name in ("a", "b")]
    first, second = (app.extensions["agentlip"] for app in apps)
    assert first.token != second.token
    headers = {"Authorization": f"Bearer {first.token}"}
    assert apps[0].test_client().post("/api/v1/channels", json={"name": "x"}, headers=headers).status_code == 201
    assert apps[1].test_client().post("/api/v1/channels", json={"name": "x"}, headers=headers).status_code == 401
    assert (first.store.latest(), second.store.latest()) == (1, 0)
    for state in (first, second):
        state.hub.stop()
        state.store.close()
