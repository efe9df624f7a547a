"""Marks of what is unread: in every channel, whether or not its topics have been loaded."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from ..running_hub import Hub
from .person import Person

Visit = Callable[..., Person]
FRESH = re.compile(r"\bfresh\b")


def channel_link(page: Page, name: str) -> Locator:
    return page.get_by_role("navigation", name="Channels").get_by_role("link", name=name, exact=True)


@pytest.fixture
def quiet(start_hub: Callable[..., Hub]) -> tuple[Hub, str]:
    """A hub whose latest 60 topics are of a busy channel, and the older topic of a quiet one."""
    hub = start_hub()
    _, topic = hub.make_topic("quiet", "long ago")
    hub.post(topic, "first")
    hub.make_topic("empty", "nothing here")
    busy, _ = hub.make_topic("busy", "0")
    for number in range(1, 60):
        hub.call("POST", "/api/v1/topics", {"channel_id": busy, "title": str(number)})
    return hub, topic


def test_what_is_unread_in_a_topic_that_was_never_loaded_is_marked(quiet: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = quiet
    person = visit(hub)
    page = person.sign_in()
    expect(page.locator(".topics li")).to_have_count(50)
    expect(page.locator(".topics")).not_to_contain_text("long ago")
    expect(channel_link(page, "quiet")).to_have_class(FRESH)
    expect(channel_link(page, "empty")).not_to_have_class(FRESH)
    expect(channel_link(page, "busy")).not_to_have_class(FRESH)
    page.goto(f"{hub.url}/ui/?topic={topic}")
    expect(page.locator("article")).to_have_count(1)
    expect(channel_link(page, "quiet")).not_to_have_class(FRESH)
    page.goto(f"{hub.url}/ui/")
    person.is_live()
    expect(page.locator(".topics li")).to_have_count(50)
    page.wait_for_load_state("networkidle")
    expect(channel_link(page, "quiet")).not_to_have_class(FRESH)
    hub.post(topic, "second")
    expect(channel_link(page, "quiet")).to_have_class(FRESH)


def test_what_is_read_in_another_window_is_read_here(quiet: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = quiet
    person = visit(hub)
    page = person.sign_in()
    expect(channel_link(page, "quiet")).to_have_class(FRESH)
    other = person.open()
    other.goto(f"{hub.url}/ui/?topic={topic}")
    expect(other.locator("article")).to_have_count(1)
    expect(channel_link(page, "quiet")).not_to_have_class(FRESH)


def test_all_that_is_marked_read_is_all(quiet: tuple[Hub, str], visit: Visit) -> None:
    hub, _ = quiet
    person = visit(hub)
    page = person.sign_in()
    expect(channel_link(page, "quiet")).to_have_class(FRESH)
    page.get_by_role("button", name="Mark all as read").click()
    expect(channel_link(page, "quiet")).not_to_have_class(FRESH)
    expect(page.get_by_role("button", name="Mark all as read")).to_have_count(0)
    page.reload()
    person.is_live()
    page.wait_for_load_state("networkidle")
    expect(channel_link(page, "quiet")).not_to_have_class(FRESH)


def test_marks_are_right_after_a_break_that_was_too_long(quiet: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = quiet
    hub.settings["PORT"] = hub.port
    person = visit(hub)
    page = person.sign_in()
    page.get_by_role("button", name="Mark all as read").click()
    expect(channel_link(page, "quiet")).not_to_have_class(FRESH)
    hub.stop()
    hub.fill(topic, 5_100)
    hub.start()
    expect(channel_link(page, "quiet")).to_have_class(FRESH, timeout=30_000)
