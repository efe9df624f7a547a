"""Those whose WebSockets end before they do: people who sign out, and agents whose tokens are revoked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ... import wire
from ...commands.commands import Commands
from ...hub.session import Guest, Ids
from ..state import HubState
from . import logins
from .directory import Directory
from .limits import PERSON, Caller


class Person:
    """Somebody with a login."""

    def __init__(self, folder: Path, token: str, login: str) -> None:
        self._wanted = folder, token, login

    def farewell(self) -> wire.Close | None:
        return None if logins.is_good(*self._wanted) else wire.SIGNED_OUT

    def visible(self, channels: Ids, topics: Ids) -> tuple[Ids, Ids]:
        return channels, topics


class AgentGuest:
    """An agent, by one of its tokens."""

    def __init__(self, directory: Directory, token_id: str, commands: Commands) -> None:
        self._directory = directory
        self._token_id = token_id
        self._commands = commands

    def farewell(self) -> wire.Close | None:
        return None if self._directory.is_good(self._token_id) else wire.TOKEN_REVOKED

    def visible(self, channels: Iterable[str] | None, topics: Iterable[str] | None) -> tuple[Ids, Ids]:
        return self._commands.visible(channels, topics)


def guest_of(state: HubState, caller: Caller | None) -> Guest | None:
    """None for those who may stay and see everything."""
    if caller is None:
        return None
    if caller.identity is not None:
        commands = state.commands.of(caller.identity)
        return AgentGuest(state.directory, caller.identity.token.token_id, commands)
    if caller.lane == PERSON and caller.credential:
        return Person(state.settings.db.parent, state.token, caller.credential)
    return None
