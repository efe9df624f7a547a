"""Each command: the rows it changes, the events it appends, the errors it gives, all or nothing."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

import pytest
from msgspec.structs import asdict

from agentlip.errors import AlreadyExists, CrossChannelMove, InvalidInput, NotFound, PayloadTooLarge, VersionConflict
from agentlip.model import Channel, Event, Message, Scope, Topic
from agentlip.store import mutations, queries
from agentlip.store.store import Store

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def events_after(store: Store, event_id: int) -> list[Event]:
    return store.events_with_more(event_id, 1 << 40, 1000, False, (), ())[0]


def refused(store: Store, error: type[Exception], command: Any, *args: Any) -> Any:
    """The command must fail with `error` and append nothing; the exception."""
    head = store.latest()
    with pytest.raises(error) as caught:
        store.write(command, *args)
    assert type(caught.value) is error
    assert store.latest() == head
    return caught.value


def post(store: Store, topic: Topic, content: str = "hi") -> Message:
    return store.write(mutations.post_message, topic.id, "sender", content)[0]


def stored(store: Store, message: Message) -> Message:
    return store.read(queries.message, message.id)


@pytest.mark.parametrize("description", [None, "", "about ü"])
def test_create_channel(store: Store, description: str | None) -> None:
    channel, event_id = store.write(mutations.create_channel, "general", description)
    assert (channel.name, channel.description) == ("general", description)
    assert TIMESTAMP.fullmatch(channel.created_at)
    assert store.read(queries.channels) == ([channel], False)
    (event,) = events_after(store, 0)
    assert event[:2] == (event_id, channel.created_at)
    assert event[2:5] == ("channel.created", Scope(channel.id), ("channel", channel.id))
    assert event.data == {"channel": asdict(channel)}


def test_a_channel_name_is_taken_once(store: Store, channel: Channel) -> None:
    refused(store, AlreadyExists, mutations.create_channel, channel.name, None)
    assert store.write(mutations.create_channel, channel.name.upper(), None)


def test_create_topic(store: Store, channel: Channel) -> None:
    topic, event_id = store.write(mutations.create_topic, channel.id, "hello")
    assert (topic.channel_id, topic.title, topic.created_at) == (channel.id, "hello", topic.updated_at)
    assert store.read(queries.topic, topic.id) == topic
    (event,) = events_after(store, 1)
    assert event[2:5] == ("topic.created", Scope(channel.id, topic.id), ("topic", topic.id))
    assert (event.event_id, event.data) == (event_id, {"topic": asdict(topic)})


def test_a_topic_needs_its_channel_and_a_title_of_its_own(store: Store, channel: Channel, topic: Topic) -> None:
    refused(store, NotFound, mutations.create_topic, "ch_none", "x")
    refused(store, AlreadyExists, mutations.create_topic, channel.id, topic.title)
    elsewhere, _ = store.write(mutations.create_channel, "elsewhere", None)
    assert store.write(mutations.create_topic, elsewhere.id, topic.title)


def test_rename_topic(store: Store, topic: Topic) -> None:
    renamed, event_id = store.write(mutations.rename_topic, topic.id, "new")
    assert (renamed.id, renamed.title, renamed.created_at) == (topic.id, "new", topic.created_at)
    assert renamed.updated_at >= topic.updated_at
    assert store.read(queries.topic, topic.id) == renamed
    (event,) = events_after(store, event_id - 1)
    assert event[2:5] == ("topic.renamed", Scope(topic.channel_id, topic.id), ("topic", topic.id))
    assert event.data_json == f'{{"topic_id":"{topic.id}","old_title":"hello","new_title":"new"}}'


def test_a_topic_can_not_take_the_title_of_another(store: Store, topic: Topic, other_topic: Topic) -> None:
    refused(store, AlreadyExists, mutations.rename_topic, topic.id, other_topic.title)
    refused(store, NotFound, mutations.rename_topic, "topic_none", "x")
    assert store.write(mutations.rename_topic, topic.id, topic.title)


@pytest.mark.parametrize("content", ["hi", "", "ü🎈\u2028", "a\0b\x1f\x7f", "x" * 65536, "'; DROP TABLE messages; --"])
def test_post_message(store: Store, topic: Topic, content: str) -> None:
    head = store.latest()
    message, event_ids = store.write(mutations.post_message, topic.id, "me", content)
    expected = Message(message.id, topic.id, topic.channel_id, "me", content, 1, message.created_at, None, None, None)
    assert message == expected == stored(store, message)
    (event,) = events_after(store, head)
    assert event[2:5] == ("message.created", Scope(topic.channel_id, topic.id), ("message", message.id))
    assert ([event.event_id], event.data) == (event_ids, {"message": asdict(message)})


def test_a_message_needs_its_topic(store: Store, topic: Topic) -> None:
    refused(store, NotFound, mutations.post_message, "topic_none", "me", "hi")
    refused(store, NotFound, mutations.post_message, topic.id.upper(), "me", "hi")


def test_a_message_brings_its_topic_to_the_front(
    store: Store, topic: Topic, other_topic: Topic, foreign: sqlite3.Connection
) -> None:
    foreign.execute("UPDATE topics SET updated_at = '2000-01-01T00:00:00.000Z'")
    message = post(store, topic)
    assert store.read(queries.topic, topic.id).updated_at == message.created_at
    topics, _ = store.read(queries.topics, topic.channel_id, 9, 0)
    assert [one.id for one in topics] == [topic.id, other_topic.id]


def test_urls_of_a_message_become_attachments_in_the_same_transaction(store: Store, topic: Topic) -> None:
    head = store.latest()
    text = "see https://a.example/x. and (http://b.example) and https://a.example/x!"
    message, event_ids = store.write(mutations.post_message, topic.id, "me", text)
    attachments = store.read(queries.attachments, topic.id, "url")[0]
    assert sorted(one.dedupe_key for one in attachments) == ["http://b.example", "https://a.example/x"]
    for one in attachments:
        assert (one.kind, one.key, one.value_json) == ("url", None, {"url": one.dedupe_key})
        assert (one.source_message_id, one.created_at) == (message.id, message.created_at)
    events = events_after(store, head)
    assert [event.event_id for event in events] == event_ids
    assert [event.name for event in events] == ["message.created"] + ["topic.attachment_added"] * 2
    assert store.write(mutations.post_message, topic.id, "me", text)[1] == [event_ids[-1] + 1]


def test_url_patterns_reach_the_message(store: Store, topic: Topic) -> None:
    allow, block = [re.compile("example")], [re.compile("secret")]
    text = "https://a.example https://other https://a.example/secret"
    store.write(mutations.post_message, topic.id, "me", text, allow, block)
    assert [one.dedupe_key for one in store.read(queries.attachments, topic.id, None)[0]] == ["https://a.example"]


def test_a_message_gets_at_most_fifty_links(store: Store, topic: Topic) -> None:
    text = " ".join(f"https://a.example/{number}" for number in range(2000))
    _, event_ids = store.write(mutations.post_message, topic.id, "me", text)
    found = [one.dedupe_key for one in store.read(queries.attachments, topic.id, None)[0]]
    assert (len(event_ids), sorted(found)) == (51, sorted(text.split()[:50]))


@pytest.mark.parametrize("expected_version", [None, 1])
def test_edit_message(store: Store, topic: Topic, expected_version: int | None) -> None:
    old = post(store, topic, "before")
    head = store.latest()
    message, event_id = store.write(mutations.edit_message, old.id, "after", expected_version)
    assert (message.content_raw, message.version, message.created_at) == ("after", 2, old.created_at)
    assert message.edited_at is not None
    assert TIMESTAMP.fullmatch(message.edited_at)
    assert stored(store, old) == message
    (event,) = events_after(store, head)
    assert event[2:5] == ("message.edited", Scope(topic.channel_id, topic.id), ("message", old.id))
    assert event.event_id == event_id
    assert event.data_json == (f'{{"message_id":"{old.id}","old_content":"before","new_content":"after","version":2}}')


def test_an_edit_attaches_nothing(store: Store, topic: Topic) -> None:
    message = post(store, topic)
    store.write(mutations.edit_message, message.id, "https://a.example", None)
    assert store.read(queries.attachments, topic.id, None)[0] == []


def test_delete_message_leaves_a_tombstone(store: Store, topic: Topic) -> None:
    old = post(store, topic, "secret")
    head = store.latest()
    message, event_id = store.write(mutations.delete_message, old.id, "admin", 1)
    assert (message.content_raw, message.version, message.deleted_by) == ("[deleted]", 2, "admin")
    assert message.deleted_at == message.edited_at is not None
    assert stored(store, old) == message
    (event,) = events_after(store, head)
    assert event[2:5] == ("message.deleted", Scope(topic.channel_id, topic.id), ("message", old.id))
    assert event.event_id == event_id
    assert event.data_json == f'{{"message_id":"{old.id}","deleted_by":"admin","version":2}}'


@pytest.mark.parametrize("expected_version", [None, 1, 2, 77])
def test_deleting_again_changes_nothing(store: Store, topic: Topic, expected_version: int | None) -> None:
    message = post(store, topic)
    tombstone, _ = store.write(mutations.delete_message, message.id, "admin", None)
    head = store.latest()
    assert store.write(mutations.delete_message, message.id, "other", expected_version) == (tombstone, None)
    assert (stored(store, message), store.latest()) == (tombstone, head)


def test_a_tombstone_can_not_be_edited(store: Store, topic: Topic) -> None:
    message = post(store, topic)
    store.write(mutations.delete_message, message.id, "admin", None)
    refused(store, InvalidInput, mutations.edit_message, message.id, "again", None)


def commands_on(message_id: str, other_topic: Topic, version: int | None) -> list[tuple[Any, ...]]:
    return [
        (mutations.edit_message, message_id, "x", version),
        (mutations.delete_message, message_id, "x", version),
        (mutations.move_message, message_id, other_topic.id, "one", version),
        (mutations.move_message, message_id, other_topic.id, "later", version),
        (mutations.move_message, message_id, other_topic.id, "all", version),
    ]


@pytest.mark.parametrize("version", [0, 1, 3])
def test_another_version_than_expected_is_a_conflict(
    store: Store, topic: Topic, other_topic: Topic, version: int
) -> None:
    message = post(store, topic)
    edited, _ = store.write(mutations.edit_message, message.id, "second", None)
    for command in commands_on(message.id, other_topic, version):
        error = refused(store, VersionConflict, *command)
        assert error.details == {"current": 2, "expected": version}
    assert stored(store, message) == edited


def test_an_unknown_message_is_not_found(store: Store, other_topic: Topic) -> None:
    for command in commands_on("msg_none", other_topic, None):
        refused(store, NotFound, *command)


def test_every_mutation_counts_the_version(store: Store, topic: Topic, other_topic: Topic) -> None:
    message = post(store, topic)
    store.write(mutations.edit_message, message.id, "a", 1)
    store.write(mutations.move_message, message.id, other_topic.id, "one", 2)
    store.write(mutations.edit_message, message.id, "b", 3)
    assert store.write(mutations.delete_message, message.id, "me", 4)[0].version == 5
    store.write(mutations.move_message, message.id, topic.id, "all", 5)
    assert stored(store, message).version == 6


@pytest.mark.parametrize(("mode", "moved"), [("one", [1]), ("later", [1, 2, 3]), ("all", [0, 1, 2, 3])])
def test_move_message(store: Store, topic: Topic, other_topic: Topic, mode: str, moved: list[int]) -> None:
    resident = post(store, other_topic)
    before = [post(store, topic, str(number)) for number in range(4)]
    later_resident = post(store, other_topic)
    head = store.latest()
    event_ids = store.write(mutations.move_message, before[1].id, other_topic.id, mode, 1)
    for number, old in enumerate(before):
        now = stored(store, old)
        if number in moved:
            assert (now.topic_id, now.version, now.edited_at) == (other_topic.id, 2, None)
        else:
            assert now == old
    assert stored(store, resident) == resident
    assert stored(store, later_resident) == later_resident
    events = events_after(store, head)
    assert [event.event_id for event in events] == event_ids
    assert [event.entity for event in events] == [("message", before[number].id) for number in moved]
    for event in events:
        assert (event.name, event.scope) == ("message.moved_topic", Scope(topic.channel_id, topic.id, other_topic.id))
        assert list(event.data.items()) == [
            ("message_id", event.entity.id),
            ("old_topic_id", topic.id),
            ("new_topic_id", other_topic.id),
            ("channel_id", topic.channel_id),
            ("mode", mode),
            ("version", 2),
        ]


@pytest.mark.parametrize("mode", mutations.MOVE_MODES)
def test_a_move_to_where_it_is_changes_nothing(store: Store, topic: Topic, mode: str) -> None:
    message = post(store, topic)
    head = store.latest()
    assert store.write(mutations.move_message, message.id, topic.id, mode, 1) == []
    assert (stored(store, message), store.latest()) == (message, head)


@pytest.mark.parametrize("mode", mutations.MOVE_MODES)
def test_a_move_stays_in_its_channel(store: Store, topic: Topic, mode: str) -> None:
    message = post(store, topic)
    elsewhere, _ = store.write(mutations.create_channel, "elsewhere", None)
    target, _ = store.write(mutations.create_topic, elsewhere.id, "there")
    refused(store, CrossChannelMove, mutations.move_message, message.id, target.id, mode, None)
    refused(store, NotFound, mutations.move_message, message.id, "topic_none", mode, None)
    assert stored(store, message) == message


def attach(
    store: Store, topic: Topic, value: Any, key: str | None = None, dedupe: str | None = None, kind: str = "k"
) -> Any:
    return store.write(mutations.add_attachment, topic.id, kind, key, value, dedupe, None)


def test_add_attachment(store: Store, topic: Topic) -> None:
    message = post(store, topic)
    head = store.latest()
    value = {"b": 1, "a": ["ü", None, 0.5]}
    attachment, event_id = store.write(mutations.add_attachment, topic.id, "k", "key", value, "d", message.id)
    assert (attachment.kind, attachment.key, attachment.value_json, attachment.dedupe_key) == ("k", "key", value, "d")
    assert attachment.source_message_id == message.id
    assert store.read(queries.attachments, topic.id, "k")[0] == [attachment]
    (event,) = events_after(store, head)
    assert event[2:5] == ("topic.attachment_added", Scope(topic.channel_id, topic.id), ("attachment", attachment.id))
    assert (event.event_id, event.data) == (event_id, {"attachment": asdict(attachment)})


def test_without_a_dedupe_key_the_compact_json_stands_in(store: Store, topic: Topic) -> None:
    assert attach(store, topic, {"b": 1, "a": "ü"})[0].dedupe_key == '{"b":1,"a":"ü"}'


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (({"a": 1},), ({"a": 1},)),
        (({"a": 1}, "key"), ({"a": 1}, "key")),
        (({"a": 1}, None), ({"a": 1}, "")),
        (({"a": 1}, "", "d"), ({"a": 2}, None, "d")),
        (({"a": 1}, None, '{"a":2}'), ({"a": 2},)),
    ],
)
def test_an_equal_attachment_gives_the_old_row_and_no_event(
    store: Store, topic: Topic, first: Any, second: Any
) -> None:
    attachment, _ = attach(store, topic, *first)
    head = store.latest()
    assert attach(store, topic, *second) == (attachment, None)
    assert store.latest() == head
    assert store.read(queries.attachments, topic.id, None)[0] == [attachment]


def test_attachments_that_differ_in_anything_are_two(store: Store, topic: Topic, other_topic: Topic) -> None:
    attach(store, topic, {"a": 1}, None, "d")
    assert attach(store, topic, {"a": 1}, "key", "d")[1] is not None
    assert attach(store, topic, {"a": 1}, None, "e")[1] is not None
    assert attach(store, topic, {"a": 1}, None, "d", "other kind")[1] is not None
    assert attach(store, other_topic, {"a": 1}, None, "d")[1] is not None
    assert attach(store, topic, {"a": 1, "b": 2})[1] is not None
    assert attach(store, topic, {"b": 2, "a": 1})[1] is not None


def test_an_attachment_needs_its_topic_and_its_message(store: Store, topic: Topic) -> None:
    refused(store, NotFound, mutations.add_attachment, "topic_none", "k", None, {}, None, None)
    refused(store, NotFound, mutations.add_attachment, topic.id, "k", None, {}, None, "msg_none")


def test_a_value_may_have_16384_characters(store: Store, topic: Topic) -> None:
    fits = {"a": "ü" * (16384 - len('{"a":""}'))}
    assert attach(store, topic, fits)[0].value_json == fits
    refused(store, PayloadTooLarge, mutations.add_attachment, topic.id, "k", None, {"a": fits["a"] + "x"}, None, None)


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("value", [nested(252), nested(300)], ids=["deep", "deeper"])
def test_a_legal_value_is_stored_or_refused_as_invalid_input(store: Store, topic: Topic, value: Any) -> None:
    try:
        attachment, _ = attach(store, topic, value)
    except InvalidInput:
        assert store.read(queries.attachments, topic.id, None)[0] == []
    else:
        assert store.read(queries.attachments, topic.id, None)[0] == [attachment]
        assert attachment.value_json == value


def test_ids_of_every_kind_sort_in_commit_order(store: Store) -> None:
    channels = [store.write(mutations.create_channel, f"c{number}", None)[0] for number in range(30)]
    topics = [store.write(mutations.create_topic, channels[0].id, f"t{number}")[0] for number in range(30)]
    messages = [post(store, topics[0]) for _ in range(30)]
    attachments = [attach(store, topics[0], {"n": number})[0] for number in range(30)]
    for rows in (channels, topics, messages, attachments):
        made = [row.id for row in rows]
        assert made == sorted(set(made))


def test_paging_forward_and_backward_meets_every_message(store: Store, topic: Topic) -> None:
    made = [post(store, topic).id for _ in range(10)]
    forward: list[str] = []
    more = True
    while more:
        page, more = store.read(queries.messages, None, topic.id, 3, None, forward[-1] if forward else "")
        forward += [message.id for message in reversed(page)]
    backward: list[str] = []
    more = True
    while more:
        page, more = store.read(queries.messages, topic.channel_id, None, 3, backward[-1] if backward else None, None)
        backward += [message.id for message in page]
    assert forward == backward[::-1] == made
