"""What strangers write is text, in every field and on every page."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from ..running_hub import Hub
from .person import Person

Visit = Callable[..., Person]
NASTY = '"><img src=x onerror=pwned=1><script>pwned=1</script><svg onload=pwned=1>{{7*7}}${7*7}javascript:pwned=1'
URLS = (
    "javascript:pwned=1", "data:text/html,<script>pwned=1</script>", 'https://x.example/"onmouseover="pwned=1',
    "https://x.example/<script>pwned=1</script>", "vbscript:pwned", "https://x.example/`${pwned=1}`",
)  # fmt: skip
INSERT = """INSERT INTO events (ts, name, scope_channel_id, scope_topic_id, entity_type, entity_id, data_json)
            VALUES ('2026-01-01T00:00:00.000Z', ?, ?, ?, ?, ?, ?)"""


@pytest.fixture(scope="module")
def topic(hub: Hub) -> str:
    """A topic all of whose fields are attacks, and events that a foreign program has written."""
    made = hub.call("POST", "/api/v1/channels", {"name": NASTY[:100], "description": NASTY}).json()
    channel = made["channel"]["id"]
    identifier = hub.call("POST", "/api/v1/topics", {"channel_id": channel, "title": NASTY}).json()["topic"]["id"]
    for content in (NASTY, f"```{NASTY}\n{NASTY}\n```", f"`{NASTY}`", " ".join(URLS), "```" * 3, "`" * 5):
        hub.post(identifier, content, NASTY)
    gone = hub.post(identifier, "gone")["message"]["id"]
    hub.call("PATCH", f"/api/v1/messages/{gone}", {"op": "delete", "actor": NASTY})
    hub.call("PATCH", f"/api/v1/topics/{identifier}", {"title": f"{NASTY}!"})
    path = f"/api/v1/topics/{identifier}/attachments"
    for url in URLS:
        # The hub refuses some of these for url, and takes all of them in a kind that it does not know.
        hub.call("POST", path, {"kind": "url", "value_json": {"url": url, "title": "x"}})
        hub.call(
            "POST", path, {"kind": NASTY[:100], "key": NASTY, "value_json": {"url": url, "title": NASTY, NASTY: NASTY}}
        )
    odd = ("message.created", "message.edited", "message.moved_topic", "channel.created", "topic.created", NASTY)
    with sqlite3.connect(hub.db) as foreign:
        for name in odd:
            for data in ("null", "[]", "{}", '{"message": null}', json.dumps({"channel": {"id": NASTY, "name": 7}})):
                foreign.execute(INSERT, (name, channel, identifier, NASTY, NASTY, data))
    foreign.close()
    return identifier


@pytest.fixture
def places(hub: Hub, topic: str) -> dict[str, str]:
    channel = hub.call("GET", f"/ui/data/topics/{topic}").json()["topics"][0]["channel_id"]
    return {
        "home": "", "channel": f"?channel={channel}", "topic": f"?topic={topic}", "events": "?view=events",
        "search": f"?q={quote('pwned')}", "words": f"?q={quote(NASTY)}", "id": f"?topic={quote(NASTY)}",
        "channel id": f"?channel={quote(NASTY)}", "hash": f"?topic={topic}#{quote(NASTY)}",
        "filter": f"?view=events&name={quote(NASTY)}&topic={quote(NASTY)}&channel={quote(NASTY)}",
        "view": f"?view={quote(NASTY)}", "login": f"login?next={quote('//evil.example/' + NASTY)}",
    }  # fmt: skip


def test_nothing_is_executed_anywhere(hub: Hub, visit: Visit, places: dict[str, str]) -> None:
    person = visit(hub)
    page = person.sign_in()
    for name, place in places.items():
        page.goto(f"{hub.url}/ui/{place}")
        if name != "login":
            person.is_live()
        expect(page.get_by_text("Loading …")).to_have_count(0)
        check(page, name)
        page.keyboard.press("Control+k")
        check(page, name)
    strangers = [url for url in person.requests if not url.startswith((hub.url, hub.url.replace("http", "ws", 1)))]
    assert strangers == []
    # What cannot be used is told to the console, and is not an error of the page.
    person.trouble = [each for each in person.trouble if "cannot be used" not in each]


def check(page: Page, name: str) -> None:
    assert page.evaluate("typeof pwned") == "undefined", name
    assert (
        page.locator("img, script:not([src]), iframe, object, embed, [onerror], [onload], [onmouseover]").count() == 0
    )
    links = page.evaluate(
        "() => [...document.querySelectorAll('a[href]')].map(({href, target, rel}) => [href, target, rel])"
    )
    for url, target, rel in links:
        assert url.startswith(("http://", "https://")), (name, url)
        assert target == "" or "noopener" in rel


def test_every_field_is_shown_as_it_was_written(hub: Hub, visit: Visit, topic: str) -> None:
    page = visit(hub).sign_in(f"?topic={topic}")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{NASTY}!")
    assert page.locator(".sender").first.inner_text() == NASTY
    contents = page.locator("article .content").all_inner_texts()
    assert contents[0] == NASTY
    assert contents[2] == NASTY
    assert contents[3] == " ".join(URLS).replace("`", "")
    expect(page.locator(".tombstone")).to_have_text(f"Deleted by {NASTY}")
    aside = page.locator(".attachments").inner_text()
    assert NASTY in aside


def test_events_of_odd_shapes_leave_the_page_alive(hub: Hub, visit: Visit, topic: str) -> None:
    person = visit(hub)
    page = person.sign_in("?view=events")
    page.get_by_label("Topic").select_option(topic)
    expect(page.locator(".events li")).not_to_have_count(0)
    with sqlite3.connect(hub.db) as foreign:
        foreign.execute(INSERT, ("message.created", "ch_x", topic, "message", "msg_x", "{}"))
    foreign.close()
    expect(page.locator(".events li").first).to_contain_text("msg_x")
    hub.post(topic, "still alive")
    expect(page.locator(".events li").first).to_contain_text("still alive")
    assert all("cannot be used" in each for each in person.trouble)
    person.trouble = []


def test_scripts_from_the_page_itself_are_refused(hub: Hub, visit: Visit) -> None:
    person = visit(hub)
    page = person.sign_in()
    for attack in (
        "document.body.append(Object.assign(document.createElement('p'), {innerHTML: '<img src=x onerror=pwned=1>'}))",
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'pwned=1'}))",
        "document.body.insertAdjacentHTML('beforeend', '<b>x</b>')",
    ):
        refused = page.evaluate(f"() => {{ try {{ {attack}; return '' }} catch (error) {{ return error.name }} }}")
        assert refused == "TypeError", attack
    assert page.evaluate("typeof pwned") == "undefined"
    person.trouble = [each for each in person.trouble if "TrustedHTML" not in each and "TrustedScript" not in each]
