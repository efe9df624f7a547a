"""The live link breaks, and comes back with neither a gap nor a repeat."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable

import pytest
import requests
from playwright.sync_api import expect

from ..running_hub import TOKEN, Hub
from .person import Person

Visit = Callable[..., Person]


@pytest.fixture
def hub_and_topic(start_hub: Callable[..., Hub]) -> tuple[Hub, str]:
    hub = start_hub()
    hub.settings["PORT"] = hub.port  # a restart comes back at the same address
    return hub, hub.make_topic()[1]


def restart(hub: Hub, how: int = signal.SIGTERM) -> None:
    hub.stop(how)
    hub.start()


def log_of(hub: Hub, topic: str) -> list[str]:
    found = hub.call("GET", f"/api/v1/messages?topic_id={topic}&limit=1000").json()["messages"]
    return [message["content_raw"] for message in reversed(found)]


def test_every_message_is_shown_once_over_restarts(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    person = visit(hub)
    page = person.sign_in(f"?topic={topic}")
    stop = threading.Event()

    def chatter() -> None:
        number = 0
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {TOKEN}"
            while not stop.wait(0.02):
                body = {"topic_id": topic, "sender": "agent", "content_raw": f"message {number}"}
                try:
                    number += session.post(f"{hub.url}/api/v1/messages", json=body, timeout=10).status_code == 201
                except requests.ConnectionError:
                    continue  # it may have been written, and is then written twice: the log decides

    thread = threading.Thread(target=chatter)
    thread.start()
    try:
        for how in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            expect(page.locator("article").nth(3)).to_be_visible()
            hub.stop(how)
            expect(page.locator(".link")).to_have_text(re.compile("Not connected|Connecting"))
            hub.start()
            person.is_live()
    finally:
        stop.set()
        thread.join()
    written = log_of(hub, topic)[-240:]
    expect(page.locator("article .content").last).to_have_text(written[-1])
    shown = person.contents()
    assert shown == written[-len(shown) :]
    assert len(shown) >= min(len(written), 200)


def test_the_timeline_has_no_gap_either(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    person = visit(hub)
    page = person.sign_in("?view=events")
    for number in range(3):
        hub.post(topic, f"before {number}")
        restart(hub, signal.SIGKILL)
        last = hub.post(topic, f"after {number}")["event_id"]
        expect(page.locator(".events li .id").first).to_have_text(str(last), timeout=30_000)
    assert page.locator(".events li .id").all_inner_texts() == [str(number) for number in range(last, 0, -1)]


def test_a_draft_and_the_place_survive_a_break(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    person = visit(hub)
    page = person.sign_in(f"?topic={topic}")
    page.get_by_label("New message").fill("half a thou")
    hub.stop()
    expect(page.locator(".link")).to_have_text(re.compile("Not connected|Connecting"))
    page.get_by_label("New message").press("Enter")
    expect(page.locator(".composer .error")).to_have_text(re.compile("Your text is kept"))
    hub.start()
    person.is_live()
    expect(page.get_by_label("New message")).to_have_value("half a thou")
    page.reload()
    expect(page.get_by_label("New message")).to_have_value("half a thou")
    page.get_by_label("New message").press("Enter")
    expect(page.locator("article .content")).to_have_text(["half a thou"])


def test_a_hub_that_is_away_at_first_is_waited_for(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    person = visit(hub)
    page = person.sign_in(f"?topic={topic}")
    page.route("**/ui/session", lambda route: route.abort())
    page.reload()
    expect(page.get_by_text("The hub does not answer. Trying again")).to_be_visible()
    page.unroute("**/ui/session")
    person.is_live()
    expect(page.get_by_role("heading", name="hello")).to_be_visible()


def test_a_new_token_leads_to_the_login_and_back_again(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    person = visit(hub)
    page = person.sign_in(f"?topic={topic}")
    hub.stop()
    hub.settings["AUTH_TOKEN"] = "another-token-0123456789abcdef0123456789"
    hub.start()
    expect(page).to_have_url(re.compile(rf"/ui/login\?next=%3Ftopic%3D{topic}"), timeout=30_000)
    page.get_by_label("The hub's token").fill("another-token-0123456789abcdef0123456789")
    expect(page.get_by_role("button", name="Sign in")).to_be_enabled()
    page.get_by_label("The hub's token").press("Enter")
    expect(page).to_have_url(f"{hub.url}/ui/?topic={topic}")
    person.is_live()


def test_another_log_is_shown_from_its_beginning(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    hub.post(topic, "of the old log")
    person = visit(hub)
    page = person.sign_in("?view=events")
    expect(page.locator(".events li")).to_have_count(3)
    hub.stop()
    for file in hub.folder.glob("db.sqlite3*"):
        if file.is_file():
            file.unlink()
    hub.start()
    hub.call("POST", "/api/v1/channels", {"name": "new world"})
    expect(page.locator(".events li")).to_have_count(1, timeout=30_000)
    expect(page.locator(".events li")).to_contain_text("new world")
    person.is_live()


def test_after_a_very_long_break_the_page_is_read_anew(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    person = visit(hub)
    page = person.sign_in(f"?topic={topic}")
    frames: list[int] = []
    page.on("websocket", lambda opened: opened.on("framereceived", lambda _payload: frames.append(1)))
    hub.stop()
    hub.fill(topic, 6_000)
    hub.start()
    person.is_live()
    expect(page.locator("article .content").last).to_have_text("filled 5999", timeout=30_000)
    hub.post(topic, "and on")
    expect(page.locator("article .content").last).to_have_text("and on")
    assert len(frames) < 5_000, "the log was not sent from the cursor on"
    expect(page.locator(".bar")).to_contain_text("6,001 messages")
