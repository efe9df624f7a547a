"""What every noun's commands need: a store, a hub and the settings."""

from __future__ import annotations

from typing import Protocol

from ..config import Settings
from ..hub.hub import Hub
from ..store.store import Store


class Home(Protocol):
    """Where commands are carried out. `store` and `hub` may open files at their first use, and raise then."""

    settings: Settings

    @property
    def store(self) -> Store: ...

    @property
    def hub(self) -> Hub: ...


class Noun:
    def __init__(self, home: Home) -> None:
        self._home = home
