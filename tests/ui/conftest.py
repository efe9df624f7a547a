"""One Chromium for all tests of a process, and people who use it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from ..running_hub import Hub
from .person import Person

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Without these Chromium talks to its makers at every start; without the sandbox it also runs as root.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("these tests need a browser: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Person]]:
    """People who come to a hub, `visit(hub)` or `visit(url)`; options go to the browser's context."""
    people: list[Person] = []

    def come(hub: Hub | str, **context: Any) -> Person:
        people.append(Person(browser, hub if isinstance(hub, str) else hub.url, **context))
        return people[-1]

    yield come
    for person in people:
        person.close()
