"""The domain commands: each changes rows and appends its events in one transaction.

Every command is a function of a Transaction, run by `writer` in a group with others; callers check
the shape of their input first (types, lengths, characters).  What depends on the data is checked
here, before anything is written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from ..errors import AlreadyExists, CrossChannelMove, InvalidInput, NotFound, PayloadTooLarge, VersionConflict
from ..looks import is_visible
from ..model import (
    Attachment,
    AttachmentAdded,
    Channel,
    ChannelCreated,
    Entity,
    Message,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageMoved,
    Scope,
    Topic,
    TopicCreated,
    TopicRenamed,
)
from ..model.fields import MoveMode
from . import agents, names, queries
from .decoding import read_rows
from .urls import find_urls
from .writer import Transaction

TOMBSTONE = "[deleted]"
# The largest version is the last: one more would be no whole number. What is not a number (in a lax table) is none.
_NEXT_VERSION = "CASE WHEN typeof(version) = 'integer' THEN min(version, 9223372036854775806) + 1 ELSE 1 END"
MAX_VALUE_CHARS = 16_384


def create_channel(transaction: Transaction, name: str, description: str | None) -> tuple[Channel, int]:
    same = names.twin(transaction.connection, "SELECT id, name FROM channels WHERE TRUE", (), "name", name)
    if same is not None:
        raise AlreadyExists("A channel with this name already exists", same)
    channel = Channel(transaction.new_id("ch_"), name, description, transaction.now)
    transaction.execute(
        "INSERT INTO channels (id, name, description, created_at) VALUES (?, ?, ?, ?)",
        (channel.id, channel.name, channel.description, channel.created_at),
    )
    return channel, transaction.append(
        "channel.created", Scope(channel.id), Entity("channel", channel.id), ChannelCreated(channel)
    )


def create_topic(transaction: Transaction, channel_id: str, title: str) -> tuple[Topic, int]:
    if not transaction.execute("SELECT 1 FROM channels WHERE id = ?", (channel_id,)).fetchall():
        raise NotFound("Channel not found")
    _refuse_same_title(transaction, channel_id, title, "")
    topic = Topic(transaction.new_id("topic_"), channel_id, title, transaction.now, transaction.now)
    transaction.execute(
        "INSERT INTO topics (id, channel_id, title, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
        (topic.id, topic.channel_id, topic.title, topic.created_at, topic.updated_at),
    )
    return topic, transaction.append(
        "topic.created", Scope(channel_id, topic.id), Entity("topic", topic.id), TopicCreated(topic)
    )


def rename_topic(transaction: Transaction, topic_id: str, title: str) -> tuple[Topic, int]:
    old = queries.topic(transaction.connection, topic_id)
    if title != old.title:
        _refuse_same_title(transaction, old.channel_id, title, topic_id)
    transaction.execute("UPDATE topics SET title = ?, updated_at = ? WHERE id = ?", (title, transaction.now, topic_id))
    event_id = transaction.append(
        "topic.renamed",
        Scope(old.channel_id, topic_id),
        Entity("topic", topic_id),
        TopicRenamed(topic_id, old.title, title),
    )
    return queries.topic(transaction.connection, topic_id), event_id


def _refuse_same_title(transaction: Transaction, channel_id: str, title: str, but_topic_id: str) -> None:
    rows = "SELECT id, title FROM topics WHERE channel_id = ? AND id <> ?"
    same = names.twin(transaction.connection, rows, (channel_id, but_topic_id), "title", title)
    if same is not None:
        raise AlreadyExists("A topic with this title already exists in the channel", same)


def post_message(
    transaction: Transaction,
    topic_id: str,
    sender: str,
    content_raw: str,
    url_allow: Sequence[re.Pattern[str]] = (),
    url_block: Sequence[re.Pattern[str]] = (),
    agent_id: str | None = None,
) -> tuple[Message, list[int]]:
    """Insert a message and attach the URLs it names; the first id is that of `message.created`.

    `agent_id` is of the agent that the sender was verified to be.
    """
    channel_id = _touch(transaction, topic_id)
    now = transaction.now
    message = Message(
        transaction.new_id("msg_"), topic_id, channel_id, sender, content_raw, 1, now, None, None, None, agent_id
    )
    transaction.execute(
        "INSERT INTO messages (id, topic_id, channel_id, sender, content_raw, version, created_at) "
        "VALUES (?, ?, ?, ?, ?, 1, ?)",
        (message.id, topic_id, channel_id, sender, content_raw, now),
    )
    if agent_id is not None:
        agents.sign(transaction, message.id, agent_id)
    event_ids = [
        transaction.append(
            "message.created", Scope(channel_id, topic_id), Entity("message", message.id), MessageCreated(message)
        )
    ]
    if "://" in content_raw:
        for url in find_urls(content_raw, url_allow, url_block):
            _, event_id = add_attachment(transaction, topic_id, "url", None, {"url": url}, url, message.id)
            if event_id is not None:
                event_ids.append(event_id)
    return message, event_ids


def _touch(transaction: Transaction, topic_id: str) -> str:
    """Set the topic's `updated_at`, once per transaction, and return its channel. Raises NotFound."""
    channel_id = transaction.touched.get(topic_id)
    if channel_id is None:
        channel_id = queries.topic(transaction.connection, topic_id).channel_id
        transaction.execute("UPDATE topics SET updated_at = ? WHERE id = ?", (transaction.now, topic_id))
        transaction.touched[topic_id] = channel_id
    return channel_id


def edit_message(
    transaction: Transaction, message_id: str, content_raw: str, expected_version: int | None
) -> tuple[Message, int]:
    old = queries.message(transaction.connection, message_id)
    if old.deleted_at is not None:
        raise InvalidInput("A deleted message cannot be edited")
    _check_version(old, expected_version)  # first: who is behind shall hear of that
    if not is_visible(content_raw):
        raise InvalidInput("content_raw must hold something visible")
    transaction.execute(
        f"UPDATE messages SET content_raw = ?, edited_at = ?, version = {_NEXT_VERSION} WHERE id = ?",
        (content_raw, transaction.now, message_id),
    )
    new = queries.message(transaction.connection, message_id)
    event_id = transaction.append(
        "message.edited",
        Scope(old.channel_id, old.topic_id),
        Entity("message", message_id),
        MessageEdited(message_id, old.content_raw, content_raw, new.version),
    )
    return new, event_id


def delete_message(
    transaction: Transaction, message_id: str, actor: str, expected_version: int | None
) -> tuple[Message, int | None]:
    """Turn the message into a tombstone; None for the event id when it already is one."""
    old = queries.message(transaction.connection, message_id)
    if old.deleted_at is not None:
        return old, None
    _check_version(old, expected_version)
    transaction.execute(
        "UPDATE messages SET content_raw = ?, edited_at = ?, deleted_at = ?, deleted_by = ?, "
        f"version = {_NEXT_VERSION} WHERE id = ?",
        (TOMBSTONE, transaction.now, transaction.now, actor, message_id),
    )
    new = queries.message(transaction.connection, message_id)
    event_id = transaction.append(
        "message.deleted",
        Scope(old.channel_id, old.topic_id),
        Entity("message", message_id),
        MessageDeleted(message_id, actor, new.version),
    )
    return new, event_id


_MOVED: dict[MoveMode, str] = {
    "one": "topic_id = ?2 AND id = ?1",
    "later": "topic_id = ?2 AND id >= ?1",
    "all": "topic_id = ?2",
}
MOVE_MODES = tuple(_MOVED)


def move_message(
    transaction: Transaction, message_id: str, to_topic_id: str, mode: MoveMode, expected_version: int | None
) -> list[int]:
    """Move the message (`one`), it and all of a larger id in its topic (`later`), or its whole topic (`all`).

    Returns one event id per moved message, in the order of the message ids.
    """
    named = queries.message(transaction.connection, message_id)
    target = queries.topic(transaction.connection, to_topic_id)
    if target.channel_id != named.channel_id:
        raise CrossChannelMove()
    _check_version(named, expected_version)
    if named.topic_id == to_topic_id:
        return []
    moved = read_rows(
        transaction.connection,
        f"SELECT id, {_NEXT_VERSION} FROM messages WHERE {_MOVED[mode]} ORDER BY id",
        (message_id, named.topic_id),
    )
    transaction.execute(
        f"UPDATE messages SET topic_id = ?3, version = {_NEXT_VERSION} WHERE {_MOVED[mode]}",
        (message_id, named.topic_id, to_topic_id),
    )
    scope = Scope(named.channel_id, named.topic_id, to_topic_id)
    return [
        transaction.append(
            "message.moved_topic",
            scope,
            Entity("message", moved_id),
            MessageMoved(moved_id, named.topic_id, to_topic_id, named.channel_id, mode, version),
        )
        for moved_id, version in moved
    ]


def _check_version(message: Message, expected: int | None) -> None:
    if expected is not None and expected != message.version:
        raise VersionConflict(current=message.version, expected=expected)


def append_event(transaction: Transaction, name: str, scope: Scope, entity: Entity, data: dict[str, Any]) -> int:
    """Append an event of a host application. Raises InvalidInput when the scope is not enough for its name."""
    try:
        return transaction.append(name, scope, entity, data)
    except TypeError:
        raise InvalidInput("data cannot be written as JSON") from None


def add_attachment(
    transaction: Transaction,
    topic_id: str,
    kind: str,
    key: str | None,
    value: dict[str, Any],
    dedupe_key: str | None,
    source_message_id: str | None,
) -> tuple[Attachment, int | None]:
    """Attach `value` to the topic; an equal one (topic, kind, key, dedupe key) gives the old row and no event."""
    topic = queries.topic(transaction.connection, topic_id)
    if source_message_id is not None:
        queries.message(transaction.connection, source_message_id)
    try:
        orjson.dumps({"attachment": {"value_json": value}})  # it must still fit one level deeper, in the event
        value_json = orjson.dumps(value).decode()
    except TypeError:
        raise InvalidInput("value_json cannot be written as JSON") from None
    if len(value_json) > MAX_VALUE_CHARS:
        raise PayloadTooLarge(f"value_json is over {MAX_VALUE_CHARS} characters")
    dedupe_key = value_json if dedupe_key is None else dedupe_key
    old = queries.equal_attachment(transaction.connection, topic_id, kind, key, dedupe_key)
    if old is not None:
        return old, None
    attachment = Attachment(
        transaction.new_id("att_"), topic_id, kind, key, value, dedupe_key, source_message_id, transaction.now
    )
    transaction.execute(
        "INSERT INTO topic_attachments (id, topic_id, kind, key, value_json, dedupe_key, source_message_id, "
        "created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (attachment.id, topic_id, kind, key, value_json, dedupe_key, source_message_id, transaction.now),
    )
    return attachment, transaction.append(
        "topic.attachment_added",
        Scope(topic.channel_id, topic_id),
        Entity("attachment", attachment.id),
        AttachmentAdded(attachment),
    )
