"""Where a hub listens: a port of its own for each workspace, UNIX sockets, and nothing that others reach unasked."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from agentlip.client import HubClient
from agentlip.config import Settings
from agentlip.errors import ConfigError
from agentlip.listening import check_network

from .cli.working_folder import WorkingFolder, words_of, working_folder
from .running_hub import ROOT, eventually


@pytest.fixture
def here(tmp_path: Path) -> Iterator[WorkingFolder]:
    with working_folder(tmp_path) as folder:
        yield folder


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for a socket's."""
    with TemporaryDirectory() as folder:
        yield Path(folder).resolve()


GUNICORN = (sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app")


def gunicorn(here: WorkingFolder, *args: object, **settings: object) -> subprocess.Popen[str]:
    here.make_workspace()
    process = subprocess.Popen(
        (*GUNICORN, *map(str, args)), cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=here.environment(DB=here.folder / "db.sqlite3", **settings), process_group=0,
    )  # fmt: skip
    here.processes.append(process)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("how", ["-b", "BIND", "up"])
def test_a_hub_on_a_unix_socket_is_found_by_commands_and_clients(here: WorkingFolder, short: Path, how: str) -> None:
    path = short / "h.sock"
    if how == "up":
        here.up(BIND=f"unix:{path}")
    else:
        gunicorn(
            here, *(["-b", f"unix:{path}"] if how == "-b" else []), **({} if how == "-b" else {how: f"unix:{path}"})
        )
    assert here.server["socket"] == str(path)
    assert here.server["port"] == 0
    eventually(lambda: here.run("status").returncode == 0, 20, "the hub")
    assert here.run("channel", "create", "general").returncode == 0
    status = json.loads(here.run("--json", "status").stdout)
    assert status["url"] == "http+unix://" + str(path).replace("/", "%2F")
    assert (
        words_of(here.run("ui"))
        == "this hub listens on a UNIX socket, which browsers cannot open: put a proxy in front of it"
    )
    with HubClient(status["url"], here.server["auth_token"]) as client, client.stream(after=0) as events:
        assert next(events).name == "channel.created"
    assert here.run("down").returncode == 0
    assert not path.exists()


def test_the_address_given_to_gunicorn_is_told(here: WorkingFolder) -> None:
    gunicorn(here, "-b", "127.0.0.2:0")
    assert here.server["host"] == "127.0.0.2"
    eventually(lambda: here.run("status").returncode == 0, 20, "the hub")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "0", "::ffff:192.0.2.7"])
def test_addresses_that_others_reach_need_a_word(host: str) -> None:
    with pytest.raises(ConfigError, match="AGENTLIP_ALLOW_NETWORK=on"):
        check_network(Settings.load({}), host)
    check_network(Settings.load({"AGENTLIP_ALLOW_NETWORK": "on"}), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "::ffff:127.0.0.1", "no..host"])
def test_those_of_this_machine_need_none(host: str) -> None:
    check_network(Settings.load({}), host)


@pytest.mark.parametrize("how", ["up", "--host", "gunicorn", "-b"])
def test_a_hub_does_not_listen_to_the_network_unasked(here: WorkingFolder, how: str) -> None:
    if how in ("up", "--host"):
        here.make_workspace()
        done = here.run("up", *(["--host", "0.0.0.0"] if how == "--host" else []), HOST="0.0.0.0")
        code, words = done.returncode, words_of(done)
    else:
        args = {"gunicorn": [], "-b": ["-b", "0.0.0.0:0"]}[how]
        process = gunicorn(here, *args, **({"HOST": "0.0.0.0"} if how == "gunicorn" else {}))
        words, code = process.communicate(timeout=30)[1].rpartition("agentlip: ")[2], process.returncode
    assert code == 1
    assert words.startswith("a hub on 0.0.0.0 can be reached by other machines: set AGENTLIP_ALLOW_NETWORK=on")
    assert not (here.folder / "server.json").exists()


@pytest.mark.slow
def test_a_second_workspace_has_a_port_of_its_own(tmp_path: Path) -> None:
    with socket.socket() as usual:  # in the place of the first, where none runs already
        usual.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            usual.bind(("127.0.0.1", 8787))
            usual.listen()
        except OSError:
            pass
        ports = set()
        with working_folder(tmp_path / "a") as first, working_folder(tmp_path / "b") as second:
            for here in (first, second):
                here.root.mkdir()
                here.up(PORT="")
                ports.add(here.server["port"])
                pid = here.server["pid"]
                os.kill(pid, signal.SIGHUP)  # a reload keeps the port
                eventually(lambda here=here: here.call("GET", "/health").status_code == 200)
                assert here.run("status").returncode == 0
        assert len(ports) == 2
        assert 8787 not in ports


def test_a_port_that_was_asked_for_is_not_changed(here: WorkingFolder) -> None:
    here.make_workspace()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for done in (here.run("up", "--port", port, PORT=""), here.run("up", PORT=port)):
            assert (done.returncode, words_of(done)) == (
                1, f"cannot listen on 127.0.0.1, port {port}: Address already in use",
            )  # fmt: skip


@pytest.mark.slow
def test_a_hub_starts_at_once_where_another_was_killed(here: WorkingFolder) -> None:
    pid = here.up("--workers", 2)
    port = here.server["port"]
    for _ in range(2):
        os.kill(pid, signal.SIGKILL)
        done = here.run("up", "--detach", "--port", port)
        assert done.returncode == 0, done.stderr
        assert here.server["port"] == port
        assert here.server["pid"] != pid
        pid = here.server["pid"]


@pytest.mark.slow
def test_a_service_named_like_the_hub_keeps_nobody_from_starting(here: WorkingFolder) -> None:
    process = here.start("up", PORT="tcp://10.0.0.1:8787")
    eventually(lambda: here.run("status").returncode == 0, 20, "the hub")
    process.terminate()
    _out, err = process.communicate(timeout=20)
    assert err.count("AGENTLIP_PORT=tcp://10.0.0.1:8787 is ignored") == 1
