"""A person at a real browser: headless Chromium, one window with cookies of its own."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect

from ..running_hub import TOKEN

# Chromium says these by itself, when the hub is away or refuses, as some tests want.
EXPECTED = re.compile(r"Failed to load resource|WebSocket connection to|Password forms should have|net::ERR")


class Person:
    """`trouble` is what the browser complained about: errors of scripts, and whatever breaks the page's own policy."""

    def __init__(self, browser: Browser, url: str, **context: Any) -> None:
        self.url = url  # of the hub
        self.context: BrowserContext = browser.new_context(**{"viewport": {"width": 1200, "height": 760}} | context)
        self.context.set_default_timeout(15_000)
        self.trouble: list[str] = []
        self.requests: list[str] = []
        self.page = self.open()

    def open(self) -> Page:
        """Another window of the same person."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", lambda dialog: (self.trouble.append(f"dialog {dialog.message}"), dialog.dismiss()))
        return page

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not EXPECTED.search(text):
            self.trouble.append(text)

    def sign_in(self, place: str = "", token: str = TOKEN) -> Page:
        """Go to a place of the page, such as `?topic=ID`, by way of the login; returns the window when it is live."""
        self.page.goto(f"{self.url}/ui/{place}")
        self.page.get_by_label("The hub's token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.is_live()
        return self.page

    def is_live(self, page: Page | None = None) -> None:
        expect((page or self.page).locator(".link")).to_have_text("Live", timeout=30_000)

    def write(self, text: str, page: Page | None = None) -> None:
        """Type a message in the open topic, and send it."""
        box = (page or self.page).get_by_label("New message")
        box.fill(text)
        box.press("Enter")
        expect(box).to_have_value("")

    def contents(self, page: Page | None = None) -> list[str]:
        """The texts of the messages on the page, from top to bottom."""
        return (page or self.page).locator("article .content").all_inner_texts()

    def close(self) -> None:
        self.context.close()
        assert self.trouble == []
