"""The documentation says what the code does: settings, closes, errors, routes, commands, links."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentlip import errors, wire
from agentlip.config import PREFIX, SETTINGS, Setting

from .running_hub import ROOT

PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
SETTINGS_PAGE = (ROOT / "docs" / "settings.md").read_text()
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/*.md")),
    ROOT / "benchmarks" / "README.md",
]
COMMAND_LINE = {"URL", "TOKEN", "SENDER"}  # variables that only the command line reads

# Every rule of the hub takes all methods and answers the wrong ones itself, so they are asked for.
_ROUTES = """
import json, re, sys
from agentlip import create_app

app = create_app({"AGENTLIP_DB": sys.argv[1], "AGENTLIP_LOG_LEVEL": "error"})
client = app.test_client()
routes = set()
for rule in app.url_map.iter_rules():
    path = re.sub(r"<(?!path:)[^>]+>", "ID", rule.rule)
    if rule.endpoint.endswith("unknown"):
        continue
    allowed = "GET" if path == "/ws" else client.open(path, method="OPTIONS").headers["Allow"]
    routes |= {f"{method} {path}" for method in allowed.split(", ") if method != "HEAD"}
print(json.dumps(sorted(routes)))
"""


def setting_row(setting: Setting) -> str:
    """The setting's row in docs/settings.md."""
    shown = {None: "unset", "": "empty"}.get(setting.default, f"`{setting.default}`")
    return f"| `{PREFIX}{setting.name}` | {shown} | {setting.help} |"


def _error_classes(base: type[errors.AgentlipError] = errors.AgentlipError) -> Iterator[type[errors.AgentlipError]]:
    yield base
    for derived in base.__subclasses__():
        if derived.__module__ == errors.__name__:  # the client has some of its own, which no hub answers
            yield from _error_classes(derived)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_documented(setting: Setting) -> None:
    assert setting_row(setting) in SETTINGS_PAGE.splitlines()


def test_only_settings_that_exist_are_documented() -> None:
    named = {name for page in PAGES for name in re.findall(rf"(?<!_){PREFIX}([A-Z_]*[A-Z])", page.read_text())}
    assert named <= {setting.name for setting in SETTINGS} | COMMAND_LINE


def test_the_closes_are_documented() -> None:
    rows = re.findall(r"^\| (\d{4}) \| `([^`]+)` \|", PROTOCOL, re.MULTILINE)
    assert {(int(code), reason) for code, reason in rows} == {tuple(close) for close in wire.CLOSES}


def test_the_errors_are_documented() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\d{3}) \|", PROTOCOL, re.MULTILINE)
    assert {(code, int(status)) for code, status in rows} == {(each.code, each.status) for each in _error_classes()}


def test_the_routes_are_documented(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _ROUTES, str(tmp_path / "db.sqlite3")]
    routes = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60).stdout)
    assert "GET /health" in routes
    assert set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", PROTOCOL, re.MULTILINE)) == set(routes)


def test_the_readme_opens_with_the_commands() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    start, tests = re.findall(r"^```sh\n(.*)\n```$", (ROOT / "README.md").read_text(), re.MULTILINE)[:2]
    assert start == "python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/agentlip up"
    assert tests == next(line for line in lines if line.endswith("-m pytest"))


def test_the_tests_that_are_named_are_there() -> None:
    table = (ROOT / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", table)
    assert len(named) > 30
    for path, name in named:
        assert re.search(rf"^(def )?{name}\b", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_files_that_the_architecture_names_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"(?:agentlip/)?((?:[a-z_]+/)+(?:[a-z_]+\.(?:py|js))?)(?=[\s`,])", text)) - {"tests/"}
    assert len(named) > 30
    for path in named:
        assert (ROOT / "agentlip" / path).exists() or (ROOT / path).exists(), path
