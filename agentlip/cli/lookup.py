"""Channels and topics by what people call them: an id, a channel's name, `channel/title`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from unicodedata import normalize

from ..errors import NotFound
from ..model import Channel, Topic
from .context import Reader
from .pages import MAX_PAGE


def channel_named(reader: Reader, wanted: str) -> Channel | None:
    """The channel that has this id or name, however its letters are composed."""
    name = normalize("NFC", wanted)
    return next((each for each in reader.channels() if each.id == wanted or normalize("NFC", each.name) == name), None)


def channel_id(reader: Reader, wanted: str) -> str:
    """The id of the channel that has this id or name. Raises NotFound."""
    found = channel_named(reader, wanted)
    if found is None:
        raise NotFound(f"There is no channel {wanted}{_near(wanted, [each.name for each in reader.channels()])}")
    return found.id


def topic_id(reader: Reader, wanted: str) -> str:
    """The id of the topic of this `channel/title`, which raises NotFound; an id is taken as it is."""
    if re.fullmatch(r"topic_[a-zA-Z0-9_-]+", wanted):
        return wanted
    names = []
    for channel, title in _readings(reader, wanted):
        found = topic_titled(reader, channel.id, title)
        if found is not None:
            return found.id
        names += [f"{channel.name}/{each.title}" for each in reader.topics(channel.id, MAX_PAGE).topics]
    near = _near(wanted, names)
    raise NotFound(f"There is no topic {wanted}{near or '; a topic is named by its id or as channel/title'}")


def missing_topic(reader: Reader, wanted: str) -> tuple[str, str]:
    """The channel's name and the title of a `channel/title` that does not exist yet. Raises NotFound for others."""
    channel, slash, title = wanted.partition("/")
    for found, rest in _readings(reader, wanted):  # a channel that is there goes first
        channel, title = found.name, rest
    if not slash or not channel or not title:
        raise NotFound(f"There is no topic {wanted}; give it as channel/title to have it made")
    return channel, title


def scope(reader: Reader, place: str | None) -> dict[str, list[str]]:
    """What to select the events of a channel or a topic by; nothing without a `place`. Raises NotFound."""
    if place is None:
        return {}
    channel = channel_named(reader, place)
    if channel is not None:
        return {"channels": [channel.id]}
    if "/" not in place and not place.startswith("topic_"):
        return {"channels": [channel_id(reader, place)]}
    return {"topics": [topic_id(reader, place)]}


def _readings(reader: Reader, wanted: str) -> Iterator[tuple[Channel, str]]:
    """Channels and titles that `channel/title` may mean: a channel's name may hold a slash itself."""
    text = normalize("NFC", wanted)
    for channel in reader.channels():
        for name in (normalize("NFC", channel.name), channel.id):
            if text.startswith(f"{name}/"):
                yield channel, text.removeprefix(f"{name}/")


def topic_titled(reader: Reader, channel: str, title: str) -> Topic | None:
    """The topic of this title in the channel of this id."""
    offset, wanted = 0, normalize("NFC", title)
    while True:
        page = reader.topics(channel, MAX_PAGE, offset)
        for topic in page.topics:
            if normalize("NFC", topic.title) == wanted:
                return topic
        if not page.has_more or not page.topics:
            return None
        offset += len(page.topics)


def _near(wanted: str, names: list[str]) -> str:
    near = get_close_matches(wanted, names, 1)
    return f". Did you mean {near[0]}?" if near else ""
