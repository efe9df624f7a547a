"""Channels and topics by what people call them: an id, a channel's name, `channel/title`."""

from __future__ import annotations

import re

from ..client import HubClient
from ..errors import NotFound

_PAGE = 1000


def channel_id(client: HubClient, wanted: str) -> str:
    """The id of the channel that has this id or name. Raises NotFound."""
    for channel in client.channels():
        if wanted in (channel.id, channel.name):
            return channel.id
    raise NotFound(f"There is no channel {wanted}")


def topic_id(client: HubClient, wanted: str) -> str:
    """The id of the topic of this `channel/title`, which raises NotFound; an id is taken as it is."""
    if re.fullmatch(r"topic_[a-zA-Z0-9_-]+", wanted):
        return wanted
    for channel in client.channels():  # a channel's name may hold a slash itself
        for name in (channel.name, channel.id):
            if wanted.startswith(f"{name}/"):
                found = _by_title(client, channel.id, wanted.removeprefix(f"{name}/"))
                if found is not None:
                    return found
    raise NotFound(f"There is no topic {wanted}; a topic is named by its id or as channel/title")


def _by_title(client: HubClient, channel: str, title: str) -> str | None:
    offset = 0
    while True:
        page = client.topics(channel, _PAGE, offset)
        for topic in page.topics:
            if topic.title == title:
                return topic.id
        if not page.has_more:
            return None
        offset += len(page.topics)
