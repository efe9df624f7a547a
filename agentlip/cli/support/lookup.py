"""Channels and topics by what people call them: an id, a channel's name, `channel/title`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from ...client.names import called, readings
from ...errors import NotFound
from ...model import Channel, Topic
from .context import Reader
from .pages import MAX_PAGE


def channel_named(reader: Reader, wanted: str) -> Channel | None:
    """The channel that has this id or name, as hubs compare names."""
    return called(reader.channels(), wanted)


def channel_id(reader: Reader, wanted: str) -> str:
    """The id of the channel that has this id or name. Raises NotFound."""
    channels = reader.channels()
    found = called(channels, wanted)
    if found is None:
        raise NotFound(f"There is no channel {wanted}{_meant(_near(wanted, [each.name for each in channels]))}")
    return found.id


def topic_id(reader: Reader, wanted: str) -> str:
    """The id of the topic of this `channel/title`, which raises NotFound; an id is taken as it is."""
    if re.fullmatch(r"topic_[a-zA-Z0-9_-]+", wanted):
        return wanted
    channels = reader.channels()
    known = [channel for channel, _ in readings(channels, wanted)]
    for channel, title in readings(channels, wanted):
        found = topic_titled(reader, channel.id, title)
        if found is not None:
            return found.id
    names = [each.name for each in channels]
    name, slash, _ = wanted.partition("/")
    like = [] if known or not slash else _near(name, names)
    titles = [
        f"{each.name}/{topic.title}"
        for each in (*known, *(channel for channel in channels if channel.name in like))
        for topic in reader.topics(each.id, MAX_PAGE).topics
    ]
    near = _near(wanted, titles)
    if slash and not known and not near:
        raise NotFound(f"There is no channel {name}{_meant(like)}")
    hint = _meant(near) or "; a topic is named by its id or as channel/title"
    raise NotFound(f"There is no topic {wanted}{hint}")


def missing_topic(reader: Reader, wanted: str) -> tuple[str, str]:
    """The channel's name and the title of a `channel/title` that does not exist yet. Raises NotFound for others."""
    channel, slash, title = wanted.partition("/")
    for found, rest in readings(reader.channels(), wanted):  # a channel that is there goes first
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


def topic_titled(reader: Reader, channel: str, title: str) -> Topic | None:
    """The topic of this title, or id, in the channel of this id."""
    return called(_topics(reader, channel), title)


def _topics(reader: Reader, channel: str) -> Iterator[Topic]:
    offset, more = 0, True
    while more:
        page = reader.topics(channel, MAX_PAGE, offset)
        yield from page.topics
        more, offset = page.has_more and bool(page.topics), offset + len(page.topics)


def _near(wanted: str, names: Iterable[str]) -> list[str]:
    """Those that are written nearly so, the nearest first."""
    folded = {name.casefold(): name for name in names}
    return [folded[each] for each in get_close_matches(wanted.casefold(), folded)]


def _meant(near: list[str]) -> str:
    return f". Did you mean {near[0]}?" if near else ""
