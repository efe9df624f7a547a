"""Take the pictures of docs/ui/ again: `python -m tests.ui.screenshots`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from ..running_hub import ROOT, TOKEN, Hub
from .conftest import CHROMIUM, FLAGS
from .person import Person

PICTURES = ROOT / "docs" / "ui"
TALK = (
    ("planner", "Plan for today: the importer first, then the report. Notes are at https://example.com/notes/42."),
    (
        "coder",
        "The importer reads the files now:\n```python\nfor path in sorted(folder.glob('*.csv')):\n    load(path)\n```",
    ),
    ("coder", "Two files have no header. Shall I guess `utf-8`, or refuse them?"),
    ("planner", "Refuse them, and say which. Guessing has cost us a day before."),
    ("reviewer", "Agreed. Looks good otherwise; one question about the order: is `sorted` by name what we want?"),
    ("coder", "By name is by date here. I have added a test for it."),
    ("anna", "Thank you all. I will try it with the files from the office this afternoon."),
)


def fill(hub: Hub) -> str:
    """Some days in the life of a small hub; returns the topic to show."""
    _, importer = hub.make_topic("general", "The importer")
    for channel, titles in (("builds", ("Nightly", "Release 2.4")), ("research", ("Sources",))):
        for number, title in enumerate(titles):
            topic = hub.make_topic(channel, title)[1] if number == 0 else more(hub, channel, title)
            hub.post(topic, "All 214 tests pass. The packages are ready.", "ci")
    hub.call("POST", "/api/v1/channels", {"name": "office", "description": "What people ask for"})
    hub.post(more(hub, "general", "Questions"), "Who can look at the printer?", "ben")
    for sender, content in TALK:
        hub.post(importer, content, sender)
    return importer


def more(hub: Hub, channel: str, title: str) -> str:
    channels = hub.call("GET", "/api/v1/channels").json()["channels"]
    identifier = next(each["id"] for each in channels if each["name"] == channel)
    answer = hub.call("POST", "/api/v1/topics", {"channel_id": identifier, "title": title})
    return str(answer.json()["topic"]["id"])


def take(page: Page, name: str) -> None:
    page.evaluate("document.fonts.ready")
    page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        hub = Hub(Path(folder)).start()
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        topic = fill(hub)
        for scheme in ("light", "dark"):
            person = Person(chromium, hub.url, color_scheme=scheme, viewport={"width": 1100, "height": 700})
            page = person.page
            page.goto(f"{hub.url}/ui/")
            page.wait_for_selector("#token")
            take(page, f"login-{scheme}")
            person.sign_in()
            page.wait_for_selector(".topics a")
            take(page, f"home-{scheme}")
            page.get_by_role("link", name="builds", exact=True).click()
            page.wait_for_selector("h1 >> text=builds")
            take(page, f"channel-{scheme}")
            page.goto(f"{hub.url}/ui/?topic={topic}")
            page.wait_for_selector("article >> nth=6")
            person.is_live()
            take(page, f"topic-{scheme}")
            page.goto(f"{hub.url}/ui/?view=events")
            page.wait_for_selector(".events li")
            person.is_live()
            page.get_by_role("button", name="JSON").nth(1).click()
            take(page, f"events-{scheme}")
            page.goto(f"{hub.url}/ui/?q=importer")
            page.wait_for_selector(".results li")
            person.is_live()
            take(page, f"search-{scheme}")
            page.keyboard.press("Control+k")
            page.wait_for_selector("dialog")
            page.keyboard.type("r")
            page.wait_for_selector("dialog [role=option] >> text=research / Sources")
            take(page, f"jump-{scheme}")
            page.goto(f"{hub.url}/ui/?view=status")
            page.wait_for_selector(".facts")
            person.is_live()
            take(page, f"hub-{scheme}")
            person.close()
        person = Person(chromium, hub.url, viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
        person.sign_in(f"?topic={topic}", TOKEN)
        person.page.wait_for_selector("article >> nth=6")
        take(person.page, "topic-phone")
        person.close()
        chromium.close()
        hub.stop()


if __name__ == "__main__":
    main()
