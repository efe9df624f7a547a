"""The whole path of a new user, from signing in to a live conversation between two windows."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from ..running_hub import TOKEN, Hub
from .person import Person

Visit = Callable[..., Person]


def test_from_signing_in_to_a_live_conversation(start_hub: Callable[..., Hub], visit: Visit) -> None:
    hub = start_hub()
    alice, bob = visit(hub), visit(hub)
    alice.page.goto(f"{hub.url}/ui")
    expect(alice.page).to_have_url(re.compile(r"/ui/login"))
    alice.page.get_by_label("The hub's token").fill("wrong")
    alice.page.get_by_role("button", name="Sign in").click()
    expect(alice.page.get_by_role("alert")).to_have_text("This is not the hub's token.")
    page = alice.sign_in()
    expect(page.get_by_text("This hub has no channels yet.")).to_be_visible()
    expect(page.get_by_text("agentlip channel create general")).to_be_visible()

    page.get_by_role("button", name="New channel").click()
    page.get_by_label("Name").fill("general")
    page.get_by_role("button", name="Create channel").click()
    expect(page.get_by_text("No topics yet.")).to_be_visible()
    page.get_by_role("button", name="New topic").click()
    page.get_by_label("Title").fill("First steps")
    page.get_by_role("button", name="Create topic").click()
    expect(page.get_by_role("heading", name="First steps")).to_be_visible()
    page.get_by_label("Your name").fill("alice")
    alice.write("Hello, is somebody there?")

    other = bob.sign_in()
    other.get_by_role("link", name="First steps").click()
    expect(other.locator("article")).to_have_text(re.compile("alice.*Hello, is somebody there?", re.DOTALL))
    other.get_by_label("Your name").fill("bob")
    bob.write("Yes, I am")
    alice.write("Good\nto see you")
    for window in (page, other):
        expect(window.locator("article .content")).to_have_text(
            ["Hello, is somebody there?", "Yes, I am", "Good\nto see you"]
        )
        expect(window.locator(".sender")).to_have_text(["alice", "bob", "alice"])
    said = hub.call("GET", "/api/v1/events?after=2").json()["events"]
    assert [event["data_json"]["message"]["sender"] for event in said] == ["alice", "bob", "alice"]


def test_what_others_create_appears(start_hub: Callable[..., Hub], visit: Visit) -> None:
    hub = start_hub()
    page = visit(hub).sign_in()
    _, topic = hub.make_topic("news", "Today")
    expect(page.get_by_role("link", name="news", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="news / Today")).to_be_visible()
    for number in range(3):
        hub.post(topic, f"message {number}")
    row = page.get_by_role("link", name="news / Today")
    expect(row).to_contain_text("3 new")
    expect(row).to_contain_text("message 2")
    row.click()
    expect(page.locator("article")).to_have_count(3)
    page.get_by_role("link", name="Agentlip").click()
    expect(row).to_contain_text("3 messages")


def test_signing_out_ends_the_session(start_hub: Callable[..., Hub], visit: Visit) -> None:
    hub = start_hub()
    person = visit(hub)
    page = person.sign_in("?view=status")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("The hub's token")).to_be_visible()
    assert person.context.cookies() == []
    page.goto(f"{hub.url}/ui/?view=status")
    expect(page).to_have_url(re.compile(r"/ui/login\?next="))


def test_no_answer_but_the_cookie_is_a_secret_and_scripts_can_not_read_it(hub: Hub, visit: Visit) -> None:
    person = visit(hub)
    bodies: list[str] = []
    person.page.on("response", lambda response: bodies.append(f"{response.headers}{response.url}"))
    page = person.sign_in()
    (cookie,) = person.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert page.evaluate("document.cookie") == ""
    assert TOKEN not in page.content() + cookie["value"] + "".join(bodies) + "".join(person.requests)
    assert TOKEN not in page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")


def test_a_form_without_its_script_sends_the_token_nowhere(hub: Hub, visit: Visit) -> None:
    person = visit(hub)
    page = person.page
    page.route("**/login.js*", lambda route: route.abort())
    page.goto(f"{hub.url}/ui/login")
    page.get_by_label("The hub's token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign in")).to_be_disabled()
    assert page.url == f"{hub.url}/ui/login"
    assert TOKEN not in "".join(person.requests)
