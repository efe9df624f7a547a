"""Channels and topics by what people call them, made when they are wanted and not there."""

from __future__ import annotations

import re
from unicodedata import normalize

from ..errors import AlreadyExists, InvalidInput, NotFound
from ..model import Channel, Topic
from .pages import Pages


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
        except InvalidInput as error:  # somebody was faster, or it is no name; not every hub tells which
            found = self._channel(name, error)
            if found is None:
                raise
            return found

    def _channel(self, name: str, error: InvalidInput | None = None) -> Channel | None:
        wanted = _known(name, error)
        return next((each for each in self.iter_channels() if {each.id, normalize("NFC", each.name)} & wanted), None)

    def topic(self, name: str, *, create: bool = False) -> Topic:
        """The topic `channel/title`; with `create` it, and its channel, are made if they are not there.

        Raises NotFound, and InvalidInput for what can be no name. A channel whose name holds a slash is taken as that
        when it is there; a new channel gets its name from what is before the first slash.
        """
        text = normalize("NFC", name)
        readings = [
            (channel, text.removeprefix(f"{prefix}/"))
            for channel in self.iter_channels()
            for prefix in (normalize("NFC", channel.name), channel.id)
            if text.startswith(f"{prefix}/")
        ]
        for each, title in readings:
            found = self._topic_titled(each.id, title)
            if found is not None:
                return found
        if not create:
            raise NotFound(f"There is no topic {name}; a topic is named channel/title")
        first, slash, rest = text.partition("/")
        if not slash:
            raise InvalidInput("A topic is named channel/title")
        if not readings:
            return self._make_topic(self.channel(first, create=True).id, rest)
        channel, title = max(readings, key=lambda each: len(each[0].name))
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
        wanted = _known(title, error)
        topics = self.iter_topics(channel_id)
        return next((each for each in topics if {each.id, normalize("NFC", each.title)} & wanted), None)


def _known(name: str, error: InvalidInput | None) -> set[str]:
    """What the row that is looked for may be called: hubs may hold names equal that are written differently."""
    return {normalize("NFC", name)} | ({error.existing_id} if isinstance(error, AlreadyExists) else set())
