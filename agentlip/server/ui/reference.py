"""`/api/v1/docs`: the description of the API as a page to read. It asks for nothing else, not even for its style."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Blueprint, Response
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from ..http.dispatch import RULE
from ..http.openapi import Json, describe
from ..http.table import ENDPOINTS
from .pages import Page, with_headers

_TEMPLATES = Path(__file__).parent / "templates" / "agentlip"
_STYLE = (_TEMPLATES / "reference.css").read_text()


class _Reference(Page):
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def register(bp: Blueprint) -> None:
    """Add the page to the hub's blueprint; it is there also where there is no web page for people."""

    @bp.get("/api/v1/docs", endpoint="reference", **RULE)
    def reference() -> Response:
        return with_headers(Response(_rendered(), mimetype="text/html"), _Reference)


@cache
def _rendered() -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    described = describe(ENDPOINTS)
    page = environment.get_template("reference.html")
    return page.render(info=described["info"], style=Markup(_STYLE), operations=list(_operations(described)))


def _operations(described: Json) -> Iterator[Json]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            bodies = [_resolved(each, described) for each in body.get("anyOf", [body])] if body else []
            yield {
                **operation,
                "method": method.upper(),
                "path": path,
                "parameters": [{**each, "kind": _kind(each["schema"])} for each in operation["parameters"]],
                "bodies": [list(_fields(each)) for each in bodies],
                "answers": {code: _answer(each, described) for code, each in operation["responses"].items()},
                "curl": _curl(method.upper(), path, operation, bodies),
            }


def _resolved(schema: Json, described: Json) -> Json:
    if "$ref" not in schema:
        return schema
    _, _, room, name = schema["$ref"].split("/")
    found: Json = described["components"][room][name]
    return found


def _answer(answer: Json, described: Json) -> Json:
    answer = _resolved(answer, described)
    (content,) = answer["content"].values()
    schema = content["schema"]
    shapes = [_resolved(each, described) for each in schema.get("anyOf", [schema])]
    return {"text": answer["description"], "shapes": [list(each.get("properties", ())) for each in shapes]}


def _fields(schema: Json) -> Iterator[Json]:
    for name, each in schema["properties"].items():
        yield {"name": name, "kind": _kind(each), "required": name in schema.get("required", ())}


def _kind(schema: Json) -> str:
    """What a field may hold, in words."""
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"]))
    words = [schema.get("type", "any JSON")]
    low, high = (schema.get(name) for name in ("minimum", "maximum"))
    least, most = (schema.get(name) for name in ("minLength", "maxLength"))
    if low is not None:
        words.append(f"from {low}" + (f" to {high}" if high is not None else ""))
    if most is not None:
        words.append(f"{least or 0} to {most} characters")
    if "items" in schema:
        words.append(f"of {_kind(schema['items'])}")
    if "pattern" in schema:
        words.append(f"like {schema['pattern']}")
    return ", ".join(words)


def _curl(method: str, path: str, operation: Json, bodies: list[Json]) -> str:
    words = ["curl"] + ([f"-X {method}"] if method not in ("GET", "POST") else [])
    if operation["security"] != [{}]:
        words.append('-H "Authorization: Bearer $TOKEN"')
    if bodies:
        words.append(f"--json '{json.dumps(_example(bodies[0]))}'")
    needed = [each["name"] for each in operation["parameters"] if each["in"] == "query" and each["required"]]
    query = "&".join(f"{name}=…" for name in needed)
    return " ".join([*words, f'"$HUB{path}{"?" * bool(query)}{query}"'])


def _example(schema: Json) -> Json:
    """A body with what is required, or with the first field."""
    properties = schema["properties"]
    names = schema.get("required") or list(properties)[:1]
    return {name: _sample(properties[name]) for name in names}


def _sample(schema: Json) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    return {"string": "…", "integer": 1, "object": {}}.get(schema.get("type", ""), "…")
