"""The read models: rows as values. Pure reads on a given connection; every list is one page of work.

With `brief` a list raises TooLong when it is better read on a native thread; see `page`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import NotFound
from ..model import PAGE_ROWS, Attachment, Channel, Message, Topic
from . import additions
from .decoding import as_text, json_value, read_rows
from .page import Row, page_of

_CHANNEL = "SELECT id, name, description, created_at FROM channels"
_TOPIC = "SELECT id, channel_id, title, created_at, updated_at FROM topics"
_MESSAGE = (
    "SELECT id, topic_id, channel_id, sender, content_raw, version, created_at, edited_at, deleted_at, deleted_by "
    "FROM messages"
)
_ATTACHMENT = (
    "SELECT id, topic_id, kind, key, value_json, dedupe_key, source_message_id, created_at FROM topic_attachments"
)


def channels(
    connection: sqlite3.Connection,
    limit: int = PAGE_ROWS,
    after_id: str | None = None,
    among: Iterable[str] | None = None,
    brief: bool = False,
) -> tuple[list[Channel], bool]:
    """A page of the channels by name, and whether more follow; `after_id` is the last of the page before.

    `among` are the ids of those that count, None for all. Raises NotFound when there is no such channel.
    """
    conditions, values = ["TRUE"], list[Any]()
    if after_id is not None:
        conditions.append("name > (SELECT name FROM channels WHERE id = ?)")
        values.append(channel(connection, after_id).id)
    if among is not None:
        conditions.append("id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(sorted(among)))
    sql = f"{_CHANNEL} WHERE {' AND '.join(conditions)} ORDER BY name LIMIT ?"
    rows, has_more = page_of(connection, sql, (*values, limit + 1), limit, brief)
    return [Channel(*row) for row in rows], has_more


def channel(connection: sqlite3.Connection, channel_id: str) -> Channel:
    """Raises NotFound."""
    rows = read_rows(connection, f"{_CHANNEL} WHERE id = ?", (channel_id,))
    if not rows:
        raise NotFound("Channel not found")
    return Channel(*rows[0])


def topics(
    connection: sqlite3.Connection, channel_id: str, limit: int, offset: int, brief: bool = False
) -> tuple[list[Topic], bool]:
    """A page of a channel's topics, most recently updated first, and whether more follow. Raises NotFound."""
    channel(connection, channel_id)
    sql = f"{_TOPIC} WHERE channel_id = ? ORDER BY updated_at DESC, id DESC LIMIT ? OFFSET ?"
    rows, has_more = page_of(connection, sql, (channel_id, limit + 1, offset), limit, brief)
    return [Topic(*row) for row in rows], has_more


def topic(connection: sqlite3.Connection, topic_id: str) -> Topic:
    """Raises NotFound."""
    rows = read_rows(connection, f"{_TOPIC} WHERE id = ?", (topic_id,))
    if not rows:
        raise NotFound("Topic not found")
    return Topic(*rows[0])


def topics_in(connection: sqlite3.Connection, topic_ids: Iterable[str], channel_ids: Iterable[str]) -> set[str]:
    """Those of the topics that are in one of the channels."""
    lists = "id IN (SELECT value FROM json_each(?)) AND channel_id IN (SELECT value FROM json_each(?))"
    given = json.dumps(sorted(topic_ids)), json.dumps(sorted(channel_ids))
    return {row[0] for row in connection.execute(f"SELECT id FROM topics WHERE {lists}", given).fetchall()}


def message(connection: sqlite3.Connection, message_id: str) -> Message:
    """Raises NotFound."""
    rows = read_rows(connection, f"{_MESSAGE} WHERE id = ?", (message_id,))
    if not rows:
        raise NotFound("Message not found")
    return messages_of(connection, rows)[0]


def messages_of(connection: sqlite3.Connection, rows: Sequence[Row]) -> list[Message]:
    """Rows of the table as messages, each with the agent that its sender was verified to be."""
    if not rows or not additions.are_made(connection):
        return [Message(*row) for row in rows]
    ids = json.dumps([as_text(row[0]) for row in rows])
    sql = "SELECT message_id, agent_id FROM message_agents WHERE message_id IN (SELECT value FROM json_each(?))"
    agents = dict(connection.execute(sql, (ids,)).fetchall())
    return [Message(*(*row, agents.get(row[0]))) for row in rows]


def messages(
    connection: sqlite3.Connection,
    channel_id: str | None,
    topic_id: str | None,
    limit: int,
    before_id: str | None,
    after_id: str | None,
    brief: bool = False,
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
    sql = f"{_MESSAGE} WHERE {' AND '.join(conditions)} ORDER BY id {direction} LIMIT ?"
    rows, has_more = page_of(connection, sql, (*values, limit + 1), limit, brief)
    page = messages_of(connection, rows)
    if after_id is not None:
        page.reverse()
    return page, has_more


def attachments(
    connection: sqlite3.Connection,
    topic_id: str,
    kind: str | None,
    limit: int = PAGE_ROWS,
    before_id: str | None = None,
    brief: bool = False,
) -> tuple[list[Attachment], bool]:
    """A page of a topic's attachments, newest first, and whether more follow; `before_id` is the last of the page
    before. Raises NotFound when there is no such topic, or no such attachment in it."""
    topic(connection, topic_id)
    conditions, values = ["topic_id = ?"], [topic_id]
    if kind is not None:
        conditions.append("kind = ?")
        values.append(kind)
    if before_id is not None:
        before = "SELECT created_at, id FROM topic_attachments WHERE id = ? AND topic_id = ?"
        if not connection.execute(f"SELECT EXISTS ({before})", (before_id, topic_id)).fetchone()[0]:
            raise NotFound("Attachment not found")
        conditions.append(f"(created_at, id) < ({before})")
        values += [before_id, topic_id]
    sql = f"{_ATTACHMENT} WHERE {' AND '.join(conditions)} ORDER BY created_at DESC, id DESC LIMIT ?"
    rows, has_more = page_of(connection, sql, (*values, limit + 1), limit, brief)
    return [_attachment(row) for row in rows], has_more


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
