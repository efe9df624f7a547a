"""A hub as an object: one method for each HTTP call, and `stream` for the event log.

The methods are called as those of host code are (`app.extensions["agentlip"]`), and raise the same classes of
`agentlip.errors`.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from ..errors import InvalidAuth, InvalidInput, RateLimited
from ..model import (
    Attachment,
    AttachmentResult,
    Channel,
    ChannelResult,
    EventPage,
    Message,
    MessagePage,
    MessageResult,
    MoveResult,
    SearchPage,
    Topic,
    TopicPage,
    TopicResult,
)
from .address import Address, Discovery, named_in_environment
from .errors import HubUnreachable, OutcomeUnknown
from .http import Http
from .stream import Stream
from .values import changed, event, read, row, rows

_API = "/api/v1"


class HubClient:
    """May be used by many threads or greenlets at once. A call blocks until it is answered, or nothing came for
    `timeout` seconds; one that the hub refuses for its rate limit is made again, after waits of up to
    `rate_limit_wait` seconds in all.

    Calls raise the hub's errors (`agentlip.errors`), HubUnreachable when there is no hub, and OutcomeUnknown when the
    connection broke while a change was under way.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        rate_limit_wait: float = 30.0,
    ) -> None:
        """`url` may have a path, as behind a proxy. Nothing is asked of the hub yet. Raises ConfigError."""
        self._address = Address.checked(url, token)
        self._discovery: Discovery | None = None
        self._timeout = timeout
        self._rate_limit_wait = rate_limit_wait
        self._ssl_context = ssl_context
        self._http = Http(timeout, ssl_context)

    @classmethod
    def discover(
        cls, start: Path | str | None = None, *, timeout: float = 10.0, rate_limit_wait: float = 30.0
    ) -> HubClient:
        """The hub of the workspace around `start`; without it that of AGENTLIP_URL, else that of AGENTLIP_DB, else that
        around the working folder.

        Raises HubUnreachable or ConfigError. The client of a workspace looks again when the hub is gone or refuses the
        token, so it survives the hub's restarts.
        """
        named = named_in_environment() if start is None else None
        if named is not None:
            return cls(named.url, named.token, timeout=timeout, rate_limit_wait=rate_limit_wait)
        client = cls("http://127.0.0.1", timeout=timeout, rate_limit_wait=rate_limit_wait)
        client._discovery = Discovery(None if start is None else Path(start).expanduser().absolute(), client._health_at)
        client._address = client._discovery.locate()
        return client

    def __repr__(self) -> str:
        return f"HubClient({self.url!r})"

    def __enter__(self) -> HubClient:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept for later calls. Streams are closed by themselves."""
        self._http.close()

    @property
    def url(self) -> str:
        """Where the hub is, or was when it was last looked for."""
        return self._address.url

    def health(self) -> dict[str, Any]:
        """Who the hub is, and for how long; needs no token."""
        return self._call("GET", "/health")

    def ping(self, echo: Any = None) -> dict[str, Any]:
        """Whether the token is the right one."""
        return self._call("POST", f"{_API}/_ping", body={} if echo is None else {"echo": echo})

    def channels(self) -> list[Channel]:
        """All channels by name."""
        return read(self._call("GET", f"{_API}/channels"), lambda it: rows(Channel, it["channels"]))

    def create_channel(self, name: str, description: str | None = None) -> ChannelResult:
        body = {"name": name, **_given(description=description)}
        answer = self._call("POST", f"{_API}/channels", body=body)
        return changed(answer, lambda it: ChannelResult(row(Channel, it["channel"]), it["event_id"]))

    def topics(self, channel_id: str, limit: int = 50, offset: int = 0) -> TopicPage:
        """A page of a channel's topics, most recently updated first."""
        path = f"{_API}/channels/{_quoted(channel_id)}/topics"
        answer = self._call("GET", path, [("limit", limit), ("offset", offset)])
        return read(answer, lambda it: TopicPage(rows(Topic, it["topics"]), it["has_more"]))

    def create_topic(self, channel_id: str, title: str) -> TopicResult:
        return self._topic("POST", f"{_API}/topics", {"channel_id": channel_id, "title": title})

    def rename_topic(self, topic_id: str, title: str) -> TopicResult:
        return self._topic("PATCH", f"{_API}/topics/{_quoted(topic_id)}", {"title": title})

    def _topic(self, method: str, path: str, body: dict[str, Any]) -> TopicResult:
        answer = self._call(method, path, body=body)
        return changed(answer, lambda it: TopicResult(row(Topic, it["topic"]), it["event_id"]))

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
        return read(answer, lambda it: MessagePage(rows(Message, it["messages"]), it["has_more"]))

    def message(self, message_id: str) -> Message:
        answer = self._call("GET", f"{_API}/messages/{_quoted(message_id)}")
        return read(answer, lambda it: row(Message, it["message"]))

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
        return changed(answer, lambda it: MessageResult(row(Message, it["message"]), it["event_id"]))

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
        return changed(answer, lambda it: MoveResult(it["affected_count"], it["event_ids"]))

    def attachments(self, topic_id: str, kind: str | None = None) -> list[Attachment]:
        """A topic's attachments, newest first."""
        answer = self._call("GET", f"{_API}/topics/{_quoted(topic_id)}/attachments", [("kind", kind)])
        return read(answer, lambda it: rows(Attachment, it["attachments"]))

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
        return changed(answer, lambda it: AttachmentResult(row(Attachment, it["attachment"]), it["event_id"]))

    def search(
        self, q: str, *, channel_id: str | None = None, topic_id: str | None = None, limit: int = 50
    ) -> SearchPage:
        """The messages that hold all words of `q`, newest first."""
        query = [("q", q), ("channel_id", channel_id), ("topic_id", topic_id), ("limit", limit)]
        answer = self._call("GET", f"{_API}/search", query)
        return read(answer, lambda it: SearchPage(rows(Message, it["messages"]), it["has_more"], it["fts_used"]))

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
        query += [("channel_id", item) for item in _ids("channels", channels)]
        query += [("topic_id", item) for item in _ids("topics", topics)]
        answer = self._call("GET", f"{_API}/events", query)
        return read(
            answer, lambda it: EventPage(it["replay_until"], [event(item, "data_json") for item in it["events"]])
        )

    def stream(
        self,
        after: int | None = 0,
        *,
        channels: Iterable[str] | None = None,
        topics: Iterable[str] | None = None,
        db_id: str | None = None,
        on_new_log: Literal["raise", "restart"] = "raise",
        on_connect: Callable[[dict[str, Any]], None] | None = None,
        on_disconnect: Callable[[str, float], None] | None = None,
    ) -> Stream:
        """The events after an id (None: from now on), and those to come, for ever; see Stream.

        Without `channels` and `topics` all events; else those that touch one of them. `db_id` is the log that `after`
        is an id of, as a former stream told. `on_connect` gets the hub's hello_ok, `on_disconnect` the reason and the
        seconds until the next attempt; both are called where the stream is iterated.
        """
        wanted = None
        if channels is not None or topics is not None:
            wanted = {"channels": _ids("channels", channels), "topics": _ids("topics", topics)}
        return Stream(
            self._locate, after, wanted, db_id, on_new_log == "restart", on_connect, on_disconnect,
            timeout=self._timeout, ssl_context=self._ssl_context,
        )  # fmt: skip

    def _call(
        self, method: str, path: str, query: Iterable[tuple[str, Any]] = (), body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        asked, patience = list(query), self._rate_limit_wait
        while True:
            try:
                return self._call_once(method, path, asked, body)
            except RateLimited as error:  # nothing has been done, so a change may be sent again, too
                pause = error.retry_after * random.uniform(1.0, 1.2)  # so that not all come back at once
                if pause > patience:
                    raise
                patience -= pause
                time.sleep(pause)

    def _call_once(
        self, method: str, path: str, asked: list[tuple[str, Any]], body: dict[str, Any] | None
    ) -> dict[str, Any]:
        try:
            return self._http.call(self._address, method, path, asked, body)
        except OutcomeUnknown:
            raise
        except (HubUnreachable, InvalidAuth):
            # Nothing has been done, so it may be tried where the hub is now.
            before = self._address
            if self._discovery is None or self._locate() == before:
                raise
        return self._http.call(self._address, method, path, asked, body)

    def _locate(self) -> Address:
        if self._discovery is not None:
            self._address = self._discovery.locate()
        return self._address

    def _health_at(self, address: Address) -> dict[str, Any]:
        return self._http.call(address, "GET", "/health")


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _ids(name: str, given: Iterable[str] | None) -> list[str]:
    if isinstance(given, str):  # its letters would be taken for ids
        raise InvalidInput(f"{name} is a list of ids")
    return list(given or ())


def _quoted(part: str) -> str:
    return quote(part, safe="")
