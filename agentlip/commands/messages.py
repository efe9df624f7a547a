"""Messages: post, edit, delete, move, read, search."""

from __future__ import annotations

from ..errors import InvalidInput
from ..model import Message, MessagePage, MessageResult, MoveResult, SearchPage
from ..store import mutations, queries
from . import checks
from .noun import Noun


class Messages(Noun):
    """Commands on messages."""

    def post_message(self, topic_id: str, sender: str, content_raw: str) -> MessageResult:
        """Post a message, and attach the URLs it names; content is at most 65,536 bytes of UTF-8."""
        message, event_ids = self.post_message_events(topic_id, sender, content_raw)
        return MessageResult(message, event_ids[0])

    def post_message_events(self, topic_id: str, sender: str, content_raw: str) -> tuple[Message, list[int]]:
        """As post_message, with the ids of all events: that of the message, then those of its attachments."""
        topic_id = checks.text(topic_id, "topic_id", checks.MAX_ID_CHARS)
        sender = checks.label(sender, "sender", checks.MAX_SENDER_CHARS)
        content = checks.new_content(content_raw)
        settings = self._home.settings
        return self._home.store.write(
            mutations.post_message, topic_id, sender, content, settings.url_allow, settings.url_block
        )

    def edit(self, message_id: str, content_raw: str, expected_version: int | None = None) -> MessageResult:
        """Replace a message's content. Raises VersionConflict when it has another version than expected."""
        message_id, content = checks.key(message_id, "message_id"), checks.content(content_raw)
        version = checks.version(expected_version)
        return MessageResult(*self._home.store.write(mutations.edit_message, message_id, content, version))

    def delete(self, message_id: str, actor: str, expected_version: int | None = None) -> MessageResult:
        """Turn a message into a tombstone; doing it twice changes nothing."""
        message_id, actor = checks.key(message_id, "message_id"), checks.label(actor, "actor", checks.MAX_SENDER_CHARS)
        version = checks.version(expected_version)
        return MessageResult(*self._home.store.write(mutations.delete_message, message_id, actor, version))

    def move(
        self, message_id: str, to_topic_id: str, mode: str = "one", expected_version: int | None = None
    ) -> MoveResult:
        """Move the message (`one`), it and all later ones of its topic (`later`), or `all` of its topic."""
        message_id, version = checks.key(message_id, "message_id"), checks.version(expected_version)
        to_topic_id = checks.text(to_topic_id, "to_topic_id", checks.MAX_ID_CHARS)
        if mode not in mutations.MOVE_MODES:
            raise InvalidInput(f"mode must be one of {', '.join(mutations.MOVE_MODES)}")
        event_ids = self._home.store.write(
            mutations.move_message, message_id, to_topic_id, mode, version, heavy=mode != "one"
        )
        return MoveResult(len(event_ids), event_ids)

    def message(self, message_id: str) -> Message:
        return self._home.store.read(queries.message, checks.key(message_id, "message_id"))

    def messages(
        self,
        *,
        channel_id: str | None = None,
        topic_id: str | None = None,
        limit: int = 50,
        before_id: str | None = None,
        after_id: str | None = None,
    ) -> MessagePage:
        """A page of the messages of a channel or topic, newest first; with `after_id` the page right above it."""
        if channel_id is None and topic_id is None:
            raise InvalidInput("channel_id or topic_id is required")
        limit = checks.limit(limit)
        where = (checks.optional_id(channel_id, "channel_id"), checks.optional_id(topic_id, "topic_id"))
        between = (checks.optional_id(before_id, "before_id"), checks.optional_id(after_id, "after_id"))
        return MessagePage(*self._home.store.read_page(queries.messages, *where, limit, *between))

    def search(
        self,
        q: str,
        *,
        channel_id: str | None = None,
        topic_id: str | None = None,
        limit: int = 50,
        before_id: str | None = None,
    ) -> SearchPage:
        """The messages that hold all words of `q`, newest first; "quoted words" stay together. Blocks up to seconds.

        `before_id` is the last of the page before.
        """
        q, limit = checks.text(q, "q", checks.MAX_QUERY_CHARS), checks.limit(limit)
        where = (checks.optional_id(channel_id, "channel_id"), checks.optional_id(topic_id, "topic_id"))
        return self._home.store.search(q, *where, limit, checks.optional_id(before_id, "before_id"))
