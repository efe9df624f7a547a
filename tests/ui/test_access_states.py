"""For everybody, also when something is the matter: states of the page beside those of test_access.py."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from ..running_hub import TOKEN, Hub
from .person import Person
from .test_access import violations

Visit = Callable[..., Person]
WORD = "unbreakable" * 12
PHONE = {"viewport": {"width": 390, "height": 800}, "has_touch": True}

# Why a person does not see what has the focus, or nothing. Chromium paints the ring only of :focus-visible.
HIDDEN_FOCUS = """() => {
  const element = document.activeElement;
  if (element === document.body) return "";
  const { left, top, right, bottom, width, height } = element.getBoundingClientRect();
  const what = element.outerHTML.slice(0, 120);
  if (width < 2 || height < 2) return `no size: ${what}`;
  if (right <= 0 || bottom <= 0 || left >= innerWidth || top >= innerHeight) return `outside: ${what}`;
  if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) return `transparent: ${what}`;
  const x = (Math.max(0, left) + Math.min(innerWidth, right)) / 2;
  const y = (Math.max(0, top) + Math.min(innerHeight, bottom)) / 2;
  const there = document.elementFromPoint(x, y);
  if (!element.contains(there) && !there?.contains(element)) return `below another: ${what}`;
  if (getComputedStyle(element).outlineStyle === "none") return `no ring: ${what}`;
  return "";
}"""

# What makes the page, or a part of it that should not, scroll sideways.
TOO_WIDE = """() => {
  const boxes = [document.scrollingElement, ...document.querySelectorAll("main, .log")];
  const wide = (box) => box.scrollWidth > box.clientWidth + 1 || box.getBoundingClientRect().right > innerWidth + 1;
  const beyond = (box) => [...box.querySelectorAll("*")].filter((each) => !each.closest("pre, .skip") &&
    each.getBoundingClientRect().right > box.getBoundingClientRect().left + box.clientWidth + 1);
  const start = (each) => each.outerHTML.slice(0, 80);
  return boxes.filter(wide).map((box) => [box.scrollWidth, box.clientWidth, ...[box, ...beyond(box)].map(start)]);
}"""


@pytest.fixture(scope="module")
def topic(hub: Hub) -> str:
    """A topic with long words everywhere."""
    channel, topic = hub.make_topic(f"channel-{WORD}"[:100], f"Title {WORD}"[:200])
    hub.fill(topic, 40)
    hub.post(topic, f"{WORD} https://example.com/{WORD}\n```\n{WORD * 3}\n```\n`{WORD}`", f"sender {WORD}"[:100])
    hub.post(topic, "the second")
    hub.post(topic, "the third")
    value = {"url": f"https://example.com/{WORD}", "title": WORD}
    hub.call("POST", f"/api/v1/topics/{topic}/attachments", {"kind": "url", "value_json": value})
    hub.call("POST", f"/api/v1/topics/{topic}/attachments", {"kind": "metric", "value_json": {WORD: WORD}})
    hub.call("POST", "/api/v1/topics", {"channel_id": channel, "title": "Another"})
    return topic


def last_message(hub: Hub, topic: str) -> str:
    return str(hub.call("GET", f"/api/v1/messages?topic_id={topic}&limit=1").json()["messages"][0]["id"])


def channel_of(hub: Hub, topic: str) -> str:
    return str(hub.call("GET", f"/ui/data/topics/{topic}").json()["topics"][0]["channel_id"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_unusual_states(hub: Hub, topic: str, browser: Browser, scheme: str) -> None:
    person = Person(browser, hub.url, color_scheme=scheme, bypass_csp=True)
    rules = "color-contrast" if scheme == "dark" else None  # the rest does not depend on it
    found: dict[str, list[str]] = {}
    message = last_message(hub, topic)
    page = person.sign_in(f"?topic={topic}#{message}")
    expect(page.locator("article.target")).to_be_in_viewport()
    page.locator("article.target").hover()
    found["a linked message"] = violations(page, rules)
    page.locator("article").nth(-2).hover()
    found["a message under the mouse"] = violations(page, rules)
    page.locator(".log").evaluate("box => { box.scrollTop = 0; }")
    expect(page.get_by_role("button", name="To the latest")).to_be_visible()
    page.route("**/api/v1/messages", lambda route: route.abort())
    page.get_by_label("New message").fill("never sent")
    page.get_by_label("New message").press("Enter")
    expect(page.locator(".composer .error")).not_to_be_empty()
    found["a message that was not sent"] = violations(page, rules)
    page.unroute("**/api/v1/messages")
    page.locator("article").last.hover()
    page.locator("article").last.get_by_role("button", name="Edit").click()
    hub.call("PATCH", f"/api/v1/messages/{message}", {"op": "edit", "content_raw": f"the third, {scheme}"})
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".theirs")).to_be_visible()
    found["a conflict"] = violations(page, rules)
    page.goto(f"{hub.url}/ui/?view=events")
    page.get_by_role("button", name="JSON").first.click()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".events pre")).to_be_visible()
    found["a paused timeline"] = violations(page, rules)
    page.goto(f"{hub.url}/ui/?topic=nothing")
    expect(page.get_by_role("alert")).to_be_visible()
    found["no such topic"] = violations(page, rules)
    person.context.close()
    assert {place: each for place, each in found.items() if each} == {}


def test_axe_finds_nothing_while_the_hub_is_away(start_hub: Callable[..., Hub], browser: Browser) -> None:
    hub = start_hub()
    person = Person(browser, hub.url, bypass_csp=True)
    page = person.sign_in("?view=status")
    expect(page.locator(".facts")).to_be_visible()
    hub.stop()
    expect(page.locator(".link")).to_have_text(re.compile("Not connected"))
    found = violations(page)
    person.context.close()
    assert found == []


def press(page: Page, key: str, times: int = 1) -> None:
    """Press a key; what has the focus then must be seen."""
    for _ in range(times):
        page.keyboard.press(key)
        assert page.evaluate(HIDDEN_FOCUS) == ""


def tab_to(page: Page, wanted: Locator, key: str = "Tab") -> None:
    for _ in range(80):
        press(page, key)
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{key} does not lead to {wanted}")


def test_the_focus_is_seen_wherever_tab_leads(hub: Hub, topic: str, visit: Visit) -> None:
    person = visit(hub)
    page = person.page
    page.goto(f"{hub.url}/ui/?topic={topic}")
    expect(page.get_by_label("The hub's token")).to_be_focused()
    page.keyboard.type(TOKEN)
    expect(page.get_by_role("button", name="Sign in")).to_be_enabled()
    press(page, "Tab")
    page.keyboard.press("Enter")
    person.is_live()
    expect(page.locator("article")).to_have_count(43)
    press(page, "Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    tab_to(page, page.get_by_role("button", name="New channel"))
    tab_to(page, page.get_by_role("log"))
    press(page, "Tab", 12)  # into the messages, and their buttons
    page.get_by_label("Your name").focus()
    tab_to(page, page.locator("article").last.get_by_role("button", name="Delete"), "Shift+Tab")
    press(page, "Shift+Tab", 8)


def test_the_focus_stays_in_a_dialog_and_goes_back(hub: Hub, topic: str, visit: Visit) -> None:
    page = visit(hub).sign_in(f"?topic={topic}")
    expect(page.locator("article")).to_have_count(43)
    page.get_by_label("Your name").focus()
    move = page.locator("article").last.get_by_role("button", name="Move")
    tab_to(page, move, "Shift+Tab")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("To", exact=True)).to_be_focused()
    for _ in range(6):
        press(page, "Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(move).to_be_focused()


def test_the_log_is_read_with_the_keyboard(hub: Hub, topic: str, visit: Visit) -> None:
    page = visit(hub).sign_in(f"?topic={topic}")
    expect(page.locator("article")).to_have_count(43)
    log = page.get_by_role("log")
    log.focus()
    page.keyboard.press("Home")
    expect(page.locator("article").first).to_be_in_viewport()
    page.keyboard.press("End")
    expect(page.locator("article").last).to_be_in_viewport()
    expect(page.get_by_role("button", name="To the latest")).to_have_count(0)


@pytest.fixture(params=[390, 320, 800], ids=["phone", "narrow", "landscape"])
def handheld(request: pytest.FixtureRequest, hub: Hub, visit: Visit) -> Person:
    height = 390 if request.param == 800 else 800
    return visit(hub, viewport={"width": request.param, "height": height}, has_touch=True, is_mobile=True)


def test_no_view_is_wider_than_the_screen(hub: Hub, topic: str, handheld: Person) -> None:
    page = handheld.page
    page.goto(f"{hub.url}/ui/login")
    assert page.evaluate(TOO_WIDE) == [], "login"
    handheld.sign_in()
    channel = f"?channel={channel_of(hub, topic)}"
    for place in ("", channel, f"?topic={topic}", "?view=events", "?view=status", "?q=second", f"?q={WORD}"):
        page.goto(f"{hub.url}/ui/{place}")
        handheld.is_live()
        expect(page.get_by_text(re.compile("^(Loading|Searching) …"))).to_have_count(0)
        assert page.evaluate(TOO_WIDE) == [], place


def is_reachable(element: Locator) -> None:
    """It is seen whole, and nothing lies above it."""
    expect(element).to_be_in_viewport(ratio=1)
    element.tap(trial=True)


def test_all_is_reachable_with_a_finger(hub: Hub, topic: str, visit: Visit) -> None:
    page = visit(hub, **PHONE, is_mobile=True).sign_in(f"?topic={topic}")
    expect(page.locator("article").last).to_be_in_viewport()
    is_reachable(page.get_by_label("New message"))
    page.get_by_label("New message").fill("half a thou")
    is_reachable(page.get_by_role("button", name="Send"))
    is_reachable(page.get_by_role("button", name="Jump to"))
    is_reachable(page.get_by_role("link", name="Hub", exact=True))
    for name in ("Edit", "Move", "Delete"):
        button = page.locator("article").last.get_by_role("button", name=name)
        assert float(button.evaluate("each => getComputedStyle(each.closest('.actions')).opacity")) == 1
        button.tap()
        dialog = page.get_by_role("dialog")
        assert dialog.evaluate("each => each.scrollWidth <= each.clientWidth"), name
        for each in dialog.get_by_role("button").all():
            is_reachable(each)
        page.get_by_role("dialog").get_by_role("button", name="Cancel").tap()
        expect(page.get_by_role("dialog")).to_have_count(0)
    page.locator(".log").evaluate("box => { box.scrollTop = 0; }")
    page.get_by_role("button", name="To the latest").tap()
    expect(page.locator("article").last).to_be_in_viewport()
