"""The description of the API: valid, as the file in docs/ has it, right wherever the hub is, and held to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import jsonschema_rs
import pytest
from flask import Flask
from openapi_spec_validator import validate

from agentlip import Agentlip
from agentlip.server.http.table import ENDPOINTS

from .. import described
from ..running_hub import ROOT, TOKEN, Hub
from .calls import API

URL, PAGE = f"{API}/openapi.json", f"{API}/docs"
DESCRIPTION = described.DESCRIPTION


def embedded(folder: Path, prefix: str | None = None, **settings: Any) -> Flask:
    app = Flask("host")
    app.config |= {"AGENTLIP_DB": str(folder / "db.sqlite3"), "AGENTLIP_AUTH_TOKEN": TOKEN, **settings}
    Agentlip(app, url_prefix=prefix)
    return app


def test_it_is_a_valid_description() -> None:
    validate(DESCRIPTION)


def test_the_file_is_what_the_command_prints() -> None:
    """`python -m agentlip.server.http > docs/openapi.json` brings it up to date."""
    assert json.loads((ROOT / "docs" / "openapi.json").read_text()) == DESCRIPTION


def test_every_endpoint_is_in_it_and_says_what_it_does() -> None:
    paths = DESCRIPTION["paths"]
    operations = [operation for methods in paths.values() for operation in methods.values()]
    assert len(operations) == len(ENDPOINTS)
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"].endswith("."), operation["operationId"]
        assert " " in operation["summary"]


def test_it_is_served_without_a_token(hub: Hub) -> None:
    answer = hub.call("GET", URL, token=None)
    assert answer.status_code == 200
    assert answer.json() == DESCRIPTION


@pytest.mark.parametrize("prefix", ["", "/hub", "/a/b"])
def test_the_server_is_where_the_hub_is_mounted(tmp_path: Path, prefix: str) -> None:
    client = embedded(tmp_path, prefix or None).test_client()
    answer = client.get(prefix + URL)
    server = urljoin(f"https://host.example{prefix}{URL}", answer.json["servers"][0]["url"])
    assert server.rstrip("/") == f"https://host.example{prefix}"


def test_reads_that_are_open_are_described_so(tmp_path: Path) -> None:
    paths = embedded(tmp_path, AGENTLIP_PUBLIC_READS="on").test_client().get(URL).json["paths"]
    assert {} in paths["/api/v1/messages"]["get"]["security"]
    assert {} not in paths["/api/v1/messages"]["post"]["security"]
    assert {} not in DESCRIPTION["paths"]["/api/v1/messages"]["get"]["security"]


@pytest.mark.parametrize("url", [URL, PAGE])
def test_a_host_that_has_the_url_already_keeps_it(tmp_path: Path, url: str) -> None:
    app = Flask("host")
    app.config |= {"AGENTLIP_DB": str(tmp_path / "db.sqlite3"), "AGENTLIP_AUTH_TOKEN": TOKEN}
    app.add_url_rule(url, "own", lambda: "own")
    Agentlip(app)
    assert app.test_client().get(url).text == "own"


def test_the_page_shows_every_call_and_asks_for_nothing(hub: Hub) -> None:
    answer = hub.call("GET", PAGE, token=None)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http:" not in answer.text
    assert "https:" not in answer.text
    assert "<script" not in answer.text
    for path, methods in DESCRIPTION["paths"].items():
        for method, operation in methods.items():
            assert f"<code>{method.upper()} {path}</code>" in answer.text
            assert f'id="{operation["operationId"]}"' in answer.text


def test_the_page_is_there_without_the_page_for_people(tmp_path: Path) -> None:
    assert embedded(tmp_path, "/hub", AGENTLIP_UI="off").test_client().get(f"/hub{PAGE}").status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/channels", 418, {"error": "x", "code": "INVALID_INPUT"}),
        ("/channels", 200, {"channels": [{"id": 7}], "has_more": False}),
        ("/channels", 401, {"error": "x", "code": "NOT_FOUND"}),
        ("/channels/x/topics", 200, {"topics": []}),
        ("/nothing", 404, {"code": "NOT_FOUND"}),
        ("/nothing", 200, {}),
    ],
)
def test_an_answer_that_is_not_as_described_is_found(path: str, status: int, body: Any) -> None:
    headers = {"X-Request-ID": "x", "X-Protocol-Version": "v1", "Content-Type": "application/json"}
    with pytest.raises((AssertionError, jsonschema_rs.ValidationError)):
        described.check_parts("GET", API + path, status, headers, json.dumps(body).encode())
