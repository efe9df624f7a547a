"""What may be asked of a hub, with every check of the input: for host code, and for the HTTP API above it.

All methods may be called from any thread or greenlet, inside or outside Flask's contexts, and in any process that
has the application. Changes block until they are committed, at most about the write timeout; reads are inline and
short. Mistakes raise the classes of `agentlip.errors`: InvalidInput, NotFound, VersionConflict and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..config import Settings
from ..errors import InvalidInput
from ..hub.follower import Follower
from ..hub.hub import Hub
from ..model import (
    Attachment,
    AttachmentPage,
    AttachmentResult,
    Channel,
    ChannelPage,
    ChannelResult,
    Entity,
    Event,
    Message,
    MessagePage,
    MessageResult,
    MoveResult,
    Scope,
    SearchPage,
    TopicPage,
    TopicResult,
)
from ..store import mutations, queries
from ..store.page import PAGE_ROWS
from ..store.store import Store
from ..store.urls import check_link
from . import checks

_LINK_KINDS = ("url", "link")


class Commands:
    """The methods of `app.extensions["agentlip"]` that change and read the hub's content."""

    settings: Settings

    @property
    def store(self) -> Store:
        raise NotImplementedError

    @property
    def hub(self) -> Hub:
        raise NotImplementedError

    def create_channel(self, name: str, description: str | None = None) -> ChannelResult:
        """Create a channel; its name is unique, 1 to 100 characters."""
        name = checks.label(name, "name", checks.MAX_NAME_CHARS)
        description = checks.optional_text(description, "description", checks.MAX_DESCRIPTION_CHARS)
        return ChannelResult(*self.store.write(mutations.create_channel, name, description, heavy=True))

    def create_topic(self, channel_id: str, title: str) -> TopicResult:
        """Create a topic; its title is unique in the channel, 1 to 200 characters."""
        channel_id = checks.text(channel_id, "channel_id", checks.MAX_ID_CHARS)
        title = checks.label(title, "title", checks.MAX_TITLE_CHARS)
        return TopicResult(*self.store.write(mutations.create_topic, channel_id, title, heavy=True))

    def rename_topic(self, topic_id: str, title: str) -> TopicResult:
        title = checks.label(title, "title", checks.MAX_TITLE_CHARS)
        topic_id = checks.key(topic_id, "topic_id")
        return TopicResult(*self.store.write(mutations.rename_topic, topic_id, title, heavy=True))

    def post_message(self, topic_id: str, sender: str, content_raw: str) -> MessageResult:
        """Post a message, and attach the URLs it names; content is at most 65,536 bytes of UTF-8."""
        message, event_ids = self.post_message_events(topic_id, sender, content_raw)
        return MessageResult(message, event_ids[0])

    def post_message_events(self, topic_id: str, sender: str, content_raw: str) -> tuple[Message, list[int]]:
        """As post_message, with the ids of all events: that of the message, then those of its attachments."""
        topic_id = checks.text(topic_id, "topic_id", checks.MAX_ID_CHARS)
        sender = checks.label(sender, "sender", checks.MAX_SENDER_CHARS)
        content = checks.new_content(content_raw)
        settings = self.settings
        return self.store.write(
            mutations.post_message, topic_id, sender, content, settings.url_allow, settings.url_block
        )

    def edit(self, message_id: str, content_raw: str, expected_version: int | None = None) -> MessageResult:
        """Replace a message's content. Raises VersionConflict when it has another version than expected."""
        message_id, content = checks.key(message_id, "message_id"), checks.content(content_raw)
        version = checks.version(expected_version)
        return MessageResult(*self.store.write(mutations.edit_message, message_id, content, version))

    def delete(self, message_id: str, actor: str, expected_version: int | None = None) -> MessageResult:
        """Turn a message into a tombstone; doing it twice changes nothing."""
        message_id, actor = checks.key(message_id, "message_id"), checks.label(actor, "actor", checks.MAX_SENDER_CHARS)
        version = checks.version(expected_version)
        return MessageResult(*self.store.write(mutations.delete_message, message_id, actor, version))

    def move(
        self, message_id: str, to_topic_id: str, mode: str = "one", expected_version: int | None = None
    ) -> MoveResult:
        """Move the message (`one`), it and all later ones of its topic (`later`), or `all` of its topic."""
        message_id, version = checks.key(message_id, "message_id"), checks.version(expected_version)
        to_topic_id = checks.text(to_topic_id, "to_topic_id", checks.MAX_ID_CHARS)
        if mode not in mutations.MOVE_MODES:
            raise InvalidInput(f"mode must be one of {', '.join(mutations.MOVE_MODES)}")
        event_ids = self.store.write(
            mutations.move_message, message_id, to_topic_id, mode, version, heavy=mode != "one"
        )
        return MoveResult(len(event_ids), event_ids)

    def add_attachment(
        self,
        topic_id: str,
        kind: str,
        value_json: dict[str, Any],
        *,
        key: str | None = None,
        dedupe_key: str | None = None,
        source_message_id: str | None = None,
    ) -> AttachmentResult:
        """Pin a JSON object to a topic; an equal one gives the old row and no event."""
        kind = checks.label(kind, "kind", checks.MAX_KIND_CHARS)
        value_json = checks.json_object(value_json, "value_json")
        if kind in _LINK_KINDS:
            check_link(value_json)
        written = self.store.write(
            mutations.add_attachment,
            checks.key(topic_id, "topic_id"),
            kind,
            checks.optional_text(key, "key", checks.MAX_KEY_CHARS),
            value_json,
            checks.optional_text(dedupe_key, "dedupe_key", checks.MAX_DEDUPE_CHARS, 1),
            checks.optional_text(source_message_id, "source_message_id", checks.MAX_ID_CHARS),
        )
        return AttachmentResult(*written)

    def append(
        self,
        name: str,
        scope: Scope | Mapping[str, str | None],
        data: Mapping[str, Any],
        entity: tuple[str, str] | None = None,
    ) -> int:
        """Append an event of the application's own, and return its id.

        `scope` says whom it concerns: at least one of `channel_id`, `topic_id` and `topic_id2`. `data` is a JSON
        object. `entity` is a type and an id; without it, it is the topic or channel of the scope. A name of the
        hub's own events needs the scope that they have.
        """
        name = checks.label(name, "name", checks.MAX_NAME_CHARS)
        where = checks.scope(scope)
        if not isinstance(data, Mapping):
            raise InvalidInput("data must be an object")
        about = _entity_of(where) if entity is None else checks.entity(entity)
        return self.store.write(mutations.append_event, name, where, about, dict(data))

    def channels(self) -> list[Channel]:
        """All channels by name."""
        page = self.channel_page()
        found = page.channels
        while page.has_more:
            page = self.channel_page(after_id=found[-1].id)
            found += page.channels
        return found

    def channel_page(self, limit: int = PAGE_ROWS, after_id: str | None = None) -> ChannelPage:
        """A page of the channels by name; `after_id` is the last of the page before."""
        limit, after_id = checks.limit(limit), checks.optional_id(after_id, "after_id")
        return ChannelPage(*self.store.read_page(queries.channels, limit, after_id))

    def topics(self, channel_id: str, limit: int = 50, offset: int = 0) -> TopicPage:
        """A page of a channel's topics, most recently updated first."""
        channel_id = checks.key(channel_id, "channel_id")
        limit, offset = checks.limit(limit), checks.number(offset, "offset", 0)
        return TopicPage(*self.store.read_page(queries.topics, channel_id, limit, offset))

    def message(self, message_id: str) -> Message:
        return self.store.read(queries.message, checks.key(message_id, "message_id"))

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
        return MessagePage(*self.store.read_page(queries.messages, *where, limit, *between))

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
        return self.store.search(q, *where, limit, checks.optional_id(before_id, "before_id"))

    def attachments(self, topic_id: str, kind: str | None = None) -> list[Attachment]:
        """All attachments of a topic, newest first."""
        page = self.attachment_page(topic_id, kind)
        found = page.attachments
        while page.has_more:
            page = self.attachment_page(topic_id, kind, before_id=found[-1].id)
            found += page.attachments
        return found

    def attachment_page(
        self, topic_id: str, kind: str | None = None, limit: int = PAGE_ROWS, before_id: str | None = None
    ) -> AttachmentPage:
        """A page of a topic's attachments, newest first; `before_id` is the last of the page before."""
        topic_id, kind = checks.key(topic_id, "topic_id"), None if kind is None else checks.key(kind, "kind")
        limit, before_id = checks.limit(limit), checks.optional_id(before_id, "before_id")
        return AttachmentPage(*self.store.read_page(queries.attachments, topic_id, kind, limit, before_id))

    def events(
        self,
        after: int = 0,
        limit: int = 100,
        *,
        channels: Iterable[str] | None = None,
        topics: Iterable[str] | None = None,
    ) -> list[Event]:
        """The next events after an id, ascending; with `channels` or `topics` those that touch any of them.

        Large ones come fewer at a time; none are left when the list is empty.
        """
        after, limit = checks.number(after, "after", 0), checks.limit(limit)
        in_channels, in_topics = checks.ids(channels, "channels"), checks.ids(topics, "topics")
        if not in_channels and not in_topics and (in_channels is not None or in_topics is not None):
            return []
        head = self.store.latest()
        return self.store.events(after, head, limit, False, sorted(in_channels or ()), sorted(in_topics or ()))

    def head(self) -> int:
        """The id of the latest event; 0 when there is none."""
        return self.store.latest()

    def subscribe(
        self,
        listener: Callable[[Event], None] | None = None,
        *,
        after: int | None = None,
        channels: Iterable[str] | None = None,
        topics: Iterable[str] | None = None,
    ) -> Follower:
        """Follow the log from inside the process: each matching event once and in order, whoever commits it.

        Without a `listener` iterate over the answer, which waits for events. With one, it is called on a thread
        or greenlet of its own; when it raises, that is logged, and the next event follows. `after` is the id to
        go on from, by default the head. Close the answer to end it.
        """
        if listener is not None and not callable(listener):
            raise InvalidInput("listener must be callable")
        cursor = self.store.latest() if after is None else checks.number(after, "after", 0)
        return self.hub.follow(cursor, checks.ids(channels, "channels"), checks.ids(topics, "topics"), listener)


def _entity_of(scope: Scope) -> Entity:
    """What an event is about when its maker does not say."""
    topic_id = scope.topic_id or scope.topic_id2
    return Entity("topic", topic_id) if topic_id else Entity("channel", scope.channel_id or "")
