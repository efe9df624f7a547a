"""What host code calls: every command, from every kind of place, and what it is told when it is wrong."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from agentlip import Agentlip
from agentlip.errors import (
    CrossChannelMove,
    IdempotencyMismatch,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    VersionConflict,
)
from agentlip.model import Scope

from ..running_hub import Hub, eventually, receive_until
from ..side_by_side import Script


def make_app(folder: Path) -> Flask:
    app = Flask(__name__)
    app.config["AGENTLIP_DB"] = str(folder / "db.sqlite3")
    Agentlip(app, url_prefix="/hub")
    return app


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = make_app(tmp_path)
    yield app
    app.extensions["agentlip"].close()


@pytest.fixture
def hub(app: Flask) -> Any:
    return app.extensions["agentlip"]


def test_a_command_under_a_key_is_carried_out_once(hub: Any) -> None:
    channel = hub.once("a", hub.create_channel, "general", description="what for").channel
    topic = hub.once("b", hub.create_topic, channel.id, "one").topic
    message = hub.once("c", hub.post_message, topic.id, "me", "see https://example.com/a").message
    commands: list[tuple[Any, ...]] = [
        (hub.rename_topic, topic.id, "first"), (hub.edit, message.id, "new"), (hub.move, message.id, topic.id),
        (hub.delete, message.id, "me"), (hub.add_attachment, topic.id, "note", {"a": [1, None]}),
        (hub.append, "paid", Scope(channel.id), {"sum": 7}),
    ]  # fmt: skip
    first = [hub.once(f"key-{number}", *command) for number, command in enumerate(commands)]
    head = hub.head()
    again = [hub.once(f"key-{number}", *command) for number, command in enumerate(commands)]
    assert again == first
    assert [type(each) for each in again] == [type(each) for each in first]
    assert hub.once("c", hub.post_message, topic.id, "me", "see https://example.com/a").message == message
    assert hub.head() == head
    for other in ((hub.post_message, topic.id, "me", "else"), (hub.delete, message.id, "me")):
        with pytest.raises(IdempotencyMismatch):
            hub.once("c", *other)
    with pytest.raises(InvalidInput):
        hub.once("a b", hub.post_message, topic.id, "me", "hi")
    for _ in range(2):
        with pytest.raises(NotFound):
            hub.once("d", hub.post_message, "topic_none", "me", "hi")
    assert hub.post_message(topic.id, "me", "without a key").event_id == head + 1


def test_every_command_changes_what_it_says_and_tells_the_event(hub: Any) -> None:
    channel = hub.create_channel("general", "what for").channel
    topic, other = (hub.create_topic(channel.id, title).topic for title in ("one", "two"))
    assert hub.rename_topic(topic.id, "first").topic.title == "first"
    message = hub.post_message(topic.id, "me", "see https://example.com/a").message
    assert hub.edit(message.id, "new", expected_version=1).message.version == 2
    assert hub.move(message.id, other.id).affected_count == 1
    assert hub.delete(message.id, "me").message.deleted_by == "me"
    assert hub.delete(message.id, "me").event_id is None
    attached = hub.add_attachment(topic.id, "note", {"a": 1}, key="k")
    assert hub.add_attachment(topic.id, "note", {"a": 1}, key="k") == (attached.attachment, None)
    assert hub.channels() == [channel]
    assert sorted(each.title for each in hub.topics(channel.id).topics) == ["first", "two"]
    assert hub.messages(topic_id=other.id).messages == [hub.message(message.id)]
    assert len(hub.attachments(topic.id)) == 2
    assert [event.name for event in hub.events(after=0)] == [
        "channel.created", "topic.created", "topic.created", "topic.renamed", "message.created",
        "topic.attachment_added", "message.edited", "message.moved_topic", "message.deleted", "topic.attachment_added",
    ]  # fmt: skip
    assert hub.head() == attached.event_id == 10
    assert hub.post_message(topic.id, "me", "findable words").message in hub.search("WORDS").messages


def test_events_of_the_host_have_a_name_a_scope_and_data(hub: Any) -> None:
    channel = hub.create_channel("general").channel
    topic = hub.create_topic(channel.id, "one").topic
    first = hub.append("order.paid", {"topic_id": topic.id}, {"sum": 3})
    second = hub.append("order.sent", Scope(channel.id), {}, entity=("order", "17"))
    events = hub.events(after=first - 1)
    assert [(event.event_id, event.name, event.data) for event in events] == [
        (first, "order.paid", {"sum": 3}), (second, "order.sent", {}),
    ]  # fmt: skip
    assert [tuple(event.entity) for event in events] == [("topic", topic.id), ("order", "17")]
    assert [event.event_id for event in hub.events(after=0, topics=[topic.id])] == [2, first]
    assert hub.events(after=0, channels=[]) == []


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def in_itself() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["a"] = [value]
    return value


BAD: dict[str, tuple[Callable[[Any], Any], type[Exception]]] = {
    "blank name": (lambda hub: hub.create_channel("  "), InvalidInput),
    "long name": (lambda hub: hub.create_channel("x" * 101), InvalidInput),
    "NUL": (lambda hub: hub.create_channel("a\0b"), InvalidInput),
    "half a character": (lambda hub: hub.create_channel("a\ud800"), InvalidInput),
    "description": (lambda hub: hub.create_channel("x", 7), InvalidInput),
    "same name": (lambda hub: hub.create_channel("taken"), InvalidInput),
    "unknown channel": (lambda hub: hub.create_topic("ch_none", "t"), NotFound),
    "long title": (lambda hub: hub.rename_topic("topic_none", "x" * 201), InvalidInput),
    "unknown topic": (lambda hub: hub.post_message("topic_none", "me", "x"), NotFound),
    "no sender": (lambda hub: hub.post_message("topic_none", "", "x"), InvalidInput),
    "no text": (lambda hub: hub.post_message("topic_none", "me", None), InvalidInput),
    "half a text": (lambda hub: hub.post_message("topic_none", "me", "\udfff"), InvalidInput),
    "long text": (lambda hub: hub.post_message("topic_none", "me", "ü" * 40_000), PayloadTooLarge),
    "unknown message": (lambda hub: hub.edit("msg_none", "x"), NotFound),
    "version": (lambda hub: hub.edit("msg_none", "x", 0), InvalidInput),
    "version of text": (lambda hub: hub.delete("msg_none", "me", "1"), InvalidInput),
    "mode": (lambda hub: hub.move("msg_none", "topic_none", "some"), InvalidInput),
    "value": (lambda hub: hub.add_attachment("topic_none", "note", [1]), InvalidInput),
    "link": (lambda hub: hub.add_attachment("topic_none", "url", {"url": "javascript:x"}), InvalidInput),
    "no scope": (lambda hub: hub.append("x", {}, {}), InvalidInput),
    "strange scope": (lambda hub: hub.append("x", {"channel": "ch_1"}, {}), InvalidInput),
    "scope that is no id": (lambda hub: hub.append("x", {"channel_id": "a b"}, {}), InvalidInput),
    "scope of a known name": (lambda hub: hub.append("message.created", {"channel_id": "ch_1"}, {}), InvalidInput),
    "data": (lambda hub: hub.append("x", {"channel_id": "ch_1"}, [1]), InvalidInput),
    "data that is no JSON": (lambda hub: hub.append("x", {"channel_id": "ch_1"}, {"a": object()}), InvalidInput),
    "entity": (lambda hub: hub.append("x", {"channel_id": "ch_1"}, {}, ("", "1")), InvalidInput),
    "cursor": (lambda hub: hub.events(after=-1), InvalidInput),
    "limit": (lambda hub: hub.events(limit=0), InvalidInput),
    "text for ids": (lambda hub: hub.events(channels="ch_1"), InvalidInput),
    "text for ids to follow": (lambda hub: hub.subscribe(topics="topic_1"), InvalidInput),
    "id with half a character": (lambda hub: hub.message("msg_\ud800"), InvalidInput),
    "id of bytes": (lambda hub: hub.message(b"msg_1"), InvalidInput),
    "half an id to edit": (lambda hub: hub.edit("\ud800", "x"), InvalidInput),
    "half an id to delete": (lambda hub: hub.delete("\ud800", "me"), InvalidInput),
    "half an id to move": (lambda hub: hub.move("\ud800", "topic_none"), InvalidInput),
    "no id to rename": (lambda hub: hub.rename_topic(None, "x"), InvalidInput),
    "no mode": (lambda hub: hub.move("msg_none", "topic_none", []), InvalidInput),
    "half an id to attach to": (lambda hub: hub.add_attachment("\ud800", "note", {}), InvalidInput),
    "deep value": (lambda hub: hub.add_attachment("topic_none", "note", nested(100_000)), InvalidInput),
    "value in itself": (lambda hub: hub.add_attachment("topic_none", "note", in_itself()), InvalidInput),
    "value with half a character": (lambda hub: hub.add_attachment("topic_none", "n", {"a": "\ud800"}), InvalidInput),
    "value with NUL": (lambda hub: hub.add_attachment("topic_none", "n", {"a": ("\\", "\\\0")}), InvalidInput),
    "value of a key": (lambda hub: hub.add_attachment("topic_none", "n", {1: "a"}), InvalidInput),
    "link with half a character": (
        lambda hub: hub.add_attachment("topic_none", "url", {"url": "http://\ud800"}),
        InvalidInput,
    ),
    "topics of half an id": (lambda hub: hub.topics("\ud800"), InvalidInput),
    "topics of none": (lambda hub: hub.topics(None), InvalidInput),
    "attachments of half an id": (lambda hub: hub.attachments("\ud800"), InvalidInput),
    "half a kind": (lambda hub: hub.attachments("topic_none", "\ud800"), InvalidInput),
    "deep data": (lambda hub: hub.append("x", {"channel_id": "ch_1"}, nested(100_000)), InvalidInput),
    "scope of text": (lambda hub: hub.append("x", "ch_1", {}), InvalidInput),
    "no scope at all": (lambda hub: hub.append("x", None, {}), InvalidInput),
    "entity of one": (lambda hub: hub.append("x", {"channel_id": "ch_1"}, {}, ("order",)), InvalidInput),
    "entity of three": (lambda hub: hub.append("x", {"channel_id": "ch_1"}, {}, ("a", "b", "c")), InvalidInput),
    "entity of text": (lambda hub: hub.append("x", {"channel_id": "ch_1"}, {}, "ab"), InvalidInput),
    "entity of nothing": (lambda hub: hub.append("x", {"channel_id": "ch_1"}, {}, 5), InvalidInput),
    "entity with half a character": (
        lambda hub: hub.append("x", {"channel_id": "c"}, {}, ("a", "\ud800")),
        InvalidInput,
    ),
    "number for ids": (lambda hub: hub.events(channels=5), InvalidInput),
    "no id among ids": (lambda hub: hub.subscribe(topics=[["topic_1"]]), InvalidInput),
    "no listener": (lambda hub: hub.subscribe("print"), InvalidInput),
    "search for half a character": (lambda hub: hub.search("\ud800"), InvalidInput),
    "neither channel nor topic": (lambda hub: hub.messages(), InvalidInput),
    "nothing to search": (lambda hub: hub.search(" "), InvalidInput),
}


@pytest.mark.parametrize(("call", "error"), BAD.values(), ids=BAD)
def test_a_mistake_raises_its_class_and_changes_nothing(
    hub: Any, call: Callable[[Any], Any], error: type[Exception]
) -> None:
    hub.create_channel("taken")
    with pytest.raises(error):
        call(hub)
    assert [event.name for event in hub.events(after=0)] == ["channel.created"]


def test_data_as_deep_as_can_be_written_can_be_read(app: Flask, hub: Any) -> None:
    channel = hub.create_channel("general").channel
    deepest = 0
    for depth in range(100, 400, 1):
        with contextlib.suppress(InvalidInput):
            hub.append("x.deep", {"channel_id": channel.id}, nested(depth))
            deepest = depth
    bearer = {"Authorization": f"Bearer {hub.token}"}
    answer = app.test_client().get(f"/hub/api/v1/events?after={hub.head() - 1}", headers=bearer)
    assert answer.status_code == 200, (deepest, answer.text)
    assert deepest > 100


def test_text_that_only_looks_like_nul_is_kept(hub: Any) -> None:
    topic = hub.create_topic(hub.create_channel("general").channel.id, "t").topic
    value = {"a": "\\u0000", "b": "u0000", "c": "\\\\u0000"}
    assert hub.add_attachment(topic.id, "note", value).attachment.value_json == value
    assert hub.attachments(topic.id)[0].value_json == value


@pytest.mark.parametrize("event", [{}, {"event_id": "1"}, {"event_id": 0}, 7, None])
def test_an_event_without_an_id_can_not_be_published(hub: Any, event: Any) -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        hub.publish_event(event)


def test_conflicts_have_classes_of_their_own(hub: Any) -> None:
    topics = [hub.create_topic(hub.create_channel(name).channel.id, "t").topic for name in ("a", "b")]
    message = hub.post_message(topics[0].id, "me", "x").message
    with pytest.raises(VersionConflict) as caught:
        hub.edit(message.id, "y", 2)
    assert caught.value.details == {"current": 1, "expected": 2}
    with pytest.raises(CrossChannelMove):
        hub.move(message.id, topics[1].id)


def test_it_is_callable_inside_and_outside_of_contexts_and_in_threads(app: Flask, hub: Any) -> None:
    hub.create_channel("outside")
    with app.app_context():
        hub.create_channel("inside")
    with app.test_request_context("/"):
        hub.create_channel("in a request")
    thread = threading.Thread(target=hub.create_channel, args=("thread",))
    thread.start()
    thread.join(10)
    assert [channel.name for channel in hub.channels()] == ["in a request", "inside", "outside", "thread"]


def _in_a_child(app: Flask, results: Any) -> None:
    hub = app.extensions["agentlip"]
    topic_id = hub.topics(hub.channels()[0].id).topics[0].id
    results.put([hub.post_message(topic_id, "child", f"{number}").event_id for number in range(20)])


def test_forked_children_write_beside_their_parent(app: Flask, hub: Any) -> None:
    """As the workers of a task queue do, which fork from a process that has used the hub."""
    topic = hub.create_topic(hub.create_channel("general").channel.id, "t").topic
    context = multiprocessing.get_context("fork")
    results: Any = context.Queue()
    with hub.subscribe(after=hub.head()) as follower:
        children = [context.Process(target=_in_a_child, args=(app, results)) for _ in range(2)]
        for child in children:
            child.start()
        mine = [hub.post_message(topic.id, "parent", "x").event_id for _ in range(20)]
        theirs = [event_id for _ in children for event_id in results.get(timeout=30)]
        for child in children:
            child.join(20)
        assert [child.exitcode for child in children] == [0, 0]
        assert sorted(mine + theirs) == list(range(3, 63))
        assert [next(follower).event_id for _ in range(60)] == list(range(3, 63))
    hub.post_message(topic.id, "parent", "still here")


GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent, threading
from pathlib import Path
from tests.embedding.test_host_api import make_app
"""
IN_GREENLETS = """
hub = make_app(Path(sys.argv[1])).extensions["agentlip"]
hub.start()
topic = hub.create_topic(hub.create_channel("general").channel.id, "t").topic
seen = []
follower = hub.subscribe(lambda event: seen.append(event.event_id), after=0)
jobs = [gevent.spawn(hub.post_message, topic.id, "greenlet", str(number)) for number in range(50)]
pool = gevent.get_hub().threadpool
jobs += [pool.spawn(hub.post_message, topic.id, "native thread", str(number)) for number in range(10)]
thread = threading.Thread(target=hub.post_message, args=(topic.id, "patched thread", "x"))
thread.start()
gevent.joinall(jobs, timeout=20, raise_error=True)
thread.join()
with gevent.Timeout(10):
    while len(seen) < 63:
        gevent.sleep(0.01)
follower.close()
assert seen == list(range(1, 64)), seen
print(hub.head())
"""


def test_it_is_callable_from_greenlets_and_native_threads_under_gevent(tmp_path: Path) -> None:
    script = Script(GEVENT, IN_GREENLETS, tmp_path)
    script.ready()
    script.go()
    assert script.result() == "63\n"


def test_a_shell_beside_a_running_server_is_heard_by_its_sockets(start_hub: Callable[..., Hub], tmp_path: Path) -> None:
    server = start_hub()
    app = make_app(tmp_path)
    shell = app.extensions["agentlip"]
    with server.listen(0) as (socket, _):
        channel = shell.create_channel("from a shell").channel
        event_id = shell.append("shell.waved", {"channel_id": channel.id}, {"hello": True})
        assert receive_until(socket, event_id)[-1]["data"] == {"hello": True}
    with shell.subscribe(after=event_id) as follower:
        server.call("POST", "/api/v1/channels", {"name": "from a client"})
        assert next(follower).data["channel"]["name"] == "from a client"
    shell.shut_down()
    shell.hub.stop()
    shell.store.close()


def test_two_applications_of_one_factory_have_two_hubs(tmp_path: Path) -> None:
    hubs = [make_app(tmp_path / name).extensions["agentlip"] for name in ("a", "b")]
    hubs[0].create_channel("only here")
    assert [len(hub.channels()) for hub in hubs] == [1, 0]
    for hub in hubs:
        hub.shut_down()
        hub.hub.stop()
        hub.store.close()
    eventually(lambda: not hubs[0].hub.feed.registry.is_live, 5, "the end")
