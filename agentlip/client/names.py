"""Channels and topics by what people call them, made when they are wanted and not there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

from ..errors import InvalidInput, NotFound
from ..looks import look_of
from ..model import Channel, Topic
from .pages import Pages

_Row = TypeVar("_Row", Channel, Topic)


def called(rows: Iterable[_Row], wanted: str) -> _Row | None:
    """The row of this id, name or title; without it one that looks the same, as hubs compare names."""
    look, alike = look_of(wanted), None
    for each in rows:
        name = each.name if isinstance(each, Channel) else each.title
        if wanted in (each.id, name):
            return each
        if alike is None and look_of(name) == look:
            alike = each
    return alike


def readings(channels: Iterable[Channel], wanted: str) -> Iterator[tuple[Channel, str]]:
    """Channels and titles that `channel/title` may mean: the name of a channel, here the longest last, may hold a
    slash itself."""
    known = list(channels)
    for slash in re.finditer("/", wanted):
        channel = called(known, wanted[: slash.start()])
        if channel is not None:
            yield channel, wanted[slash.end() :]


class Names(Pages):
    """Finds by name, and makes what is missing. Of several who make the same at once one does, and all get it."""

    def channel(self, name: str, *, create: bool = False, description: str | None = None) -> Channel:
        """The channel of this name (or id); with `create` it is made if there is none. Raises NotFound."""
        found = self._channel(name)
        if found is not None:
            return found
        if not create:
            raise NotFound(f"There is no channel {name}")
        try:
            return self.create_channel(name, description).channel
        except InvalidInput as error:  # somebody was faster, or it is not a name; not every hub says which
            found = self._channel(name, error)
            if found is None:
                raise
            return found

    def _channel(self, name: str, error: InvalidInput | None = None) -> Channel | None:
        return called(self.iter_channels(), getattr(error, "existing_id", name))

    def topic(self, name: str, *, create: bool = False) -> Topic:
        """The topic `channel/title`; with `create` it, and its channel, are made if they are not there.

        Raises NotFound, and InvalidInput for what can be no name. A channel whose name holds a slash is taken as that
        when it is there; a new channel gets its name from what is before the first slash.
        """
        meant = list(readings(self.iter_channels(), name))
        for each, title in meant:
            found = self._topic_titled(each.id, title)
            if found is not None:
                return found
        if not create:
            raise NotFound(f"There is no topic {name}; a topic is named channel/title")
        first, slash, rest = name.partition("/")
        if not slash:
            raise InvalidInput("A topic is named channel/title")
        if not meant:
            return self._make_topic(self.channel(first, create=True).id, rest)
        channel, title = meant[-1]
        return self._make_topic(channel.id, title)

    def _topic_id(self, topic: str | Topic) -> str:
        if isinstance(topic, Topic):
            return topic.id
        return topic if re.fullmatch(r"topic_[a-zA-Z0-9_-]+", topic) else self.topic(topic).id

    def _make_topic(self, channel_id: str, title: str) -> Topic:
        try:
            return self.create_topic(channel_id, title).topic
        except InvalidInput as error:
            found = self._topic_titled(channel_id, title, error)
            if found is None:
                raise
            return found

    def _topic_titled(self, channel_id: str, title: str, error: InvalidInput | None = None) -> Topic | None:
        return called(self.iter_topics(channel_id), getattr(error, "existing_id", title))
