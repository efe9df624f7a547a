"""Finding: search, jumping by typing, the event timeline, and the figures of the hub."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from ..running_hub import Hub
from .person import Person

Visit = Callable[..., Person]


def ids(page: Page) -> list[int]:
    return [int(text) for text in page.locator(".events li .id").all_inner_texts()]


def head(hub: Hub) -> int:
    return int(hub.call("GET", "/api/v1/events?tail=1").json()["replay_until"])


def test_a_search_leads_to_the_message(hub: Hub, visit: Visit) -> None:
    _, topic = hub.make_topic("searched", "haystack")
    for number in range(100):
        hub.post(topic, f"straw {number}")
        if number == 20:
            needle = hub.post(topic, "a rusty old needle")["message"]["id"]
    page = visit(hub).sign_in()
    page.get_by_role("searchbox", name="Search messages").fill("Needle rusty")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Messages with “Needle rusty”")).to_be_visible()
    expect(page.locator(".results li")).to_have_count(1)
    page.get_by_role("link", name="searched / haystack").click()
    expect(page.locator(f"#{needle}")).to_be_in_viewport()
    page.go_back()
    page.get_by_role("searchbox", name="Search messages").fill("no such words")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No message contains all of these words")).to_be_visible()
    page.goto(f"{hub.url}/ui/?q=straw")
    expect(page.locator(".results li")).to_have_count(50)
    page.get_by_role("button", name="More").click()
    expect(page.locator(".results li")).to_have_count(100)


def test_one_jumps_to_channels_and_topics_by_typing(hub: Hub, visit: Visit) -> None:
    hub.make_topic("kitchen", "Lunch plans")
    hub.make_topic("garden", "Lawn")
    page = visit(hub).sign_in()
    page.get_by_role("button", name="Jump to").focus()
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox", name="A channel or topic")).to_be_focused()
    options = page.get_by_role("option")
    page.keyboard.type("lunch kit")
    expect(options).to_have_text(["Topic kitchen / Lunch plans"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Lunch plans")).to_be_visible()
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox", name="A channel or topic")).to_be_focused()
    page.keyboard.type("garden")
    expect(options).to_have_text(["Channel garden", "Topic garden / Lawn"])
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowDown")
    expect(options.nth(0)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="garden")).to_be_visible()
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox", name="A channel or topic")).to_be_focused()
    page.keyboard.type("unheard-of")
    expect(page.get_by_text("Nothing has such a name.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_events_are_shown_live_and_filtered(hub: Hub, visit: Visit) -> None:
    channel, topic = hub.make_topic("filtered", "one")
    _, other = hub.make_topic("other", "two")
    page = visit(hub).sign_in("?view=events")
    last = hub.post(topic)["event_id"]
    expect(page.locator(".events .id").first).to_have_text(str(last))
    page.get_by_label("Channel", exact=True).select_option("filtered")
    expect(page).to_have_url(re.compile(f"channel={channel}"))
    expect(page.locator(".events li")).to_have_count(3)
    hub.post(other)
    last = hub.post(topic)["event_id"]
    expect(page.locator(".events .id").first).to_have_text(str(last))
    expect(page.locator(".events li")).to_have_count(4)
    page.get_by_label("Name", exact=True).select_option("message.created")
    expect(page.locator(".events li")).to_have_count(2)
    page.get_by_label("Channel", exact=True).select_option("")
    page.get_by_label("Topic", exact=True).select_option(other)
    expect(page.locator(".events li")).to_have_count(1)
    page.reload()
    expect(page.locator(".events li")).to_have_count(1)
    page.locator(".events li").get_by_role("button", name="JSON").click()
    expect(page.locator(".events pre")).to_contain_text('"name": "message.created"')
    page.locator(".events .entity").click()
    expect(page.locator("article.target")).to_be_visible()


def test_a_pause_keeps_what_comes_meanwhile(hub: Hub, visit: Visit) -> None:
    _, topic = hub.make_topic("paused", "p")
    page = visit(hub).sign_in(f"?view=events&topic={topic}")
    expect(page.locator(".events li")).to_have_count(1)
    before = ids(page)
    page.get_by_role("button", name="Pause").click()
    posted = [hub.post(topic)["event_id"] for _ in range(30)]
    expect(page.get_by_text("Paused: 30 new events")).to_be_visible()
    assert ids(page) == before
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".events li")).to_have_count(31)
    assert ids(page) == [*reversed(posted), *before]


def test_older_events_come_back_to_the_first(hub: Hub, visit: Visit) -> None:
    _, topic = hub.make_topic("older", "p")
    hub.fill(topic, 400)
    last = head(hub)
    page = visit(hub).sign_in("?view=events")
    older = page.get_by_role("button", name="Older events")
    expect(page.locator(".events .id").first).to_have_text(str(last))
    for _ in range(100):
        shown = ids(page)
        assert shown == list(range(last, last - len(shown), -1)), "no gap and no repeat"
        if shown[-1] == 1:
            break
        older.click()
        expect(page.locator(".events li")).not_to_have_count(len(shown))
    assert ids(page)[-1] == 1
    expect(older).to_have_count(0)


def test_a_pause_that_is_too_long_is_read_again(hub: Hub, visit: Visit) -> None:
    page = visit(hub).sign_in("?view=events")
    page.get_by_role("button", name="Pause").click()
    _, topic = hub.make_topic("long pause", "p")
    hub.fill(topic, 2100)
    last = head(hub)
    expect(page.get_by_text(re.compile(r"Paused: 2,1\d\d new events"))).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".events .id").first).to_have_text(str(last))
    shown = ids(page)
    assert shown == list(range(last, last - len(shown), -1))


def test_the_figures_of_the_hub_are_shown_and_kept_up(hub: Hub, visit: Visit) -> None:
    _, topic = hub.make_topic("figures", "f")
    page = visit(hub).sign_in("?view=status")
    figures = hub.call("GET", "/ui/data/status").json()
    facts = dict(zip(page.locator("dt").all_inner_texts(), page.locator("dd").all_inner_texts(), strict=True))
    assert facts["Messages"] == f"{figures['messages']:,}"
    assert facts["Latest event"] == f"{figures['head']:,}"
    assert facts["Log identity"] == figures["db_id"]
    assert re.fullmatch(r"[\d.]+ [KM]iB", facts["Database"])
    expect(page.get_by_role("img")).to_have_attribute("aria-label", re.compile("events in the last 10 minutes"))
    hub.post(topic)
    expect(page.locator("dd").nth(3)).to_have_text("1", timeout=10_000)  # connections: this page
    expect(page.locator("dd").nth(4)).to_have_text(f"{figures['head'] + 1:,}", timeout=10_000)
