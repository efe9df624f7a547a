"""The read models: rows as values. Pure reads on a given connection; every list is one page of work."""

from __future__ import annotations

import sqlite3
from typing import Any

from ..errors import NotFound
from ..model import Attachment, Channel, Message, Topic
from .decoding import json_value, read_rows

_CHANNEL = "SELECT id, name, description, created_at FROM channels"
_TOPIC = "SELECT id, channel_id, title, created_at, updated_at FROM topics"
_MESSAGE = (
    "SELECT id, topic_id, channel_id, sender, content_raw, version, created_at, edited_at, deleted_at, deleted_by "
    "FROM messages"
)
_ATTACHMENT = (
    "SELECT id, topic_id, kind, key, value_json, dedupe_key, source_message_id, created_at FROM topic_attachments"
)


def channels(connection: sqlite3.Connection) -> list[Channel]:
    """All channels by name."""
    return [Channel(*row) for row in read_rows(connection, f"{_CHANNEL} ORDER BY name")]


def channel(connection: sqlite3.Connection, channel_id: str) -> Channel:
    """Raises NotFound."""
    rows = read_rows(connection, f"{_CHANNEL} WHERE id = ?", (channel_id,))
    if not rows:
        raise NotFound("Channel not found")
    return Channel(*rows[0])


def topics(connection: sqlite3.Connection, channel_id: str, limit: int, offset: int) -> tuple[list[Topic], bool]:
    """A page of a channel's topics, most recently updated first, and whether more follow. Raises NotFound."""
    channel(connection, channel_id)
    rows = read_rows(
        connection,
        f"{_TOPIC} WHERE channel_id = ? ORDER BY updated_at DESC, id DESC LIMIT ? OFFSET ?",
        (channel_id, limit + 1, offset),
    )
    return [Topic(*row) for row in rows[:limit]], len(rows) > limit


def topic(connection: sqlite3.Connection, topic_id: str) -> Topic:
    """Raises NotFound."""
    rows = read_rows(connection, f"{_TOPIC} WHERE id = ?", (topic_id,))
    if not rows:
        raise NotFound("Topic not found")
    return Topic(*rows[0])


def message(connection: sqlite3.Connection, message_id: str) -> Message:
    """Raises NotFound."""
    rows = read_rows(connection, f"{_MESSAGE} WHERE id = ?", (message_id,))
    if not rows:
        raise NotFound("Message not found")
    return Message(*rows[0])


def messages(
    connection: sqlite3.Connection,
    channel_id: str | None,
    topic_id: str | None,
    limit: int,
    before_id: str | None,
    after_id: str | None,
) -> tuple[list[Message], bool]:
    """A page of messages, newest first, and whether more follow in the direction of paging.

    Without `after_id` the newest page (below `before_id`, if given); with it the page right above it,
    so that paging forward with the first id of each page never skips a message.
    """
    conditions, values = [], []
    for condition, value in (
        ("topic_id = ?", topic_id),
        ("channel_id = ?", channel_id),
        ("id < ?", before_id),
        ("id > ?", after_id),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    direction = "DESC" if after_id is None else "ASC"
    rows = read_rows(
        connection, f"{_MESSAGE} WHERE {' AND '.join(conditions)} ORDER BY id {direction} LIMIT ?", (*values, limit + 1)
    )
    page = [Message(*row) for row in rows[:limit]]
    if after_id is not None:
        page.reverse()
    return page, len(rows) > limit


def attachments(connection: sqlite3.Connection, topic_id: str, kind: str | None) -> list[Attachment]:
    """A topic's attachments, newest first. Raises NotFound."""
    topic(connection, topic_id)
    rows = read_rows(
        connection,
        f"{_ATTACHMENT} WHERE topic_id = ?1 AND (?2 IS NULL OR kind = ?2) ORDER BY created_at DESC, id DESC",
        (topic_id, kind),
    )
    return [_attachment(row) for row in rows]


def equal_attachment(
    connection: sqlite3.Connection, topic_id: str, kind: str, key: str | None, dedupe_key: str
) -> Attachment | None:
    """The attachment that the unique index holds equal to the given one."""
    rows = read_rows(
        connection,
        f"{_ATTACHMENT} WHERE topic_id = ? AND kind = ? AND COALESCE(key, '') = COALESCE(?, '') AND dedupe_key = ?",
        (topic_id, kind, key, dedupe_key),
    )
    return _attachment(rows[0]) if rows else None


def _attachment(row: tuple[Any, ...]) -> Attachment:
    values = list(row)
    values[4] = json_value(values[4])
    return Attachment(*values)
