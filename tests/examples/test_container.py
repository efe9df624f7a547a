"""What the container of examples/deploy/ runs, without Docker: its command as first process on a read-only root."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from agentlip.config import PREFIX, Settings

from ..running_hub import ROOT, eventually
from .proxy import DEPLOY

DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
IGNORED = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
# Only the data can be written. The image's user may read root's home, where Python may be; an image has it elsewhere.
_INSIDE = """
set -e
mount --bind "$0" /mnt
mount -o remount,bind,ro /
cd /mnt
exec setpriv --reuid {uid} --regid {uid} --clear-groups \\
  --inh-caps -all,+dac_read_search --ambient-caps +dac_read_search "$@"
"""


def _line(instruction: str) -> str:
    return re.findall(rf"^{instruction} (.*)$", DOCKERFILE, re.MULTILINE)[-1]


def _environment() -> dict[str, str]:
    environment = dict(word.split("=", 1) for word in shlex.split(_line("ENV")))
    del environment["PATH"]
    # Tests listen on the loopback only, on a free port.
    here = {"AGENTLIP_DB": "/mnt/.agentlip/db.sqlite3", "AGENTLIP_HOST": "127.0.0.1", "AGENTLIP_PORT": "0"}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment, **here}


def _command(line: str) -> list[str]:
    program, *arguments = json.loads(line)
    assert program == "agentlip"
    return [sys.executable, "-m", "agentlip", *arguments]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The volume, as the image makes it; skips where namespaces cannot be made."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-mpf", "true"], capture_output=True).returncode:
        pytest.skip("only root may make namespaces, and not everywhere")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    uid = int(_line("USER").partition(":")[0])
    os.chown(folder, uid, uid)
    return folder


@contextlib.contextmanager
def container(data: Path) -> Iterator[int]:
    """Run the image's command; the pid of its first process, seen from here."""
    uid = int(_line("USER").partition(":")[0])
    inside = ["sh", "-c", _INSIDE.format(uid=uid), str(data), *_command(_line("CMD"))]
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", *inside]
    (data / ".agentlip" / "server.json").unlink(missing_ok=True)
    with (data.parent / "hub.log").open("ab") as log:
        process = subprocess.Popen(command, env=_environment(), stdout=log, stderr=log, start_new_session=True)
    try:
        eventually(lambda: process.poll() is not None or (data / ".agentlip" / "server.json").exists(), 30, "the hub")
        assert process.poll() is None, (data.parent / "hub.log").read_text()
        yield int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def _healthcheck(first: int) -> int:
    _, command = _line("HEALTHCHECK").split(" CMD ")
    enter = ["nsenter", "--target", str(first), "--mount", "--pid", "--wd"]
    return subprocess.run([*enter, *_command(command)], env=_environment(), capture_output=True, timeout=30).returncode


def _url(data: Path) -> str:
    return f"http://127.0.0.1:{json.loads((data / '.agentlip' / 'server.json').read_text())['port']}"


@pytest.mark.slow
def test_it_runs_as_the_first_process_with_a_read_only_root_and_no_rights(data: Path) -> None:
    with container(data) as first:
        health = requests.get(f"{_url(data)}/health", timeout=10).json()
        assert (health["status"], health["pid"] > 1) == ("ok", True)
        status = Path(f"/proc/{first}/status").read_text()
        assert re.search(r"^Uid:\s+10001\s+10001", status, re.MULTILINE)
        assert _healthcheck(first) == 0
        os.kill(first, signal.SIGTERM)
        eventually(lambda: not (data / ".agentlip" / "server.json").exists(), 10, "the end")


@pytest.mark.slow
def test_after_a_kill_the_next_container_starts_although_the_old_one_had_the_same_pid(data: Path) -> None:
    with container(data) as first:
        before = requests.get(f"{_url(data)}/health", timeout=10).json()
        os.kill(first, signal.SIGKILL)
    with container(data) as first:
        after = requests.get(f"{_url(data)}/health", timeout=10).json()
        assert (after["db_id"], after["instance_id"] != before["instance_id"]) == (before["db_id"], True)
        assert _healthcheck(first) == 0


def test_the_image_starts_what_its_settings_allow() -> None:
    environment = dict(word.split("=", 1) for word in shlex.split(_line("ENV")))
    settings = Settings.load({name: value for name, value in environment.items() if name.startswith(PREFIX)})
    assert settings.db.is_relative_to(_line("VOLUME"))
    assert int(_line("EXPOSE")) == settings.port


def test_the_image_is_built_from_what_the_package_needs() -> None:
    kept = {line[1:] for line in IGNORED if line.startswith("!")}
    assert kept == {"agentlip", "pyproject.toml", "README.md", "LICENSE"}
    for name in kept:
        assert (ROOT / name).exists()


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker here")
def test_compose_takes_the_file() -> None:
    command = ["docker", "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker has no compose here")
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stderr) == (0, "")
