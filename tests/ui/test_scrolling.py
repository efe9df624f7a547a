"""A long conversation: a window that slides over all messages, and links to single ones."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from ..running_hub import Hub
from .person import Person

Visit = Callable[..., Person]
COUNT = 20_000
MOST = 240


class Long:
    """A hub with one topic of 20,000 messages."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.topic = hub.make_topic("long", "The long one")[1]
        hub.stop()
        hub.fill(self.topic, COUNT)
        hub.start()

    def id_of(self, content: str) -> str:
        found = self.hub.call("GET", f'/api/v1/search?q="{content}"&topic_id={self.topic}&limit=1').json()["messages"]
        return str(found[0]["id"])


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Long]:
    hub = Hub(tmp_path_factory.mktemp("long")).start()
    yield Long(hub)
    hub.session.close()
    hub.stop()


def numbers(page: Page) -> list[int]:
    texts = page.locator("article .content").all_inner_texts()
    return [int(text.split()[-1]) for text in texts if text.startswith("filled")]


def scroll(page: Page, where: str) -> None:
    page.locator(".log").evaluate(f"box => {{ box.scrollTop = {where}; }}")


def test_a_long_topic_opens_at_its_end_with_one_page(long: Long, visit: Visit) -> None:
    person = visit(long.hub)
    page = person.sign_in(f"?topic={long.topic}")
    expect(page.locator("article")).to_have_count(60)
    assert numbers(page) == list(range(COUNT - 60, COUNT))
    assert sum("/api/v1/messages" in url for url in person.requests) == 1


def test_older_messages_come_on_scrolling_up_and_the_page_stays_small(long: Long, visit: Visit) -> None:
    page = visit(long.hub).sign_in(f"?topic={long.topic}")
    expect(page.locator("article")).to_have_count(60)
    lowest = numbers(page)[0]
    while lowest > COUNT - 500:
        scroll(page, "0")
        expect(page.locator("article .content").first).not_to_have_text(f"filled {lowest}")
        shown = numbers(page)
        assert shown == list(range(shown[0], shown[0] + len(shown))), "each once, in order"
        assert len(shown) <= MOST
        assert shown[0] < lowest
        lowest = shown[0]
    seen = page.evaluate(
        "() => { const top = document.querySelector('.log').getBoundingClientRect().top;"
        "return [...document.querySelectorAll('article')].find(each => each.getBoundingClientRect().bottom > top).id }"
    )
    expect(page.locator(f"#{seen}")).to_be_in_viewport()
    page.get_by_role("button", name="To the latest").click()
    expect(page.locator("article .content").last).to_have_text(f"filled {COUNT - 1}")


def test_scrolling_down_again_reaches_the_newest(long: Long, visit: Visit) -> None:
    target = COUNT - 400
    page = visit(long.hub).sign_in(f"?topic={long.topic}#{long.id_of(f'filled {target}')}")
    expect(page.locator("article.target .content")).to_have_text(f"filled {target}")

    def at_the_end() -> bool:
        scroll(page, "box.scrollHeight")
        shown = numbers(page)
        assert shown == list(range(shown[0], shown[0] + len(shown)))
        return shown[-1] == COUNT - 1

    deadline = time.monotonic() + 20
    while not at_the_end():
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)
    scroll(page, "box.scrollHeight")
    expect(page.get_by_role("button", name="To the latest")).to_have_count(0)


@pytest.mark.parametrize("number", [0, 1, 7_777, COUNT - 1])
def test_a_link_to_a_message_scrolls_there_and_shows_it(long: Long, visit: Visit, number: int) -> None:
    identifier = long.id_of(f"filled {number}")
    page = visit(long.hub).sign_in(f"?topic={long.topic}#{identifier}")
    target = page.locator(f"#{identifier}")
    expect(target).to_be_in_viewport()
    expect(target).to_have_class(re.compile("target"))
    expect(target).to_be_focused()


def test_a_link_to_a_message_that_was_moved_leads_to_it(hub: Hub, visit: Visit) -> None:
    channel, topic = hub.make_topic("moved link", "old")
    identifier = hub.post(topic, "wanderer")["message"]["id"]
    new = hub.call("POST", "/api/v1/topics", {"channel_id": channel, "title": "new"}).json()["topic"]["id"]
    body = {"op": "move_topic", "to_topic_id": new, "mode": "one"}
    assert hub.call("PATCH", f"/api/v1/messages/{identifier}", body).status_code == 200
    page = visit(hub).sign_in(f"?topic={topic}#{identifier}")
    expect(page).to_have_url(re.compile(f"topic={new}#{identifier}"))
    expect(page.locator("article.target")).to_contain_text("wanderer")


def test_a_link_to_nothing_shows_the_latest(hub: Hub, visit: Visit) -> None:
    _, topic = hub.make_topic("link to nothing", "t")
    hub.post(topic, "here")
    page = visit(hub).sign_in(f"?topic={topic}#msg_nothing")
    expect(page.locator("article")).to_contain_text("here")


def test_a_hundred_messages_a_second_keep_the_page_small_and_at_the_end(long: Long, visit: Visit) -> None:
    topic = long.hub.make_topic("busy", "The busy one")[1]
    page = visit(long.hub).sign_in(f"?topic={topic}")

    def agents() -> None:
        started = time.monotonic()
        for number in range(400):
            long.hub.post(topic, f"live {number} with `code` and https://example.com/")
            time.sleep(max(0.0, started + number / 100 - time.monotonic()))

    thread = threading.Thread(target=agents)
    thread.start()
    while thread.is_alive():
        assert page.locator("article").count() <= MOST
    expect(page.locator("article .content").last).to_contain_text("live 399")
    expect(page.locator("article").last).to_be_in_viewport()
    expect(page.get_by_role("button", name="To the latest")).to_have_count(0)


def test_what_is_read_stays_where_it_is_while_messages_arrive(long: Long, visit: Visit) -> None:
    hub, topic = long.hub, long.topic
    page = visit(hub).sign_in(f"?topic={topic}")
    expect(page.locator("article")).to_have_count(60)
    scroll(page, "box.scrollHeight - box.clientHeight - 700")
    expect(page.get_by_role("button", name="To the latest")).to_be_visible()
    middle = "() => document.elementFromPoint(500, 300).closest('article').id"
    identifier = page.evaluate(middle)
    where = page.locator(f"#{identifier}").bounding_box()
    for number in range(20):
        hub.post(topic, f"more {number}")
    expect(page.get_by_role("button", name="20 new messages")).to_be_visible()
    assert page.locator(f"#{identifier}").bounding_box() == where
    page.get_by_role("button", name="20 new messages").click()
    expect(page.locator("article .content").last).to_have_text("more 19")
