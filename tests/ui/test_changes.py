"""Writing, editing, deleting and moving in the page; a conflict is shown, and no text is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from ..running_hub import Hub
from .person import Person

Visit = Callable[..., Person]


@pytest.fixture
def topic(hub: Hub, request: pytest.FixtureRequest) -> str:
    """A topic of the test's own."""
    return hub.make_topic(request.node.name, "the topic")[1]


def message(hub: Hub, identifier: str) -> dict[str, Any]:
    return dict(hub.call("GET", f"/api/v1/messages/{identifier}").json()["message"])


def change(hub: Hub, identifier: str, **body: Any) -> None:
    answer = hub.call("PATCH", f"/api/v1/messages/{identifier}", body)
    assert answer.status_code == 200, answer.text


def post(hub: Hub, topic: str, *contents: str) -> list[str]:
    return [hub.post(topic, content)["message"]["id"] for content in contents]


def act(page: Page, identifier: str, name: str) -> Locator:
    """Press a button of a message; returns the message."""
    article = page.locator(f"#{identifier}")
    article.hover()
    article.get_by_role("button", name=name, exact=True).click()
    return article


def test_what_others_change_shows_at_once(hub: Hub, topic: str, visit: Visit) -> None:
    first, second, third = post(hub, topic, "one", "two", "three")
    page = visit(hub).sign_in(f"?topic={topic}")
    expect(page.locator("article")).to_have_count(3)
    change(hub, first, op="edit", content_raw="uno")
    expect(page.locator(f"#{first}")).to_contain_text("uno")
    expect(page.locator(f"#{first}")).to_contain_text("edited")
    change(hub, second, op="delete", actor="the boss")
    expect(page.locator(f"#{second}")).to_contain_text("Deleted by the boss")
    expect(page.locator(f"#{second}").get_by_role("button")).to_have_count(0)
    there = hub.call("POST", "/api/v1/topics", {"channel_id": message(hub, third)["channel_id"], "title": "near"})
    near = there.json()["topic"]["id"]
    change(hub, third, op="move_topic", to_topic_id=near, mode="one")
    expect(page.locator(f"#{third}")).to_have_count(0)
    expect(page.get_by_text("2 messages", exact=True)).to_be_visible()
    change(hub, third, op="move_topic", to_topic_id=topic, mode="one")
    expect(page.locator("article .content")).to_have_text(["uno", "three"])


@pytest.mark.parametrize("confirming", [{"isComposing": True}, {"keyCode": 229}], ids=["Chromium", "Safari"])
def test_enter_that_confirms_an_input_method_sends_nothing(
    hub: Hub, topic: str, visit: Visit, confirming: dict[str, Any]
) -> None:
    page = visit(hub).sign_in(f"?topic={topic}")
    box = page.get_by_label("New message")
    box.fill("にほん")
    box.dispatch_event("keydown", {"key": "Enter", "bubbles": True, "cancelable": True, **confirming})
    box.fill("日本")
    box.press("Enter")
    expect(page.locator("article .content")).to_have_text(["日本"])
    page.keyboard.press("Control+k")
    find = page.get_by_role("combobox")
    find.dispatch_event("keydown", {"key": "Enter", "bubbles": True, "cancelable": True, **confirming})
    expect(find).to_be_visible()


def test_a_message_is_edited(hub: Hub, topic: str, visit: Visit) -> None:
    (identifier,) = post(hub, topic, "old words")
    page = visit(hub).sign_in(f"?topic={topic}")
    article = act(page, identifier, "Edit")
    box = page.get_by_label("The message", exact=True)
    expect(box).to_be_focused()
    box.fill("new words")
    page.get_by_role("button", name="Save").click()
    expect(article.locator(".content")).to_have_text("new words")
    assert (message(hub, identifier)["content_raw"], message(hub, identifier)["version"]) == ("new words", 2)
    act(page, identifier, "Edit")
    box.fill("never mind")
    box.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert message(hub, identifier)["version"] == 2


def test_of_two_who_edit_the_second_sees_both_texts_and_decides(hub: Hub, topic: str, visit: Visit) -> None:
    (identifier,) = post(hub, topic, "the beginning")
    page = visit(hub).sign_in(f"?topic={topic}")
    article = act(page, identifier, "Edit")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("The message", exact=True).fill("mine")
    change(hub, identifier, op="edit", content_raw="theirs")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Somebody changed this message while you wrote")
    expect(dialog.locator(".theirs")).to_contain_text("theirs")
    expect(dialog.get_by_label("The message", exact=True)).to_have_value("mine")
    assert message(hub, identifier)["content_raw"] == "theirs"
    dialog.get_by_role("button", name="Save mine over it").click()
    expect(article.locator(".content")).to_have_text("mine")
    assert (message(hub, identifier)["content_raw"], message(hub, identifier)["version"]) == ("mine", 3)


def test_a_message_that_goes_away_while_it_is_edited_takes_no_text_along(hub: Hub, topic: str, visit: Visit) -> None:
    first, second = post(hub, topic, "stays", "goes")
    body = {"channel_id": message(hub, first)["channel_id"], "title": "away"}
    away = hub.call("POST", "/api/v1/topics", body).json()["topic"]["id"]
    page = visit(hub).sign_in(f"?topic={topic}")
    article = act(page, second, "Edit")
    page.get_by_label("The message", exact=True).fill("my long text")
    change(hub, second, op="move_topic", to_topic_id=away, mode="one")
    expect(article).to_have_count(0)
    expect(page.get_by_label("The message", exact=True)).to_have_value("my long text")
    for button in ("Save", "Save mine over it"):
        page.get_by_role("button", name=button, exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert message(hub, second)["content_raw"] == "my long text"


def test_a_message_is_deleted_by_name_after_a_question(hub: Hub, topic: str, visit: Visit) -> None:
    (identifier,) = post(hub, topic, "secret")
    page = visit(hub).sign_in(f"?topic={topic}")
    page.get_by_label("Your name").fill("alice")
    article = act(page, identifier, "Delete")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert message(hub, identifier)["deleted_at"] is None
    act(page, identifier, "Delete")
    change(hub, identifier, op="edit", content_raw="meanwhile")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("Somebody changed this message meanwhile")
    assert message(hub, identifier)["deleted_at"] is None
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(article).to_contain_text("Deleted by alice")
    assert message(hub, identifier)["deleted_by"] == "alice"


@pytest.mark.parametrize(("choice", "left"), [("this message", "acd"), ("later", "a"), ("all of", "")])
def test_messages_are_moved(hub: Hub, topic: str, visit: Visit, choice: str, left: str) -> None:
    ids = post(hub, topic, *"abcd")
    channel = message(hub, ids[0])["channel_id"]
    to = hub.call("POST", "/api/v1/topics", {"channel_id": channel, "title": "the target"}).json()["topic"]["id"]
    page = visit(hub).sign_in(f"?topic={topic}")
    act(page, ids[1], "Move")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").select_option(label="the target")
    dialog.get_by_label(choice).check()
    dialog.get_by_role("button", name="Move").click()
    expect(dialog.get_by_role("status")).to_have_text(f"Moved {4 - len(left)} message{'' if len(left) == 3 else 's'}.")
    assert [message(hub, each)["topic_id"] == to for each in ids] == [each not in left for each in "abcd"]
    dialog.get_by_role("link", name="Go there").click()
    expect(page.get_by_role("heading", name="the target")).to_be_visible()
    expect(page.locator("article .content")).to_have_text([each for each in "abcd" if each not in left])
    page.go_back()
    expect(page.get_by_role("heading", name="the topic")).to_be_visible()
    expect(page.locator("article .content")).to_have_text(list(left))


def test_a_message_that_is_refused_stays_in_the_box(hub: Hub, topic: str, visit: Visit) -> None:
    page = visit(hub).sign_in(f"?topic={topic}")
    box = page.get_by_label("New message")
    box.fill("x" * 70_000)
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".composer .error")).to_contain_text("Your text is kept")
    assert len(box.input_value()) == 70_000
    box.fill("short")
    box.press("Shift+Enter")
    box.press_sequentially("lines")
    box.press("Enter")
    expect(page.locator("article .content")).to_have_text(["short\nlines"])


def test_names_that_exist_are_refused_in_the_dialog(hub: Hub, topic: str, visit: Visit) -> None:
    page = visit(hub).sign_in(f"?topic={topic}")
    page.get_by_role("button", name="New channel").click()
    page.get_by_label("Name", exact=True).fill("test_names_that_exist_are_refused_in_the_dialog")
    page.get_by_role("button", name="Create channel").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("A channel with this name already exists")
    expect(page.get_by_label("Name", exact=True)).to_have_value("test_names_that_exist_are_refused_in_the_dialog")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_name_and_what_has_been_read_are_remembered(hub: Hub, topic: str, visit: Visit) -> None:
    post(hub, topic, "one", "two")
    channel = "test_the_name_and_what_has_been_read_are_remembered"
    person = visit(hub)
    page = person.sign_in()
    row = page.locator(".topics li", has_text=channel)
    expect(row).to_contain_text("2 new")
    row.get_by_role("link").click()
    page.get_by_label("Your name").fill("ann")
    person.write("three")
    assert hub.call("GET", f"/api/v1/messages?topic_id={topic}").json()["messages"][0]["sender"] == "ann"
    page.get_by_role("link", name="Agentlip").click()
    expect(row).to_contain_text("3 messages")
    post(hub, topic, "four")
    expect(row).to_contain_text("1 new")
    page.reload()
    expect(row).to_contain_text("1 new")
    page.get_by_role("link", name=channel, exact=True).click()
    page.get_by_role("button", name="Mark all as read").click()
    expect(page.locator(".topics")).to_contain_text("4 messages")


def test_attachments_stand_beside_the_conversation(hub: Hub, topic: str, visit: Visit) -> None:
    (identifier,) = post(hub, topic, "see https://example.com/first.")
    page = visit(hub).sign_in(f"?topic={topic}")
    aside = page.get_by_role("complementary", name="Attachments")
    expect(aside.get_by_role("link", name="https://example.com/first")).to_be_visible()
    body = {"kind": "url", "value_json": {"url": "https://example.com/b", "title": "The second"}}
    hub.call("POST", f"/api/v1/topics/{topic}/attachments", body | {"source_message_id": identifier})
    link = aside.get_by_role("link", name="The second")
    expect(link).to_have_attribute("href", "https://example.com/b")
    hub.call("POST", f"/api/v1/topics/{topic}/attachments", {"kind": "metric", "key": "speed", "value_json": {"v": 7}})
    expect(aside.locator("li").first).to_contain_text("metric · speed")
    expect(aside.locator("li").first).to_contain_text('"v": 7')
    expect(aside.locator("li")).to_have_count(3)
