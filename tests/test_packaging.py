"""What is installed: the wheel alone runs the hub, the client needs its few libraries, the two lists say the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
import requests

from .running_hub import ROOT, eventually

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What `from agentlip.client import …` may import beside the standard library.
_CLIENT_ALONE = """
import sys
allowed = {"agentlip", "msgspec", "urllib3", "websockets", *sys.stdlib_module_names}
class Gate:
    def find_spec(self, name, *_):
        # urllib3 looks for libraries that only some have.
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Gate())
from agentlip.client import HubClient
HubClient("http://127.0.0.1:9", "x" * 32).close()
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder


def _listed(page: Path) -> list[str]:
    return [line for line in page.read_text().splitlines() if line and not line.startswith("#")]


def _files(folder: str) -> set[str]:
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in found}


def test_both_lists_of_what_the_hub_needs_are_equal() -> None:
    assert _listed(ROOT / "requirements.txt") == PROJECT["dependencies"]


def test_every_range_has_a_lower_bound_and_what_the_client_needs_is_among_them() -> None:
    extras = PROJECT["optional-dependencies"]
    for requirement in [*PROJECT["dependencies"], *extras["client"], *extras["test"]]:
        assert re.fullmatch(r"[a-z0-9-]+(\[\w+\])?>=[0-9.]+(,<[0-9.]+)?", requirement), requirement
    assert set(extras["client"]) <= set(PROJECT["dependencies"])


def test_nothing_that_only_tests_need_is_installed_for_running() -> None:
    names = {re.match(r"[a-z0-9-]+", requirement)[0] for requirement in PROJECT["dependencies"]}  # type: ignore[index]
    tests = {re.match(r"[a-z0-9-]+", each)[0] for each in PROJECT["optional-dependencies"]["test"]}  # type: ignore[index]
    assert not names & tests


def test_the_client_needs_no_more_than_its_extra() -> None:
    result = subprocess.run([sys.executable, "-c", _CLIENT_ALONE], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_wheel_has_the_package_and_the_sdist_its_tests(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    inside = zipfile.ZipFile(wheel).namelist()
    assert {name for name in inside if ".dist-info/" not in name} == _files("agentlip")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert _files("agentlip") | _files("tests") | _files("docs") <= packed


def test_the_metadata_is_complete(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    metadata = HeaderParser().parsestr(archive.read(name).decode())
    assert (metadata["License-Expression"], metadata["Requires-Python"]) == ("MIT", ">=3.11")
    assert {"Framework :: Flask", "Operating System :: POSIX :: Linux", "Typing :: Typed"} <= set(
        metadata.get_all("Classifier", [])
    )
    assert {"client", "test"} == set(metadata.get_all("Provides-Extra", []))
    assert metadata.get_all("Project-URL")
    assert metadata["Summary"]


@pytest.mark.slow
def test_the_wheel_alone_runs_the_hub(built: Path, tmp_path: Path) -> None:
    """In an empty home, from a folder without the project."""
    (wheel,) = built.glob("*.whl")
    installed, home = tmp_path / "installed", tmp_path / "home"
    home.mkdir()
    zipfile.ZipFile(wheel).extractall(installed)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "agentlip"]
    with subprocess.Popen([*command, "up", "--port", "0"], cwd=home, env=environment, stderr=subprocess.PIPE) as hub:
        try:
            eventually(
                lambda: (home / ".agentlip" / "server.json").exists() or hub.poll() is not None, 30, "server.json"
            )
            assert hub.poll() is None
            status = subprocess.run(
                [*command, "--json", "status"], cwd=home, env=environment, capture_output=True, text=True, timeout=30
            )
            assert status.returncode == 0, status.stderr
            (url,) = set(re.findall(r"http://127\.0\.0\.1:\d+", status.stdout))
            assert requests.get(f"{url}/ui/login", timeout=10).headers["Content-Type"].startswith("text/html")
            assert Path(f"/proc/{hub.pid}/cwd").resolve() == installed.resolve()  # where its package is
        finally:
            hub.terminate()
            hub.communicate(timeout=20)
