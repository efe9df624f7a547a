"""The event log: append, read, follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import InvalidInput
from ..hub.follower import Follower
from ..model import MAX_WAIT_SECONDS, Entity, Event, EventPage, Scope, fields
from ..store import mutations
from . import checks
from .noun import Noun


class Log(Noun):
    """Commands on the event log."""

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
        name = fields.label(name, "name", fields.MAX_NAME_CHARS)
        where = checks.scope(scope)
        if not isinstance(data, Mapping):
            raise InvalidInput("data must be an object")
        about = _entity_of(where) if entity is None else checks.entity(entity)
        return self._home.store.write(mutations.append_event, name, where, about, dict(data))

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
        return self.event_page(after, limit, channels=channels, topics=topics).events

    def event_page(
        self,
        after: int = 0,
        limit: int = 100,
        *,
        tail: int | None = None,
        channels: Iterable[str] | None = None,
        topics: Iterable[str] | None = None,
    ) -> EventPage:
        """As `events`, with the head of the log and whether there are more; with `tail` its last ones instead."""
        after = fields.number(after, "after", 0)
        limit = checks.limit(limit) if tail is None else fields.number(tail, "tail", 1, checks.MAX_LIMIT)
        in_channels, in_topics = self.visible(checks.ids(channels, "channels"), checks.ids(topics, "topics"))
        head = self._home.store.latest()
        if not in_channels and not in_topics and (in_channels is not None or in_topics is not None):
            return EventPage(head, [])
        ids = sorted(in_channels or ()), sorted(in_topics or ())
        return EventPage(head, *self._home.store.events_with_more(after, head, limit, tail is not None, *ids))

    def wait_for_events(
        self,
        seconds: float,
        after: int = 0,
        limit: int = 100,
        *,
        channels: Iterable[str] | None = None,
        topics: Iterable[str] | None = None,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> EventPage:
        """As `event_page`, but where that would be empty, wait up to so many seconds for something to come.

        It takes one of the connection slots meanwhile; raises ServiceUnavailable when none is free. It comes back
        early, with what there is, when the hub ends, and when `is_gone` says that nobody wants the answer any more.
        """
        seconds = checks.seconds(seconds, "wait", MAX_WAIT_SECONDS)
        wanted = checks.ids(channels, "channels"), checks.ids(topics, "topics")

        def look() -> EventPage:
            return self.event_page(after, limit, channels=wanted[0], topics=wanted[1])

        page = look()
        if page.events or not seconds:
            return page
        with self._home.hub.wait(seconds, *self.visible(*wanted), is_gone) as waiting:
            page = look()
            while not page.events and waiting.goes_on():
                page = look()
        return page

    def head(self) -> int:
        """The id of the latest event; 0 when there is none."""
        return self._home.store.latest()

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
        cursor = self._home.store.latest() if after is None else fields.number(after, "after", 0)
        seen = self.visible(checks.ids(channels, "channels"), checks.ids(topics, "topics"))
        return self._home.hub.follow(cursor, *seen, listener)


def _entity_of(scope: Scope) -> Entity:
    """What an event is about when its maker does not say."""
    topic_id = scope.topic_id or scope.topic_id2
    return Entity("topic", topic_id) if topic_id else Entity("channel", scope.channel_id or "")
