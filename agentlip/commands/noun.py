"""What every noun's commands need: a store, a hub, the settings, and for whom they are carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, Self, TypeVar

from ..config import Settings
from ..errors import NotFound, SenderMismatch
from ..hub.hub import Hub
from ..model import Identity
from ..store import queries
from ..store.store import Store

T = TypeVar("T")
_NOTHING = frozenset[str]()


class Home(Protocol):
    """Where commands are carried out. `store` and `hub` may open files at their first use, and raise then."""

    settings: Settings

    @property
    def store(self) -> Store: ...

    @property
    def hub(self) -> Hub: ...


class Noun:
    """Commands for an agent see no more than its token may; those for nobody in particular see everything."""

    def __init__(self, home: Home, caller: Identity | None = None) -> None:
        self._home = home
        self._caller = caller
        self._confined = None if caller is None else caller.channels

    def _change(
        self, result: Callable[..., T], command: Callable[..., Iterable[Any]], *args: Any, heavy: bool = False
    ) -> T:
        """Run a command of `mutations`; `result` makes of what it returns the very object that is answered.

        That happens inside the transaction, where the answer is kept for those who ask again.
        """
        return self._home.store.write(lambda transaction: result(*command(transaction, *args)), heavy=heavy)

    def of(self, caller: Identity) -> Self:
        """The same commands, carried out for an agent."""
        return type(self)(self._home, caller)

    def _speak_as(self, name: str) -> None:
        """Raise SenderMismatch when an agent's token is used for another name."""
        if self._caller is not None and name != self._caller.agent.name:
            raise SenderMismatch()

    def _see_channel(self, channel_id: str | None) -> None:
        """Raise NotFound for a channel that the caller may not see; None is none."""
        if self._confined is not None and channel_id is not None and channel_id not in self._confined:
            raise NotFound("Channel not found")

    def _see_topic(self, topic_id: str | None) -> None:
        """As _see_channel; also raises NotFound for a topic that is not there, if it looks."""
        if self._confined is not None and topic_id is not None:
            self._see(self._home.store.read(queries.topic, topic_id).channel_id, "Topic not found")

    def _see_message(self, message_id: str | None) -> None:
        if self._confined is not None and message_id is not None:
            self._see(self._home.store.read(queries.message, message_id).channel_id, "Message not found")

    def _see(self, channel_id: str, words: str) -> None:
        if self._confined is not None and channel_id not in self._confined:
            raise NotFound(words)

    def visible(
        self, channels: Iterable[str] | None, topics: Iterable[str] | None
    ) -> tuple[frozenset[str] | None, frozenset[str] | None]:
        """What the caller may see of the channels and topics; both None means everything, both empty nothing."""
        wanted = None if channels is None else frozenset(channels), None if topics is None else frozenset(topics)
        if self._confined is None:
            return wanted
        if wanted == (None, None):
            return self._confined, _NOTHING
        seen = self._home.store.read(queries.topics_in, wanted[1] or (), self._confined) if wanted[1] else _NOTHING
        return (wanted[0] or _NOTHING) & self._confined, frozenset(seen)
