"""Channels: create, list."""

from __future__ import annotations

from ..errors import Forbidden
from ..model import PAGE_ROWS, Channel, ChannelPage, ChannelResult, CreateChannel
from ..store import mutations, queries
from . import checks
from .noun import Noun


class Channels(Noun):
    """Commands on channels."""

    def create_channel(self, name: str, description: str | None = None) -> ChannelResult:
        """Create a channel; its name is unique, 1 to 100 characters."""
        return self.add_channel(CreateChannel(name, description))

    def add_channel(self, asked: CreateChannel) -> ChannelResult:
        """As create_channel, of a request."""
        if self._confined is not None:
            raise Forbidden("This token is confined to channels that are there")
        return self._change(ChannelResult, mutations.create_channel, asked.name, asked.description, heavy=True)

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
        self._see_channel(after_id)
        return ChannelPage(*self._home.store.read_page(queries.channels, limit, after_id, self._confined))
