"""One method for each HTTP call, with its typed result.

The methods are called as those of host code are (`app.extensions["agentlip"]`), and raise the same classes of
`agentlip.errors`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from ..errors import InvalidInput
from ..model import (
    Attachment,
    AttachmentPage,
    AttachmentResult,
    Channel,
    ChannelPage,
    ChannelResult,
    EventPage,
    EventRows,
    Message,
    MessageAnswer,
    MessagePage,
    MessageResult,
    MoveResult,
    SearchPage,
    TopicPage,
    TopicResult,
)
from .values import changed, event, read

_API = "/api/v1"
_UNPAGED = {"has_more": False}  # what other hubs leave out, who answer everything at once


class Calls:
    """The calls of a client; how one is made is up to `_call`."""

    def _call(
        self, method: str, path: str, query: Iterable[tuple[str, Any]] = (), body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        raise NotImplementedError

    def health(self) -> dict[str, Any]:
        """Who the hub is, and for how long; needs no token."""
        return self._call("GET", "/health")

    def ping(self, echo: Any = None) -> dict[str, Any]:
        """Whether the token is the right one."""
        return self._call("POST", f"{_API}/_ping", body={} if echo is None else {"echo": echo})

    def channels(self) -> list[Channel]:
        """All channels by name."""
        found: list[Channel] = []
        more = True
        while more:
            answer = self._call("GET", f"{_API}/channels", [("after_id", found[-1].id if found else None)])
            page = read(_UNPAGED | answer, ChannelPage)
            found += page.channels
            more = page.has_more and bool(page.channels)
        return found

    def create_channel(self, name: str, description: str | None = None) -> ChannelResult:
        body = {"name": name, **_given(description=description)}
        answer = self._call("POST", f"{_API}/channels", body=body)
        return changed(answer, ChannelResult)

    def topics(self, channel_id: str, limit: int = 50, offset: int = 0) -> TopicPage:
        """A page of a channel's topics, most recently updated first."""
        path = f"{_API}/channels/{_quoted(channel_id)}/topics"
        answer = self._call("GET", path, [("limit", limit), ("offset", offset)])
        return read(answer, TopicPage)

    def create_topic(self, channel_id: str, title: str) -> TopicResult:
        return self._topic("POST", f"{_API}/topics", {"channel_id": channel_id, "title": title})

    def rename_topic(self, topic_id: str, title: str) -> TopicResult:
        return self._topic("PATCH", f"{_API}/topics/{_quoted(topic_id)}", {"title": title})

    def _topic(self, method: str, path: str, body: dict[str, Any]) -> TopicResult:
        answer = self._call(method, path, body=body)
        return changed(answer, TopicResult)

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
        query = [
            ("channel_id", channel_id),
            ("topic_id", topic_id),
            ("limit", limit),
            ("before_id", before_id),
            ("after_id", after_id),
        ]
        answer = self._call("GET", f"{_API}/messages", query)
        return read(answer, MessagePage)

    def message(self, message_id: str) -> Message:
        answer = self._call("GET", f"{_API}/messages/{_quoted(message_id)}")
        return read(answer, MessageAnswer).message

    def post_message(self, topic_id: str, sender: str, content_raw: str) -> MessageResult:
        body = {"topic_id": topic_id, "sender": sender, "content_raw": content_raw}
        return self._message("POST", f"{_API}/messages", body)

    def edit(self, message_id: str, content_raw: str, expected_version: int | None = None) -> MessageResult:
        """Replace a message's content. Raises VersionConflict when it has another version than expected."""
        return self._change(message_id, "edit", content_raw=content_raw, expected_version=expected_version)

    def delete(self, message_id: str, actor: str, expected_version: int | None = None) -> MessageResult:
        """Turn a message into a tombstone; doing it twice changes nothing."""
        return self._change(message_id, "delete", actor=actor, expected_version=expected_version)

    def _change(self, message_id: str, operation: str, **fields: Any) -> MessageResult:
        return self._message("PATCH", f"{_API}/messages/{_quoted(message_id)}", {"op": operation, **_given(**fields)})

    def _message(self, method: str, path: str, body: dict[str, Any]) -> MessageResult:
        answer = self._call(method, path, body=body)
        return changed(answer, MessageResult)

    def move(
        self, message_id: str, to_topic_id: str, mode: str = "one", expected_version: int | None = None
    ) -> MoveResult:
        """Move the message (`one`), it and all later ones of its topic (`later`), or `all` of its topic."""
        body = {
            "op": "move_topic",
            "to_topic_id": to_topic_id,
            "mode": mode,
            **_given(expected_version=expected_version),
        }
        answer = self._call("PATCH", f"{_API}/messages/{_quoted(message_id)}", body=body)
        return changed(answer, MoveResult)

    def attachments(self, topic_id: str, kind: str | None = None) -> list[Attachment]:
        """All attachments of a topic, newest first."""
        found: list[Attachment] = []
        more = True
        while more:
            query = [("kind", kind), ("before_id", found[-1].id if found else None)]
            answer = self._call("GET", f"{_API}/topics/{_quoted(topic_id)}/attachments", query)
            page = read(_UNPAGED | answer, AttachmentPage)
            found += page.attachments
            more = page.has_more and bool(page.attachments)
        return found

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
        options = _given(key=key, dedupe_key=dedupe_key, source_message_id=source_message_id)
        body = {"kind": kind, "value_json": value_json, **options}
        answer = self._call("POST", f"{_API}/topics/{_quoted(topic_id)}/attachments", body=body)
        return changed(answer, AttachmentResult)

    def search(
        self,
        q: str,
        *,
        channel_id: str | None = None,
        topic_id: str | None = None,
        limit: int = 50,
        before_id: str | None = None,
    ) -> SearchPage:
        """The messages that hold all words of `q`, newest first; `before_id` is the last of the page before."""
        query = [
            ("q", q),
            ("channel_id", channel_id),
            ("topic_id", topic_id),
            ("limit", limit),
            ("before_id", before_id),
        ]
        answer = self._call("GET", f"{_API}/search", query)
        return read(answer, SearchPage)

    def events(
        self,
        after: int = 0,
        limit: int = 100,
        *,
        tail: int | None = None,
        channels: Iterable[str] = (),
        topics: Iterable[str] = (),
    ) -> EventPage:
        """The next events after an id, or with `tail` the last ones; of these channels or topics, if any are given."""
        query: list[tuple[str, Any]] = [("after", after), ("limit", limit)] if tail is None else [("tail", tail)]
        query += [("channel_id", item) for item in ids("channels", channels)]
        query += [("topic_id", item) for item in ids("topics", topics)]
        answer = self._call("GET", f"{_API}/events", query)
        page = read(_UNPAGED | answer, EventRows)
        return EventPage(page.replay_until, [event(item) for item in page.events], page.has_more)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def ids(name: str, given: Iterable[str] | None) -> list[str]:
    if isinstance(given, str):  # its letters would be taken for ids
        raise InvalidInput(f"{name} is a list of ids")
    return list(given or ())


def _quoted(part: str) -> str:
    return quote(part, safe="")
