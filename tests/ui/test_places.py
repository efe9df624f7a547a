"""Wherever the hub is: below a host's prefix, behind a proxy's path with TLS, and with the host's own login."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from ..embedding.servers import Host
from ..examples.proxy import NGINX, Proxy, free_port
from ..running_hub import ROOT, TOKEN, Hub, eventually
from .person import Person

Visit = Callable[..., Person]


def converse(person: Person, call: Callable[..., requests.Response]) -> None:
    """A person who is signed in makes a channel and a topic, says something, and hears others, over a reload too."""
    page = person.page
    page.get_by_role("button", name="New channel").click()
    page.get_by_label("Name").fill("general")
    page.get_by_role("button", name="Create channel").click()
    page.get_by_role("button", name="New topic").click()
    page.get_by_label("Title").fill("t")
    page.get_by_role("button", name="Create topic").click()
    person.write("one")
    expect(page.locator("article")).to_have_count(1)
    topic = re.search(r"topic=(\w+)", page.url)
    assert topic is not None
    body = {"topic_id": topic[1], "sender": "agent", "content_raw": "two"}
    assert call("POST", "/api/v1/messages", body).status_code == 201
    expect(page.locator("article .content")).to_have_text(["one", "two"])
    page.reload()
    expect(page.locator("article .content")).to_have_text(["one", "two"])
    assert all(url.startswith((person.url, person.url.replace("http", "ws", 1))) for url in person.requests)


def test_below_a_prefix_of_a_host_application(tmp_path: Path, visit: Visit) -> None:
    with Host("gevent", tmp_path) as host:
        person = visit(f"{host.url}/hub")
        person.sign_in()
        assert [cookie["path"] for cookie in person.context.cookies()] == ["/hub/"]
        converse(person, lambda method, path, body: host.call(method, f"/hub{path}", body))
        assert requests.get(f"{host.url}/hub/ui/no-such-page", timeout=20).json()["code"] == "NOT_FOUND"
        assert requests.get(f"{host.url}/no-such-page", timeout=20).text == "the host's 404 page"


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.parametrize("place", ["root", "sub-path"])
def test_behind_a_proxy(start_hub: Callable[..., Hub], tmp_path: Path, visit: Visit, place: str) -> None:
    hub = start_hub()
    (tmp_path / "nginx").mkdir()
    with Proxy(tmp_path / "nginx", hub.port).running() as proxy:
        site = proxy.sites[place]
        person = visit(site.url, ignore_https_errors=True)
        person.page.goto(f"{site.url}/ui")
        expect(person.page).to_have_url(re.compile(rf"^{site.url}/ui/login"))
        person.sign_in()
        (cookie,) = person.context.cookies()
        assert (cookie["path"], cookie["secure"]) == ("/hub/" if place == "sub-path" else "/", True)
        converse(person, site.call)
        assert TOKEN not in proxy.everything_logged()
        site.session.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[str]:
    """The URL of examples/legacy_app, where the host's login decides."""
    port = free_port()
    config = {
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/tickets.sqlite3",
        "AGENTLIP_DB": f"{tmp_path}/hub.sqlite3",
        "AGENTLIP_LOGIN_URL": "/login",
    }
    application = f"tickets:create_app({config!r})"
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-k", "gevent", "-b", f"127.0.0.1:{port}", application],
        cwd=ROOT / "examples" / "legacy_app", stderr=subprocess.DEVNULL,
        env={"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None
        try:
            return requests.get(f"{url}/login", timeout=5).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    try:
        eventually(answers, 30, "the login page")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def test_the_hosts_own_login_is_used(desk: str, visit: Visit) -> None:
    person = visit(f"{desk}/hub")
    page = person.page
    page.goto(f"{desk}/hub/ui/?view=status")
    expect(page).to_have_url(re.compile(rf"^{desk}/login\?next=%2Fhub%2Fui%2F%3Fview%3Dstatus"))
    page.locator("[name=name]").fill("ann")
    page.locator("[name=password]").fill("ann")
    page.keyboard.press("Enter")
    expect(page).not_to_have_url(re.compile("/login"))
    page.goto(f"{desk}/hub/ui/")
    person.is_live()
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
    page.get_by_role("button", name="New channel").click()
    page.get_by_label("Name").fill("mine")
    page.get_by_role("button", name="Create channel").click()
    expect(page.get_by_role("heading", name="mine")).to_be_visible()
    sent = page.evaluate("fetch('session', {method: 'POST', headers: {'Content-Type': 'application/json'}, "
                         "body: '{\"token\": \"x\"}'}).then(answer => answer.status)")  # fmt: skip
    assert sent == 400, "the host's login cannot be passed by"
