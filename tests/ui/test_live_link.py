"""The live link while the hub goes away and comes back: what windows show is what the log holds."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable

import pytest
import requests
from playwright.sync_api import Page, Route, expect

from ..running_hub import TOKEN, Hub
from .person import Person

Visit = Callable[..., Person]
SLOWLY = 30_000  # the page asks less often the longer the hub is away
FAR = 5_100  # events after which the page reads everything anew
NEW_TOKEN = "another-token-0123456789abcdef0123456789"


@pytest.fixture
def hub_and_topic(start_hub: Callable[..., Hub]) -> tuple[Hub, str]:
    hub = start_hub()
    hub.settings["PORT"] = hub.port  # it comes back at the same address
    return hub, hub.make_topic()[1]


def is_cut_off(page: Page) -> None:
    expect(page.locator(".link")).to_have_text(re.compile("Not connected|Connecting"))


def shows_the_log(page: Page, hub: Hub, topic: str) -> None:
    """Every message of the topic once, in the order of the log."""
    found = hub.call("GET", f"/api/v1/messages?topic_id={topic}&limit=1000").json()["messages"]
    articles = page.locator("article")
    expect(articles).to_have_count(len(found), timeout=SLOWLY)
    assert articles.evaluate_all("all => all.map(({id}) => id)") == [each["id"] for each in reversed(found)]


def events(page: Page) -> list[int]:
    return [int(text) for text in page.locator(".events li .id").all_inner_texts()]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_breaks_in_a_row_leave_no_gap_in_any_window(hub_and_topic: tuple[Hub, str], visit: Visit, how: int) -> None:
    hub, topic = hub_and_topic
    person = visit(hub)
    talk = person.sign_in(f"?topic={topic}")
    timeline = person.open()
    timeline.goto(f"{hub.url}/ui/?view=events")
    person.is_live(timeline)
    for number in range(2):
        for each in range(3):
            hub.post(topic, f"before {number}.{each}")
        hub.stop(how)
        is_cut_off(talk)
        is_cut_off(timeline)
        hub.fill(topic, 3)  # a script on the hub's host need not wait for it
        hub.start()
        last = [hub.post(topic, f"after {number}.{each}")["event_id"] for each in range(3)][-1]
        expect(timeline.locator(".events li .id").first).to_have_text(str(last), timeout=SLOWLY)
        person.is_live(talk)
    shows_the_log(talk, hub, topic)
    assert events(timeline) == list(range(last, 0, -1))


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
    found = hub.call("GET", f"/api/v1/messages?topic_id={topic}&limit=1000").json()["messages"]
    written = [each["content_raw"] for each in reversed(found)][-240:]
    expect(page.locator("article .content").last).to_have_text(written[-1])
    shown = person.contents()
    assert shown == written[-len(shown) :]
    assert len(shown) >= min(len(written), 200)


def test_back_online_while_a_lost_link_is_handled_makes_one_link(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    person = visit(hub)
    page = person.sign_in(f"?topic={topic}")
    held: list[Route] = []
    page.route("**/ui/session", lambda route: held.append(route))  # the page asks there whether it is still signed in
    hub.stop()
    expect(page.locator(".link")).to_have_text(re.compile("Not connected"))
    while not held:
        page.wait_for_timeout(50)
    hub.start()
    sockets: list[object] = []
    page.on("websocket", lambda socket: sockets.append(socket))
    page.evaluate("dispatchEvent(new Event('online'))")
    person.is_live()
    for route in held:
        route.continue_()
    page.unroute("**/ui/session")
    page.wait_for_timeout(2_500)  # longer than the pause before the next attempt
    assert len(sockets) == 1
    assert hub.call("GET", "/ui/data/status").json()["connections"] == 1
    hub.post(topic, "once")
    expect(page.locator("article .content")).to_have_text(["once"])


def test_changes_during_a_break_are_shown_after_it(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    first, second = (hub.post(topic, content)["message"]["id"] for content in ("one", "two"))
    page = visit(hub).sign_in(f"?topic={topic}")
    expect(page.locator("article")).to_have_count(2)
    hub.stop(signal.SIGKILL)
    is_cut_off(page)
    hub.start()
    hub.call("PATCH", f"/api/v1/messages/{first}", {"op": "edit", "content_raw": "uno"})
    hub.call("PATCH", f"/api/v1/messages/{second}", {"op": "delete", "actor": "somebody"})
    hub.call("PATCH", f"/api/v1/topics/{topic}", {"title": "a new name"})
    expect(page.locator(f"#{first} .content")).to_have_text("uno", timeout=SLOWLY)
    expect(page.locator(f"#{second}")).to_contain_text("Deleted by somebody")
    expect(page.get_by_role("heading", level=1)).to_have_text("a new name")


def test_what_is_typed_stays_during_a_break(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    hub.post(topic, "old words")
    person = visit(hub)
    page = person.sign_in(f"?topic={topic}")
    page.get_by_label("New message").fill("half a thou")
    page.locator("article").hover()
    page.get_by_role("button", name="Edit").click()
    box = page.get_by_label("The message", exact=True)
    box.fill("new words")
    hub.stop()
    is_cut_off(page)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("The hub does not answer")
    hub.start()
    hub.post(topic, "of somebody else")
    person.is_live()
    expect(box).to_have_value("new words")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("article .content")).to_have_text(["new words", "of somebody else"])
    expect(page.get_by_label("New message")).to_have_value("half a thou")


def test_a_reader_of_old_messages_stays_there_over_a_break(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    hub.fill(topic, 60)
    person = visit(hub)
    page = person.sign_in(f"?topic={topic}")
    expect(page.locator("article")).to_have_count(60)
    page.locator(".log").evaluate("box => { box.scrollTop = box.scrollHeight / 2; }")
    expect(page.get_by_role("button", name="To the latest")).to_be_visible()
    middle = page.evaluate("document.elementFromPoint(500, 300).closest('article').id")
    seen = page.locator(f"#{middle}")
    where = seen.bounding_box()
    hub.stop()
    is_cut_off(page)
    hub.fill(topic, 7)
    hub.start()
    expect(page.get_by_role("button", name="7 new messages")).to_be_visible(timeout=SLOWLY)
    assert seen.bounding_box() == where
    page.get_by_role("button", name="7 new messages").click()
    expect(page.locator("article .content").last).to_have_text("filled 6")


def test_older_messages_that_could_not_be_read_come_later(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    hub.fill(topic, 100)
    person = visit(hub)
    page = person.sign_in(f"?topic={topic}")
    expect(page.locator("article")).to_have_count(60)
    hub.stop()
    is_cut_off(page)
    page.locator(".log").evaluate("box => { box.scrollTop = 0; }")
    expect(page.get_by_text("The hub does not answer.")).to_be_visible()
    hub.start()
    person.is_live()
    shows_the_log(page, hub, topic)
    expect(page.get_by_text("The hub does not answer.")).to_have_count(0)


@pytest.mark.parametrize("wanted", ["ui/session", "api/v1/channels", "ui/data/topics/*", "api/v1/messages?*"])
def test_a_hub_that_goes_away_while_the_page_loads(hub_and_topic: tuple[Hub, str], visit: Visit, wanted: str) -> None:
    hub, topic = hub_and_topic
    hub.post(topic, "hello")
    person = visit(hub)
    page = person.sign_in()

    def kill_it_first(route: Route) -> None:
        hub.stop(signal.SIGKILL)
        route.continue_()

    page.route(f"**/{wanted}", kill_it_first, times=1)
    page.goto(f"{hub.url}/ui/?topic={topic}", wait_until="commit")
    expect(page.get_by_text("The hub does not answer.")).to_be_visible()
    hub.start()
    person.is_live()
    shows_the_log(page, hub, topic)
    expect(page.get_by_text("The hub does not answer.")).to_have_count(0)


def test_a_new_token_leads_to_the_login_and_back_to_the_place(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    hub.fill(topic, 80)
    messages = hub.call("GET", f"/api/v1/messages?topic_id={topic}&limit=70").json()["messages"]
    place = f"?topic={topic}#{messages[-1]['id']}"
    person = visit(hub)
    page = person.sign_in(place)
    page.get_by_label("New message").fill("half a thou")
    hub.stop()
    hub.settings["AUTH_TOKEN"] = NEW_TOKEN
    hub.start()
    expect(page).to_have_url(re.compile(rf"/ui/login\?next=%3Ftopic%3D{topic}%23msg_"), timeout=SLOWLY)
    page.get_by_label("The hub's token").fill(NEW_TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{hub.url}/ui/{place}")
    person.is_live()
    expect(page.locator("article.target")).to_be_in_viewport()
    expect(page.get_by_label("New message")).to_have_value("half a thou")


def test_nothing_of_another_log_is_left_on_the_page(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    hub.post(topic, "of the old log")
    person = visit(hub)
    page = person.sign_in(f"?topic={topic}")
    expect(page.locator("article")).to_have_count(1)
    hub.stop()
    for file in hub.folder.glob("db.sqlite3*"):
        if file.is_file():
            file.unlink()
    hub.start()
    _, new = hub.make_topic("new world", "hello again")
    expect(page.get_by_text("of the old log")).to_have_count(0, timeout=SLOWLY)
    channels = page.get_by_role("navigation", name="Channels").get_by_role("link")
    expect(channels).to_have_text(["new world"])
    expect(page.get_by_role("alert")).to_be_visible()  # the topic of the address is gone
    channels.click()
    page.get_by_role("link", name="hello again").click()
    hub.post(new, "of the new log")
    expect(page.locator("article .content")).to_have_text(["of the new log"])


def test_windows_go_on_after_a_break_that_was_too_long(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    person = visit(hub)
    talk = person.sign_in(f"?topic={topic}")
    talk.get_by_label("New message").fill("half a thou")
    timeline = person.open()
    timeline.goto(f"{hub.url}/ui/?view=events&name=message.created")
    person.is_live(timeline)
    hub.stop()
    hub.fill(topic, FAR)
    hub.start()
    expect(talk.locator("article .content").last).to_have_text(f"filled {FAR - 1}", timeout=SLOWLY)
    expect(timeline.locator(".events li").first).to_contain_text(f"filled {FAR - 1}", timeout=SLOWLY)
    person.is_live(talk)
    person.is_live(timeline)
    last = [hub.post(topic, f"and on {number}")["event_id"] for number in range(3)][-1]
    expect(talk.locator("article .content").last).to_have_text("and on 2")
    expect(timeline.locator(".events li .id").first).to_have_text(str(last))
    texts = talk.locator("article .content").all_inner_texts()
    written = [f"filled {number}" for number in range(FAR)] + ["and on 0", "and on 1", "and on 2"]
    assert texts == written[-len(texts) :]
    shown = events(timeline)
    assert shown == list(range(last, last - len(shown), -1))
    expect(talk.get_by_label("New message")).to_have_value("half a thou")


def test_an_edit_stays_open_over_a_break_that_was_too_long(hub_and_topic: tuple[Hub, str], visit: Visit) -> None:
    hub, topic = hub_and_topic
    hub.post(topic, "old words")
    page = visit(hub).sign_in(f"?topic={topic}")
    page.locator("article").hover()
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("The message", exact=True).fill("my long text")
    hub.stop()
    hub.fill(topic, FAR)
    hub.start()
    expect(page.locator(".bar")).to_contain_text(f"{FAR + 1:,} messages", timeout=SLOWLY)
    expect(page.get_by_label("The message", exact=True)).to_have_value("my long text")
