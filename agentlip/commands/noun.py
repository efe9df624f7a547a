"""What every noun's commands need: a store, a hub and the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from ..config import Settings
from ..hub.hub import Hub
from ..store.store import Store

T = TypeVar("T")


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

    def _change(
        self, result: Callable[..., T], command: Callable[..., Iterable[Any]], *args: Any, heavy: bool = False
    ) -> T:
        """Run a command of `mutations`; `result` makes of what it returns the very object that is answered.

        That happens inside the transaction, where the answer is kept for those who ask again.
        """
        return self._home.store.write(lambda transaction: result(*command(transaction, *args)), heavy=heavy)
