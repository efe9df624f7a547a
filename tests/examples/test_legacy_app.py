"""The application of examples/legacy_app/, run as its README says: what it always did, and the hub in it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ..running_hub import ROOT, eventually

FOLDER = ROOT / "examples" / "legacy_app"
SERVERS = {
    "flask": ["flask", "--app", "tickets:create_app({config})", "run", "--port", "{port}"],
    "gunicorn": ["gunicorn", "-k", "gevent", "-b", "127.0.0.1:{port}", "tickets:create_app({config})"],
}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Visitor:
    """A browser without a screen: cookies, and forms with their CSRF token."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()

    def get(self, path: str) -> requests.Response:
        return self.session.get(self.url + path, timeout=20)

    def submit(self, page: str, path: str, **fields: str) -> requests.Response:
        """Fill in a form of the page and send it to the path."""
        token = re.search(r'name="csrf_token" value="([^"]+)"', self.get(page).text)
        assert token is not None
        return self.session.post(self.url + path, data={"csrf_token": token[1], **fields}, timeout=20)

    def log_in(self, name: str) -> None:
        assert "Log out" in self.submit("/login", "/login", name=name, password=name).text

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.session.cookies.items())}


@pytest.fixture(scope="module", params=SERVERS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("desk"), free_port()
    config = {
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder}/tickets.sqlite3",
        "AGENTLIP_DB": f"{folder}/hub.sqlite3",
    }
    command = [part.format(config=repr(config), port=port) for part in SERVERS[request.param]]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=FOLDER, stdout=output, stderr=output,
            env={"PATH": str(Path(sys.executable).parent), "PYTHONPATH": f"{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return requests.get(f"{url}/hub/health", timeout=5).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    try:
        eventually(answers, 30, "the application")
        yield url
        assert "Traceback" not in log.read_text()
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def ann(url: str) -> Iterator[Visitor]:
    visitor = Visitor(url)
    visitor.log_in("ann")
    yield visitor
    visitor.session.close()


def open_ticket(visitor: Visitor, title: str) -> str:
    """Open a ticket; returns the path of its page."""
    answer = visitor.submit("/", "/tickets", title=title)
    assert answer.status_code == 200
    return answer.url.removeprefix(visitor.url)


def attribute(page: str, name: str) -> str:
    found = re.search(rf'data-{name}="([^"]*)"', page)
    assert found is not None
    return found[1]


def test_the_desk_does_what_it_always_did(url: str, ann: Visitor) -> None:
    stranger = Visitor(url)
    assert stranger.get("/").url.startswith(f"{url}/login")
    assert "Wrong name or password" in stranger.submit("/login", "/login", name="ann", password="x").text
    assert stranger.session.post(f"{url}/login", data={"name": "ann"}, timeout=20).status_code == 400  # no CSRF token
    missing = ann.get("/no/such/page")
    assert (missing.status_code, "There is no such page." in missing.text) == (404, True)
    assert "#1" in ann.get(open_ticket(ann, "The printer is on fire")).text
    stranger.session.close()


def test_a_page_gets_what_is_said_while_it_is_open(url: str, ann: Visitor) -> None:
    path = open_ticket(ann, "No coffee <b>at all</b>")
    page = ann.get(path).text
    assert "New ticket: No coffee &lt;b&gt;at all&lt;/b&gt;" in page
    assert attribute(page, "socket") == "/hub/ws"
    hello = {
        "type": "hello",
        "after_event_id": int(attribute(page, "cursor")),
        "subscriptions": {"topics": [attribute(page, "topic")]},
    }
    ws = url.replace("http", "ws") + "/hub/ws"
    with connect(ws, additional_headers=ann.cookie, origin=url, compression=None) as live:  # type: ignore[arg-type]
        live.send(json.dumps(hello))
        assert json.loads(live.recv(10))["type"] == "hello_ok"
        ben = Visitor(url)
        ben.log_in("ben")
        ben.submit(path, f"{path}/comments", text="I have tea")
        said = json.loads(live.recv(10))
        assert (said["name"], said["data"]["message"]["sender"]) == ("message.created", "ben")
        ben.submit(path, f"{path}/close")
        closed = json.loads(live.recv(10))
        assert (closed["name"], closed["data"]["by"]) == ("ticket.closed", "ben")
        ben.session.close()
    assert "(closed)" in ann.get(path).text


def test_only_those_who_are_logged_in_reach_the_hub(url: str, ann: Visitor) -> None:
    assert ann.get("/hub/api/v1/channels").status_code == 200
    nobody = requests.get(f"{url}/hub/api/v1/channels", timeout=20)
    assert (nobody.status_code, nobody.json()["code"]) == (401, "MISSING_AUTH")
    with pytest.raises(InvalidStatus) as refused:
        connect(url.replace("http", "ws") + "/hub/ws").close()
    assert refused.value.response.status_code == 401


def test_another_site_can_not_use_the_login(url: str, ann: Visitor) -> None:
    elsewhere = {"Origin": "https://elsewhere.example"}
    answer = ann.session.post(f"{url}/hub/api/v1/channels", json={"name": "x"}, headers=elsewhere, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (403, "ORIGIN_NOT_ALLOWED")
    with pytest.raises(InvalidStatus) as refused:
        connect(url.replace("http", "ws") + "/hub/ws", additional_headers=ann.cookie | elsewhere).close()
    assert refused.value.response.status_code == 403


def test_the_readme_shows_the_lines_that_were_added() -> None:
    readme = (FOLDER / "README.md").read_text()
    added = [
        line
        for file in sorted((FOLDER / "tickets").rglob("*.py"))
        for line in file.read_text().splitlines()
        if line.endswith("# added")
    ]
    assert len(added) == 5
    assert all(line in readme.splitlines() for line in added)
