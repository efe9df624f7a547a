"""What a socket wants, and whether an event touches it."""

from __future__ import annotations

from dataclasses import dataclass

from ..model import Scope
from ..store.log import FEW_IDS


@dataclass(frozen=True, slots=True)
class Subscription:
    """Channel and topic ids; both None means everything, both empty means nothing."""

    channels: frozenset[str] | None
    topics: frozenset[str] | None

    @property
    def is_everything(self) -> bool:
        return self.channels is None and self.topics is None

    @property
    def is_nothing(self) -> bool:
        return not self.is_everything and not self.channels and not self.topics

    @property
    def is_wide(self) -> bool:
        """Whether it has more ids than are worth a look at an index each."""
        return len(self.channels or ()) + len(self.topics or ()) > FEW_IDS

    def matches(self, scope: Scope) -> bool:
        """An event matches when its channel is listed, or either of its topics is."""
        if self.is_everything:
            return True
        topics = self.topics or frozenset()
        return scope.channel_id in (self.channels or ()) or scope.topic_id in topics or scope.topic_id2 in topics
