"""Request lines: written directly by the standalone hub, as log records once somebody listens.

Each test runs in a process of its own, because logging belongs to a process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..running_hub import ROOT

PROGRAM = """
import json, logging, os, sys
from agentlip import create_app

token = "secret-token-xyz"
app = create_app({"AGENTLIP_DB": sys.argv[1], "AGENTLIP_AUTH_TOKEN": token, "AGENTLIP_LOG_LEVEL": sys.argv[2]})
records = []

class Keep(logging.Handler):
    def emit(self, record):
        records.append(record)

def count():
    # the records that reach the hub's own handler
    own = logging.getLogger("agentlip").handlers[0]
    handle = own.handle
    own.handle = lambda record: (records.append(record), handle(record))

class Drop(logging.Filter):
    def filter(self, record):
        return False

SETUP
client = app.test_client()
statuses = [client.get("/health").status_code, client.get("/api/v1/channels?token=secret-token-xyz").status_code]
kept = [[r.name, r.levelname, r.getMessage(), getattr(r, "fields", None)] for r in records]
print(json.dumps([statuses, kept]), flush=True)
os._exit(0)  # not by way of standard error, which may take nothing
"""
KEYS = {"method", "path", "status", "duration_ms", "request_id", "instance_id", "event_ids"}
OWN_HANDLER = "logging.getLogger('agentlip').handlers[0]"


def run(folder: Path, setup: str = "", level: str = "info", stderr: Any = subprocess.PIPE) -> tuple[list[Any], str]:
    """Two requests to an application in a process; the records it kept, and its standard error."""
    command = [sys.executable, "-c", PROGRAM.replace("SETUP", setup), str(folder / "db.sqlite3"), level]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    statuses, records = json.loads(done.stdout)
    assert statuses == [200, 401]
    return records, done.stderr


def request_lines(stderr: str) -> list[dict[str, Any]]:
    """The lines of requests; every line must be one JSON object."""
    lines = [json.loads(line) for line in stderr.splitlines()]
    return [line for line in lines if "method" in line]


def check_lines(stderr: str) -> None:
    lines = request_lines(stderr)
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("GET", "/health", 200),
        ("GET", "/api/v1/channels", 401),
    ]
    for line in lines:
        assert set(line) == KEYS | {"ts", "level"}
        assert line["level"] == "info"
    assert "secret-token" not in stderr


def test_the_standalone_hub_writes_its_lines_without_records(tmp_path: Path) -> None:
    records, stderr = run(tmp_path, "count()")
    assert records == []
    check_lines(stderr)


def test_the_lines_are_the_same_when_they_go_through_records(tmp_path: Path) -> None:
    _, direct = run(tmp_path)
    records, slow = run(tmp_path, "logging.getLogger('agentlip').addHandler(Keep())")
    assert len(records) == 2
    for stderr in (direct, slow):
        check_lines(stderr)
    assert [list(line) for line in request_lines(direct)] == [list(line) for line in request_lines(slow)]


@pytest.mark.parametrize("name", ["agentlip", "agentlip.request"])
def test_a_handler_of_somebody_gets_records_with_fields(tmp_path: Path, name: str) -> None:
    records, stderr = run(tmp_path, f"logging.getLogger('{name}').addHandler(Keep())")
    assert [record[:3] for record in records] == [["agentlip.request", "INFO", "request"]] * 2
    assert [record[3]["status"] for record in records] == [200, 401]
    assert all(set(record[3]) == KEYS for record in records)
    check_lines(stderr)


def test_a_handler_instead_of_the_hubs_own_gets_the_records(tmp_path: Path) -> None:
    records, stderr = run(tmp_path, "logging.getLogger('agentlip').handlers[:] = [Keep()]")
    assert (len(records), stderr) == (2, "")


def test_a_handler_that_goes_again_leaves_the_direct_way(tmp_path: Path) -> None:
    setup = (
        "keep = Keep(); logging.getLogger('agentlip').addHandler(keep); app.test_client().get('/health'); "
        "logging.getLogger('agentlip').removeHandler(keep); count()"
    )
    records, stderr = run(tmp_path, setup)
    assert len(records) == 1
    assert len(request_lines(stderr)) == 3


def test_above_level_info_there_are_no_lines(tmp_path: Path) -> None:
    assert run(tmp_path, "logging.getLogger('agentlip').addHandler(Keep())", "warning") == ([], "")


@pytest.mark.parametrize("where", ["logging.getLogger('agentlip.request')", OWN_HANDLER])
def test_a_filter_is_asked(tmp_path: Path, where: str) -> None:
    _, stderr = run(tmp_path, f"{where}.addFilter(Drop())")
    assert request_lines(stderr) == []


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_log_that_can_not_be_written_fails_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("w") as full:
        run(tmp_path, stderr=full)
