"""The workspace's file in the place of a hub: the reading half of HubClient."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ...commands.attachments import Attachments
from ...commands.channels import Channels
from ...commands.log import Log
from ...commands.messages import Messages
from ...commands.topics import Topics
from ...model import EventPage
from ...store.read_only import ReadOnly


class Offline(Channels, Topics, Messages, Attachments):
    """Its reading methods are those of HubClient, and raise the same errors or StorageError. For one thread."""

    def __init__(self, database: Path) -> None:
        """Raises StorageError."""
        self._file = ReadOnly(database)
        home: Any = SimpleNamespace(store=self._file)  # reading needs nothing else
        super().__init__(home)
        self._log = Log(home)

    def __enter__(self) -> Offline:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def events(
        self,
        after: int = 0,
        limit: int = 100,
        *,
        tail: int | None = None,
        channels: Iterable[str] = (),
        topics: Iterable[str] = (),
    ) -> EventPage:
        return self._log.event_page(after, limit, tail=tail, channels=channels or None, topics=topics or None)
