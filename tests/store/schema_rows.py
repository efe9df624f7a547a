"""Rows for the tables of the contract."""

from __future__ import annotations

CHANNEL = "INSERT INTO channels (id, name, created_at) VALUES ('ch_1', ?, 't')"
TOPIC = "INSERT INTO topics VALUES ('topic_1', 'ch_1', ?, 't', 't')"
MESSAGE = (
    "INSERT INTO messages (id, topic_id, channel_id, sender, content_raw, version, created_at) "
    "VALUES ('msg_1', 'topic_1', 'ch_1', ?, ?, ?, 't')"
)
