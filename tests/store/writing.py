"""Writes in threads of their own, and what became of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from agentlip.model import Entity, Scope
from agentlip.store.store import Store
from agentlip.store.writer import Transaction

from ..running_hub import eventually

EVENT = Entity("e", "e_1")


def append(transaction: Transaction, note: Any = None) -> int:
    return transaction.append("custom", Scope("c"), EVENT, note)


def notes(store: Store) -> list[Any]:
    """The data of all events in commit order."""
    return [event.data for event in store.events_with_more(0, 1 << 40, 100_000, False, (), ())[0]]


class Call:
    """A write in a thread of its own, with what became of it."""

    def __init__(self, store: Store, command: Callable[..., Any], *args: Any) -> None:
        self.result: Any = None
        self.error: Exception | None = None
        self.seconds = 0.0
        self._thread = threading.Thread(target=self._run, args=(store, command, *args))
        self._thread.start()

    def _run(self, store: Store, command: Callable[..., Any], *args: Any) -> None:
        started = time.monotonic()
        try:
            self.result = store.write(command, *args)
        except Exception as error:
            self.error = error
        self.seconds = time.monotonic() - started

    def settled(self) -> bool:
        return not self._thread.is_alive()

    def outcome(self) -> Any:
        """Wait for the end; the result, or the error."""
        self._thread.join(30)
        assert self.settled()
        return self.error or self.result


def waiting(store: Store) -> int:
    """How many commands wait for the next group."""
    return len(store._writer._waiting)


def in_one_group(store: Store, *commands: Callable[..., Any]) -> list[Any]:
    """Run the commands in one group, in this order; the outcome of each."""
    entered, gate = threading.Event(), threading.Event()

    def hold(_: Transaction) -> None:
        entered.set()
        assert gate.wait(20)

    calls = [Call(store, hold)]
    assert entered.wait(20)
    try:
        for number, command in enumerate(commands, 1):
            calls.append(Call(store, command))
            eventually(lambda number=number: waiting(store) == number)
    finally:
        gate.set()
    return [call.outcome() for call in calls[1:]]


def occupy(store: Store) -> tuple[Call, threading.Event]:
    """A command that holds the writer until the event is set."""
    entered, gate = threading.Event(), threading.Event()

    def hold(_: Transaction) -> None:
        entered.set()
        assert gate.wait(20)

    holder = Call(store, hold)
    assert entered.wait(20)
    return holder, gate
