"""A client finds the hub of a workspace, believes only /health, and finds it again after a restart."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentlip.client import HubClient, HubUnreachable
from agentlip.client.address import url_in
from agentlip.errors import ConfigError, MissingAuth
from agentlip.workspace.server_file import read_server_file
from agentlip.workspace.token import replace_token

from ..running_hub import TOKEN, Hub, eventually
from .odd_server import answer, serving
from .poster import kill


@pytest.fixture
def workspace(start_hub: Callable[..., Hub], tmp_path: Path) -> Hub:
    """A running hub whose database and token are in a workspace."""
    folder = tmp_path / "project" / ".agentlip"
    folder.mkdir(parents=True)
    return start_hub(folder, AUTH_TOKEN=None)


def root_of(hub: Hub) -> Path:
    return hub.folder.parent


def refusal(start: Path) -> str:
    with pytest.raises(HubUnreachable) as caught:
        HubClient.discover(start)
    assert type(caught.value) is HubUnreachable
    assert TOKEN not in repr(caught.value)
    return str(caught.value)


def stray_server_file(folder: Path, **content: Any) -> Path:
    """A workspace with a database and a server.json that nobody answers for; returns its root."""
    (folder / ".agentlip").mkdir()
    (folder / ".agentlip" / "db.sqlite3").touch()
    known = {"instance_id": "mine", "host": "127.0.0.1", "auth_token": TOKEN, **content}
    (folder / ".agentlip" / "server.json").write_text(json.dumps(known))
    return folder


def test_from_a_folder_below(workspace: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    below = root_of(workspace) / "a" / "b"
    below.mkdir(parents=True)
    for start in (below, str(below), root_of(workspace)):
        with HubClient.discover(start) as client:
            assert client.url == workspace.url
            assert client.create_channel(f"c{len(str(start))}{type(start).__name__}").event_id
    monkeypatch.chdir(below)
    with HubClient.discover() as client:
        assert client.ping()["pong"] is True


def test_the_environment_names_a_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does for the command line; a folder that is given goes before it."""
    monkeypatch.setenv("AGENTLIP_URL", hub.url)
    monkeypatch.delenv("AGENTLIP_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    with HubClient.discover() as client, pytest.raises(MissingAuth):
        client.ping()
    monkeypatch.setenv("AGENTLIP_TOKEN", TOKEN)
    with HubClient.discover() as client, client.stream() as events:
        assert client.ping()["pong"] is True
        made = client.create_channel("named").event_id
        assert events.wait_for(lambda event: event.event_id == made, 10).data["channel"]["name"] == "named"
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("AGENTLIP_TOKEN", f"@{tmp_path / 'token'}")
    with HubClient.discover() as client:
        assert client.ping()["pong"] is True
    assert refusal(tmp_path) == f"No workspace in {tmp_path} or above"
    monkeypatch.setenv("AGENTLIP_URL", "")
    with pytest.raises(HubUnreachable, match="No workspace"):
        HubClient.discover()
    monkeypatch.setenv("AGENTLIP_URL", hub.url)
    monkeypatch.setenv("AGENTLIP_TOKEN", "@nowhere")
    with pytest.raises(ConfigError, match="nowhere"):
        HubClient.discover()


def test_no_workspace(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"No workspace in {tmp_path} or above"


def test_no_hub(workspace: Hub) -> None:
    workspace.stop()
    assert refusal(root_of(workspace)) == f"No hub is running in {root_of(workspace)}; start one with `agentlip up`"


def test_a_server_file_that_is_left_over(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    root = stray_server_file(tmp_path, port=port, pid=1 << 22)
    assert refusal(root) == f"The hub of {root} has gone; its server.json is left over"


@pytest.mark.parametrize("port", [None, "x", 0, 70000, -1, [1]])
def test_a_server_file_that_makes_no_sense(tmp_path: Path, port: Any) -> None:
    assert "left over" in refusal(stray_server_file(tmp_path, port=port))


def test_another_hub_has_the_port_now(workspace: Hub, tmp_path: Path) -> None:
    root = tmp_path / "other"
    root.mkdir()
    stray_server_file(root, port=workspace.port)
    assert refusal(root) == f"Another hub answers at the address in the server.json of {root}"


@pytest.mark.parametrize("instance_id", ["mine", None])
def test_the_token_is_not_shown_to_a_stranger(tmp_path: Path, instance_id: str | None) -> None:
    seen: list[bytes] = []
    reply = answer(200, b"{}", "application/json")

    def serve(sock: socket.socket) -> None:
        seen.append(sock.recv(65536, socket.MSG_PEEK))
        reply(sock)

    with serving(serve) as url:
        root = stray_server_file(tmp_path, port=int(url.rpartition(":")[2]), instance_id=instance_id)
        assert "Another hub" in refusal(root)
    assert seen[0].startswith(b"GET /health ")
    assert TOKEN.encode() not in b"".join(seen)


def test_it_survives_a_restart_on_another_port(workspace: Hub) -> None:
    with HubClient.discover(root_of(workspace)) as client, client.stream() as events:
        client.create_channel("before")
        assert next(events).name == "channel.created"
        old = workspace.url
        kill(workspace)
        with pytest.raises(HubUnreachable, match="left over"):
            client.create_channel("meanwhile")
        with socket.socket() as holder:  # so that the next port is another one
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", workspace.port))
            workspace.start()
            assert client.create_channel("after").channel.name == "after"
            assert client.url == workspace.url != old
            assert next(events).data["channel"]["name"] == "after"
        assert [each.name for each in client.channels()] == ["after", "before"]


def test_it_survives_a_new_token(workspace: Hub) -> None:
    assert workspace.process is not None
    with HubClient.discover(root_of(workspace)) as client, client.stream() as events:
        client.create_channel("before")
        next(events)
        old = workspace.workers()
        token = replace_token(workspace.folder)
        assert client.ping()["pong"] is True
        workspace.process.send_signal(signal.SIGHUP)
        eventually(lambda: not old & workspace.workers() and workspace.workers(), 20, "new workers")
        assert (read_server_file(workspace.folder) or {})["auth_token"] == token
        assert client.create_channel("after").channel.name == "after"
        assert next(events).data["channel"]["name"] == "after"
        with HubClient(workspace.url, token) as other:
            assert other.ping()["pong"] is True


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:7"), ("0.0.0.0", "http://127.0.0.1:7"), ("::", "http://[::1]:7"),
     ("", "http://127.0.0.1:7"), ("hub.example", "http://hub.example:7")],
)  # fmt: skip
def test_the_address_of_a_hub(host: str, url: str) -> None:
    assert url_in({"host": host, "port": 7}) == url
