"""Channels: create, list."""

from __future__ import annotations

from ..model import Channel, ChannelPage, ChannelResult
from ..store import mutations, queries
from ..store.page import PAGE_ROWS
from . import checks
from .noun import Noun


class Channels(Noun):
    """Commands on channels."""

    def create_channel(self, name: str, description: str | None = None) -> ChannelResult:
        """Create a channel; its name is unique, 1 to 100 characters."""
        name = checks.label(name, "name", checks.MAX_NAME_CHARS)
        description = checks.optional_text(description, "description", checks.MAX_DESCRIPTION_CHARS)
        return ChannelResult(*self._home.store.write(mutations.create_channel, name, description, heavy=True))

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
        return ChannelPage(*self._home.store.read_page(queries.channels, limit, after_id))
