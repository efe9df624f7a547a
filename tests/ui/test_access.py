"""For everybody: axe-core finds nothing serious, the keyboard is enough, and a phone is wide enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from ..running_hub import TOKEN, Hub
from .person import Person

Visit = Callable[..., Person]


@pytest.fixture(scope="module")
def topic(hub: Hub) -> str:
    """A topic with one of everything."""
    _, topic = hub.make_topic("general", "All sorts")
    first = hub.post(topic, "Hello `code`, see https://example.com/a\n```\nfor x in y:\n    pass\n```")["message"]["id"]
    second = hub.post(topic, "a mistake", "somebody else")["message"]["id"]
    hub.call("PATCH", f"/api/v1/messages/{first}", {"op": "edit", "content_raw": "Hello `code`\n```\npass\n```"})
    hub.call("PATCH", f"/api/v1/messages/{second}", {"op": "delete", "actor": "me"})
    hub.call("POST", f"/api/v1/topics/{topic}/attachments", {"kind": "metric", "value_json": {"speed": 1}})
    hub.call("POST", "/api/v1/topics", {"channel_id": _channel(hub), "title": "Another"})
    return topic


def _channel(hub: Hub) -> str:
    return str(hub.call("GET", "/api/v1/channels").json()["channels"][0]["id"])


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    running = Hub(tmp_path_factory.mktemp("empty")).start()
    yield running
    running.session.close()
    running.stop()


def violations(page: Page, rules: str | None = None) -> list[str]:
    """What axe finds on the page, with all its rules or one."""
    options = {"runOnly": rules} if rules else None
    found: dict[str, Any] = Axe().run(page, options=options).response
    return [
        f"{each['impact']} {each['id']}: {node['html'][:200]} ({node['failureSummary'][:200]})"
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(hub: Hub, empty: Hub, topic: str, browser: Browser, scheme: str) -> None:
    # The policy of the page refuses the script that axe is; only for this, Chromium looks away.
    person = Person(browser, hub.url, color_scheme=scheme, bypass_csp=True)
    rules = "color-contrast" if scheme == "dark" else None  # the rest does not depend on it
    page = person.page
    found: dict[str, list[str]] = {}
    page.goto(f"{hub.url}/ui/login")
    page.get_by_label("The hub's token").fill("wrong")
    expect(page.get_by_role("button", name="Sign in")).to_be_enabled()
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).not_to_be_empty()
    found["login"] = violations(page, rules)
    person.sign_in()
    for place in (
        "",
        f"?channel={_channel(hub)}",
        f"?topic={topic}",
        "?view=events",
        "?view=status",
        "?q=code",
        "?q=zz",
    ):
        page.goto(f"{hub.url}/ui/{place}")
        person.is_live()
        expect(page.get_by_text("Loading …")).to_have_count(0)
        expect(page.get_by_text("Searching …")).to_have_count(0)
        found[place] = violations(page, rules)
    page.goto(f"{hub.url}/ui/?topic={topic}")
    for name in ("Edit", "Move", "Delete"):
        page.locator("article").first.hover()
        page.locator("article").first.get_by_role("button", name=name).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        found[name] = violations(page, rules)
        page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("option").first).to_be_visible()
    found["jump"] = violations(page, rules)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="New channel").click()
    found["new channel"] = violations(page, rules)
    page.goto(f"{empty.url}/ui/")  # its token is the same, so the cookie is good there, too
    expect(page.get_by_text("This hub has no channels yet.")).to_be_visible()
    found["empty"] = violations(page, rules)
    person.context.close()
    assert {place: each for place, each in found.items() if each} == {}


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText"))


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the element of this name has the focus; each on the way must be visible."""
    for _ in range(60):
        page.keyboard.press("Tab")
        box = page.evaluate(
            "() => { const box = document.activeElement.getBoundingClientRect();"
            "return document.activeElement === document.body || (box.width > 0 && box.right > 0 && box.bottom > 0) }"
        )
        assert box, f"the focus is nowhere to be seen: {focused(page)}"
        if name in focused(page):
            return
    raise AssertionError(f"no Tab leads to {name}")


def test_the_keyboard_is_enough(start_hub: Callable[..., Hub], visit: Visit) -> None:
    hub = start_hub()
    person = visit(hub)
    page = person.page
    page.goto(f"{hub.url}/ui")
    expect(page.get_by_label("The hub's token")).to_be_focused()
    page.keyboard.type(TOKEN)
    expect(page.get_by_role("button", name="Sign in")).to_be_enabled()
    page.keyboard.press("Enter")
    person.is_live()
    page.keyboard.press("Tab")
    assert focused(page) == "To the content"
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    tab_to(page, "New channel")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.type("general")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="general")).to_be_visible()
    expect(page.get_by_role("main")).to_be_focused()
    tab_to(page, "New topic")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Title")).to_be_focused()
    page.keyboard.type("By keyboard")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="By keyboard")).to_be_visible()
    tab_to(page, "New message")
    page.keyboard.type("Hello")
    page.keyboard.press("Enter")
    expect(page.locator("article")).to_have_count(1)
    expect(page.get_by_label("New message")).to_be_focused()
    for _ in range(60):
        if focused(page) == "Edit":
            break
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label("The message", exact=True)).to_be_focused()
    page.keyboard.press("Control+End")
    page.keyboard.type(", hub")
    page.keyboard.press("Control+Enter")
    expect(page.locator("article .content")).to_have_text("Hello, hub")
    assert focused(page) == "Edit", "the focus is back where it was"
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox")).to_be_focused()
    page.keyboard.type("general")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="general")).to_be_visible()


def test_a_phone_is_wide_enough(hub: Hub, topic: str, visit: Visit) -> None:
    person = visit(hub, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = person.sign_in()
    for place in ("", f"?channel={_channel(hub)}", f"?topic={topic}", "?view=events", "?view=status", "?q=code"):
        page.goto(f"{hub.url}/ui/{place}")
        person.is_live()
        expect(page.get_by_text("Loading …")).to_have_count(0)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 360, place
        assert page.evaluate("document.querySelector('main').scrollWidth") <= 360, place
    page.goto(f"{hub.url}/ui/?topic={topic}")
    page.get_by_label("New message").fill("from a phone")
    page.get_by_role("button", name="Send").tap()
    message = page.locator("article", has_text="from a phone")
    expect(message).to_be_in_viewport()
    message.get_by_role("button", name="Edit").tap()
    expect(page.get_by_label("The message", exact=True)).to_be_visible()
