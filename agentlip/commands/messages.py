"""Messages: post, edit, delete, move, read, search."""

from __future__ import annotations

from typing import overload

from ..errors import InvalidInput
from ..model import (
    ChangeMessage,
    DeleteMessage,
    EditMessage,
    Message,
    MessagePage,
    MessageResult,
    MoveMessages,
    MoveResult,
    PostMessage,
    SearchPage,
    fields,
)
from ..store import mutations, queries
from . import checks
from .noun import Noun


class Messages(Noun):
    """Commands on messages."""

    def post_message(self, topic_id: str, sender: str, content_raw: str) -> MessageResult:
        """Post a message, and attach the URLs it names; content is at most 65,536 bytes of UTF-8."""
        return self.post(PostMessage(topic_id, sender, content_raw))[0]

    def post(self, asked: PostMessage) -> tuple[MessageResult, list[int]]:
        """As post_message, of a request; with the ids of all events: the message's, then those of its attachments."""
        self._speak_as(asked.sender)
        self._see_topic(asked.topic_id)
        urls = self._home.settings.url_allow, self._home.settings.url_block
        agent_id = None if self._caller is None else self._caller.agent.id
        appended: list[int] = []

        def posted(message: Message, event_ids: list[int]) -> MessageResult:
            appended[:] = event_ids
            return MessageResult(message, event_ids[0])

        wanted = asked.topic_id, asked.sender, asked.content_raw, *urls, agent_id
        return self._change(posted, mutations.post_message, *wanted), appended

    def edit(self, message_id: str, content_raw: str, expected_version: int | None = None) -> MessageResult:
        """Replace a message's content. Raises VersionConflict when it has another version than expected."""
        return self.change(message_id, EditMessage(content_raw, expected_version))

    def delete(self, message_id: str, actor: str, expected_version: int | None = None) -> MessageResult:
        """Turn a message into a tombstone; doing it twice changes nothing."""
        return self.change(message_id, DeleteMessage(actor, expected_version))

    def move(
        self, message_id: str, to_topic_id: str, mode: str = "one", expected_version: int | None = None
    ) -> MoveResult:
        """Move the message (`one`), it and all later ones of its topic (`later`), or `all` of its topic."""
        return self.change(message_id, MoveMessages(to_topic_id, mode, expected_version))  # type: ignore[arg-type]

    @overload
    def change(self, message_id: str, asked: EditMessage | DeleteMessage) -> MessageResult: ...

    @overload
    def change(self, message_id: str, asked: MoveMessages) -> MoveResult: ...

    def change(self, message_id: str, asked: ChangeMessage) -> MessageResult | MoveResult:
        """As edit, delete and move, of a request."""
        version = asked.expected_version
        fields.key(message_id, "message_id")
        self._see_message(message_id)
        if isinstance(asked, EditMessage):
            return self._change(MessageResult, mutations.edit_message, message_id, asked.content_raw, version)
        if isinstance(asked, DeleteMessage):
            self._speak_as(asked.actor)
            return self._change(MessageResult, mutations.delete_message, message_id, asked.actor, version)
        self._see_topic(asked.to_topic_id)
        wanted = message_id, asked.to_topic_id, asked.mode, version

        def moved(*event_ids: int) -> MoveResult:
            return MoveResult(len(event_ids), list(event_ids))

        return self._change(moved, mutations.move_message, *wanted, heavy=asked.mode != "one")

    def message(self, message_id: str) -> Message:
        found = self._home.store.read(queries.message, fields.key(message_id, "message_id"))
        self._see(found.channel_id, "Message not found")
        return found

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
        self._see_channel(where[0])
        self._see_topic(where[1])
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
        q, limit = fields.text(q, "q", fields.MAX_QUERY_CHARS), checks.limit(limit)
        where = (checks.optional_id(channel_id, "channel_id"), checks.optional_id(topic_id, "topic_id"))
        self._see_channel(where[0])
        self._see_topic(where[1])
        before_id = checks.optional_id(before_id, "before_id")
        return self._home.store.search(q, *where, limit, before_id, self._confined)
