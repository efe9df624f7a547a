"""examples/deploy: the systemd units, the settings, logrotate, the backup, and what the docs quote of the files."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentlip.config import Settings
from agentlip.server.gunicorn import lifecycle
from agentlip.server.gunicorn import settings as gunicorn_settings

from ..running_hub import ROOT, Hub, eventually
from .proxy import DEPLOY

PAGES = [ROOT / "docs" / name for name in ("running.md", "deploying.md", "upkeep.md")]
README = DEPLOY / "README.md"
IN_THE_CHECKOUT = ("Dockerfile", "Dockerfile.dockerignore", "compose.yaml")
UNITS = ["agentlip.service", "agentlip-backup.service", "agentlip-backup.timer"]
_HAS_BACKUP_COMMAND = all((ROOT / "agentlip" / "cli" / name).exists() for name in ("backup.py", "output.py"))
_LOGROTATE = shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Unit(configparser.RawConfigParser):
    """A systemd unit without repeated keys."""

    def __init__(self, name: str) -> None:
        super().__init__(delimiters="=", comment_prefixes="#", strict=True, interpolation=None)
        self.optionxform = str  # type: ignore[assignment,method-assign]
        self.read_string((DEPLOY / name).read_text())


def _environment_file() -> dict[str, str]:
    lines = (DEPLOY / "agentlip.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for name in UNITS:
        text = (DEPLOY / name).read_text()
        for line in re.findall(r"^Exec\w+=(/\S+)", text, re.MULTILINE):
            text = text.replace(line, "/bin/true")  # what is not installed here
        (tmp_path / name).write_text(text)
    command = ["systemd-analyze", "verify", *(str(tmp_path / name) for name in UNITS)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_unit_fits_the_hub() -> None:
    service = Unit("agentlip.service")["Service"]
    assert int(service["RestartPreventExitStatus"]) == lifecycle.EXIT_LOCK_HELD
    assert int(service["TimeoutStopSec"]) > gunicorn_settings.graceful_timeout
    settings = Settings.load(_environment_file())
    assert settings.db.is_relative_to(Path("/var/lib") / service["StateDirectory"])
    assert int(service["LimitNOFILE"]) > 2 * settings.max_connections
    assert shlex.split(service["ExecStart"]) == ["/opt/agentlip/bin/agentlip", "up"]
    assert "venv /opt/agentlip\n" in README.read_text()


def test_the_settings_are_where_nginx_looks() -> None:
    settings = Settings.load(_environment_file())
    assert f"server {settings.host}:{settings.port};" in (DEPLOY / "nginx-http.conf").read_text()
    patience = re.search(r"proxy_read_timeout (\d+)s", (DEPLOY / "nginx-ws.conf").read_text())
    assert patience
    assert int(patience[1]) > 2 * settings.ping_interval


@pytest.fixture
def told(tmp_path: Path) -> Iterator[socket.socket]:
    """Stands in for systemd's end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(20)
        yield listening


def test_the_command_of_the_unit_tells_when_it_is_ready(tmp_path: Path, told: socket.socket) -> None:
    service = Unit("agentlip.service")["Service"]
    assert service["Type"] == "notify"
    command = [sys.executable, "-m", "agentlip", *shlex.split(service["ExecStart"])[1:]]
    hub = Hub(tmp_path)
    environment = {**_environment_file(), **hub.environment(), "NOTIFY_SOCKET": str(tmp_path / "notify")}
    with (tmp_path / "hub.log").open("ab") as log:
        hub.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        assert told.recv(1024).startswith(b"READY=1"), hub.log()
        second = subprocess.run(command, cwd=ROOT, env=hub.environment(), capture_output=True, timeout=30)
        assert second.returncode == int(service["RestartPreventExitStatus"]), second.stderr
    finally:
        hub.stop(signal.SIGTERM)
    assert not (tmp_path / "server.json").exists()


@pytest.mark.skipif(_LOGROTATE is None, reason="logrotate is not installed")
def test_logrotate_cuts_the_log_of_a_running_hub(hub: Hub) -> None:
    assert _LOGROTATE is not None
    text = (DEPLOY / "agentlip.logrotate").read_text()
    text = text.replace("/var/lib/agentlip/.agentlip", str(hub.folder))
    text = text.replace("su agentlip agentlip", "su root root" if os.geteuid() == 0 else "")
    rules = hub.folder / "rules"
    rules.write_text(text)
    rules.chmod(0o600)
    command = [_LOGROTATE, "--state", str(hub.folder / "state")]
    checked = subprocess.run([*command, "-d", str(rules)], capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr
    assert "error" not in checked.stderr
    assert str(hub.log_path) in checked.stderr
    eventually(lambda: "/health" in hub.log(), what="the line of a call")
    subprocess.run([*command, "-f", str(rules)], check=True, capture_output=True, timeout=30)
    assert "/health" in (hub.folder / "hub.log.1").read_text()
    hub.call("GET", "/api/v1/channels")
    eventually(lambda: "/api/v1/channels" in hub.log(), what="a line after the cut")
    assert hub.log().startswith("{")  # at the start of the file, not after a hole


@pytest.mark.skipif(not _HAS_BACKUP_COMMAND, reason="this tree has no `agentlip backup`")
def test_the_backup_keeps_the_newest_copies(tmp_path: Path) -> None:
    running = Hub(tmp_path / "work" / ".agentlip")
    running.folder.mkdir(parents=True)
    copies = tmp_path / "copies"
    copies.mkdir()
    for name in ("hub-20200101T000000Z.sqlite3", "hub-20200102T000000Z.sqlite3", ".hub-20200103T000000Z.sqlite3.0123"):
        (copies / name).touch()
    (copies / "other.txt").touch()
    agentlip = tmp_path / "agentlip"
    agentlip.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m agentlip "$@"\n')
    agentlip.chmod(0o755)
    running.start()
    try:
        running.make_topic()
        environment = {**os.environ, "AGENTLIP": str(agentlip), "PYTHONPATH": str(ROOT)}
        command = [str(DEPLOY / "agentlip-backup"), str(tmp_path / "work"), str(copies), "2"]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
        failed = [command[0], str(tmp_path / "nowhere"), str(copies), "1"]
        assert subprocess.run(failed, env=environment, capture_output=True, timeout=60).returncode != 0
    finally:
        running.session.close()
        running.stop()
    names = sorted(path.name for path in copies.iterdir())
    assert names[0] == "hub-20200102T000000Z.sqlite3"
    assert names[2:] == ["other.txt"]
    with closing(sqlite3.connect(copies / names[1])) as database:
        assert database.execute("SELECT count(*) FROM events").fetchone() == (2,)
    assert (copies / names[1]).stat().st_mode & 0o077 == 0


def _quotes(page: Path) -> list[tuple[str, str]]:
    """The code blocks of a page in the languages of configuration files, each with the file it is said to be from."""
    found, named = [], ""
    pattern = re.compile(r"\]\([^)]*?([\w.-]+)\)|^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    for match in pattern.finditer(page.read_text()):
        if match[1] is not None:
            named = match[1]
        elif match[2] in ("ini", "nginx", "conf"):
            found.append((named, match[3]))
    return found


def test_the_pages_quote_the_files_as_they_are() -> None:
    quotes = [quote for page in PAGES for quote in _quotes(page)]
    assert {"agentlip.service", "nginx-http.conf", "nginx-sub-path.conf", "agentlip.logrotate"} <= {
        name for name, _ in quotes
    }
    for name, block in [*quotes, *_quotes(README)]:
        assert block in (DEPLOY / name).read_text(), f"{name} has no such lines:\n{block}"


def test_the_readme_names_every_file_and_its_place() -> None:
    text = README.read_text()
    for path in DEPLOY.iterdir():
        if path.name != README.name:
            assert f"({path.name})" in text, path.name
        if path.name not in (README.name, *IN_THE_CHECKOUT):
            place = re.search(r"/(etc|usr)/[\w./-]+", path.read_text())
            assert place, path.name
            assert place[0].rstrip(":") in text, place[0]


def test_links_of_the_readme_lead_somewhere() -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]+)(?:#([^)]*))?\)", README.read_text()):
        file = DEPLOY / target
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
