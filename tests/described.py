"""What the hub's description of its API promises of an answer; all calls of the tests' helpers are held to it."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import requests

from agentlip.server.http.openapi import describe
from agentlip.server.http.table import ENDPOINTS

DESCRIPTION = describe(ENDPOINTS)
_LARGE = 200_000
_PATHS = [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), path) for path in DESCRIPTION["paths"]]
_seen: set[tuple[str, str, int]] = set()


@cache
def _validator(reference: str) -> Any:
    """Of a part of the description, by its place there."""
    return jsonschema_rs.validator_for(
        {"$ref": f"#{reference}", "components": DESCRIPTION["components"], "paths": DESCRIPTION["paths"]}
    )


def check(answer: requests.Response) -> None:
    """The status, the headers and the body must be described for the call; others than the hub's are passed over."""
    asked = re.search(r"(/api/v1/.*|/health)$", urlsplit(str(answer.request.url)).path)
    if asked is None or "X-Protocol-Version" not in answer.headers:
        return
    check_parts(str(answer.request.method), asked[0], answer.status_code, answer.headers, answer.content)


def check_parts(method: str, path: str, status: int, headers: Any, body: bytes) -> None:
    known = next((each for pattern, each in _PATHS if pattern.fullmatch(path)), None)
    verb = "get" if method == "HEAD" else method.lower()
    operation = DESCRIPTION["paths"].get(known, {}).get(verb)
    if operation is None:
        if status < 300:
            assert path == "/api/v1/docs", f"{method} {path} is not described"
            return
        reference = "/components/schemas/ErrorAnswer"
    else:
        assert str(status) in operation["responses"], (
            f"{method} {path} is not described to answer {status}: {body[:300]!r}"
        )
        told = operation["responses"][str(status)]
        escaped = str(known).replace("~", "~0").replace("/", "~1")
        place = told["$ref"][1:] if "$ref" in told else f"/paths/{escaped}/{verb}/responses/{status}"
        reference = f"{place}/content/application~1json/schema"
    assert {"x-request-id", "x-protocol-version"} <= {name.lower() for name in headers}
    assert headers["Content-Type"] == "application/json"
    if method == "HEAD":
        return
    if len(body) > _LARGE:
        if (verb, path, status) in _seen:
            return
        _seen.add((verb, path, status))
    _validator(reference.replace("{", "%7B").replace("}", "%7D")).validate(json.loads(body))
