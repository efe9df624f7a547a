"""The figures that only the web page needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from ..running_hub import Hub, eventually


def test_topics_come_with_their_counts_as_of_an_event(hub: Hub) -> None:
    channel, topic = hub.make_topic("counted", "one")
    empty = hub.call("POST", "/api/v1/topics", {"channel_id": channel, "title": "empty"}).json()["topic"]["id"]
    for number in range(3):
        last = hub.post(topic, f"{number} " + "x" * 300)
    page = hub.call("GET", f"/ui/data/topics?channel_id={channel}&limit=1").json()
    assert (page["head"], page["has_more"]) == (last["event_id"], True)
    (found,) = page["topics"]
    assert (found["id"], found["message_count"], found["channel_name"]) == (topic, 3, "counted")
    assert found["latest"] == {
        "id": last["message"]["id"], "sender": "tester", "created_at": last["message"]["created_at"],
        "excerpt": last["message"]["content_raw"][:200],
    }  # fmt: skip
    (other,) = hub.call("GET", f"/ui/data/topics?channel_id={channel}&limit=1&offset=1").json()["topics"]
    assert (other["id"], other["message_count"], other["latest"]) == (empty, 0, None)
    assert hub.call("GET", f"/ui/data/topics/{topic}").json()["topics"] == [found]
    for path in ("/ui/data/topics?channel_id=ch_no", "/ui/data/topics/topic_no"):
        assert hub.call("GET", path).status_code == 404
    assert hub.call("GET", "/ui/data/topics", token=None).status_code == 401


def test_the_messages_of_all_topics_are_counted_page_by_page(hub: Hub) -> None:
    channel, topic = hub.make_topic("every topic", "one")
    empty = hub.call("POST", "/api/v1/topics", {"channel_id": channel, "title": "empty"}).json()["topic"]["id"]
    last = [hub.post(topic) for _ in range(3)][-1]
    found: list[list[Any]] = []
    page = {"has_more": True}
    while page["has_more"]:
        after = f"&after_id={found[-1][0]}" if found else ""
        page = hub.call("GET", f"/ui/data/counts?limit=2{after}").json()
        assert page["head"] == last["event_id"]
        assert len(page["topics"]) <= 2
        found += page["topics"]
    assert found == sorted(found)
    assert found == hub.call("GET", "/ui/data/counts").json()["topics"]
    assert [each for each in found if each[1] == channel] == sorted([[topic, channel, 3], [empty, channel, 0]])
    assert hub.call("GET", "/ui/data/counts", token=None).status_code == 401
    assert hub.call("GET", "/ui/data/counts?limit=0").status_code == 400


def test_the_status_has_the_figures_of_the_hub(hub: Hub) -> None:
    _, topic = hub.make_topic("status", "t")
    before = hub.call("GET", "/ui/data/status").json()
    with hub.listen():
        last = hub.post(topic)["event_id"]
        eventually(lambda: hub.call("GET", "/ui/data/status").json()["connections"] == before["connections"] + 1)
        eventually(lambda: hub.call("GET", "/ui/data/status").json()["head"] == last)  # figures are kept for a moment
        after = hub.call("GET", "/ui/data/status").json()
    assert (after["head"], after["messages"]) == (last, before["messages"] + 1)
    assert len(after["events_per_bucket"]) == 60
    assert sum(after["events_per_bucket"]) == last, "all events of this hub are of the last ten minutes"
    assert after["database_bytes"] > 0
    assert after["uptime_seconds"] > 0


def test_the_connections_of_all_workers_are_counted(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub(WORKERS=3)

    def connections() -> int:
        return int(hub.call("GET", "/ui/data/status").json()["connections"])

    with contextlib.ExitStack() as stack:
        for _number in range(9):
            stack.enter_context(hub.listen())
        eventually(lambda: connections() == 9, 10, "nine connections")
    eventually(lambda: connections() == 0, 10, "no connections")
