"""The OpenAPI description of the API, made from the table of endpoints and from the types that they declare.

A new endpoint is described without an edit here: its handler's docstring is the text, `request`, `query`, `result`,
`statuses` and `errors` say what comes and goes, `access` and the kind of its URL say which errors all such have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from http import HTTPStatus
from types import UnionType
from typing import Any, get_args

import msgspec
import orjson
from msgspec import NODEFAULT, Struct

from ... import errors
from ...model import ErrorAnswer
from ...version import __version__
from ..state import PROTOCOL_VERSION
from .call import Call, Endpoint

PATH = "/api/v1/openapi.json"
Json = dict[str, Any]
Errors = Sequence[type[errors.AgentlipError]]

_ABOUT = """\
What a hub of Agentlip answers over HTTP. Words, rules and the event log are in docs/protocol.md.

**WebSocket.** OpenAPI has no words for it: `GET /ws` with the token, as `Authorization: Bearer` or as `?token=`, opens
one. The first message is `{"type":"hello","after_event_id":0}`; then the hub sends events, first those of the log after
that id, then each new one.

**Who may call.** The token, or the cookie of a browser that has signed in. Where the hub lives in an application, that
may have a login of its own. With `AGENTLIP_PUBLIC_READS` reads need neither.

**Changes.** One that comes with an `Idempotency-Key` is made once: the same call with the same key gets the same answer
for a day, and changes nothing.

**Methods.** Where `GET` is, `HEAD` is too. Other methods are answered 405 with `Allow`.

**Growth.** New fields, events and endpoints may come: ignore those that you do not know."""
_REF = "#/components/{}/{}".format
_EVERYWHERE = (
    errors.InvalidInput,
    errors.UriTooLong,
    errors.ExpectationFailed,
    errors.HeadersTooLarge,
    errors.HostNotAllowed,
    errors.InternalError,
    errors.ServiceUnavailable,
    errors.ShuttingDown,
    errors.UnknownCoding,
)
_COUNTED = (errors.MissingAuth, errors.InvalidAuth, errors.Forbidden, errors.RateLimited, errors.NoAuthConfigured)
_CHANGING = (errors.OriginNotAllowed,)
_WITH_BODY = (errors.UnsupportedMediaType, errors.BodyTimeout, errors.PayloadTooLarge)
_HEADERS = {
    "X-Request-ID": ("The one of the request when it is sane, else a new one.", {"type": "string"}),
    "X-Protocol-Version": ("The version of the protocol.", {"const": PROTOCOL_VERSION}),
    "X-RateLimit-Limit": ("Calls per second. Absent when calls are not counted.", {"type": "integer"}),
    "X-RateLimit-Remaining": ("How many of this second's are left.", {"type": "integer"}),
    "X-RateLimit-Reset": ("Unix seconds.", {"type": "integer"}),
    "Idempotency-Keys": (
        "The sign of a hub that makes a change with an `Idempotency-Key` once.",
        {"const": "accepted"},
    ),
    "Idempotency-Replayed": (
        "The change was made before, with the same key: this is what was answered then.",
        {"const": "true"},
    ),
    "Retry-After": ("Seconds to wait.", {"type": "integer"}),
    "WWW-Authenticate": ("The scheme that is asked for.", {"const": "Bearer"}),
}
_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A name for this very change, so that it is made once however often it is asked for.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
_ALWAYS = ("X-Request-ID", "X-Protocol-Version", "Idempotency-Keys")
_LIMITS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_BY_STATUS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}


def described(endpoints: Iterable[Endpoint]) -> tuple[Endpoint]:
    """The endpoint that answers the description of these, and of itself."""

    @cache
    def written(public_reads: bool) -> bytes:
        return orjson.dumps(describe((*endpoints, *own), public_reads))

    def read_description(call: Call) -> tuple[int, Any]:
        """This description."""
        return 200, orjson.Fragment(written(call.state.settings.public_reads))

    own = (Endpoint("GET", PATH, read_description, "open"),)
    return own


def describe(endpoints: Sequence[Endpoint], public_reads: bool = False) -> Json:
    """The description. The URL of the server is relative to the description's own, wherever the hub is mounted."""
    kinds = [part for each in endpoints for kind in (each.request, each.result) for part in _parts(kind)]
    _, schemas = msgspec.json.schema_components([*kinds, ErrorAnswer], ref_template=_REF("schemas", "{name}"))
    responses: dict[str, Json] = {}
    paths: dict[str, Json] = {}
    for each in endpoints:
        operations = paths.setdefault(re.sub(r"<(\w+)>", r"{\1}", each.path), {})
        operations[each.method.lower()] = _operation(each, public_reads, responses)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Agentlip",
            "version": __version__,
            "description": re.sub(r"(?<!\n)\n(?!\n)", " ", _ABOUT),
            "license": {"name": "MIT"},
        },
        "servers": [{"url": "../..", "description": "The hub that serves this description"}],
        "tags": [{"name": name} for name in dict.fromkeys(_tag(each) for each in endpoints)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": dict(sorted(responses.items())),
            "headers": {
                name: {"description": text, "required": name in _ALWAYS, "schema": schema}
                for name, (text, schema) in _HEADERS.items()
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "The hub's token."}},
        },
    }


def _operation(endpoint: Endpoint, public_reads: bool, responses: dict[str, Json]) -> Json:
    summary, _, more = (endpoint.handler.__doc__ or endpoint.handler.__name__).partition("\n")
    asked = endpoint.access not in ("open", "anyone")
    operation: Json = {
        "operationId": endpoint.handler.__name__,
        "summary": summary.strip(),
        **({"description": re.sub(r"\s+", " ", more).strip()} if more.strip() else {}),
        "tags": [_tag(endpoint)],
        "parameters": [
            *map(_path_parameter, re.findall(r"<(\w+)>", endpoint.path)),
            *_query_parameters(endpoint.query),
            *([_KEY] if endpoint.takes_key else []),
        ],
    }
    if endpoint.request is not None:
        schema = _schema(endpoint.request)
        operation["requestBody"] = {"required": not endpoint.body_optional, "content": _json_content(schema)}
    answers = {str(status): _success(endpoint, status, asked) for status in endpoint.statuses}
    for status, known in sorted(_errors_by_status(endpoint).items()):
        name = "Or".join(each.__name__ for each in known)
        responses.setdefault(name, _failure(status, known))
        answers[str(status)] = {"$ref": _REF("responses", name)}
    operation["responses"] = answers
    operation["security"] = ([{}] if not asked or (public_reads and endpoint.access == "read") else []) + (
        [{"token": []}] if asked else []
    )
    return operation


def _tag(endpoint: Endpoint) -> str:
    return re.sub(r"^_", "", endpoint.handler.__module__.rpartition(".")[2])


def _parts(kind: Any) -> tuple[Any, ...]:
    """A type, or those of a union, which need no tags when they are described one by one."""
    return () if kind is None else get_args(kind) if isinstance(kind, UnionType) else (kind,)


def _schema(kind: Any) -> Json:
    if kind is None:
        return {"type": "object"}
    refs = [{"$ref": _REF("schemas", part.__name__)} for part in _parts(kind)]
    fields = {part.__struct_config__.tag_field for part in _parts(kind)}
    if len(refs) == 1:
        return refs[0]
    tags = {part.__struct_config__.tag: ref["$ref"] for part, ref in zip(_parts(kind), refs, strict=True)}
    told_apart = {} if None in fields else {"discriminator": {"propertyName": fields.pop(), "mapping": tags}}
    return {"anyOf": refs, **told_apart}


def _path_parameter(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query_parameters(query: type[Struct] | None) -> Iterable[Json]:
    if query is None:
        return
    _, schemas = msgspec.json.schema_components([query])
    (described,) = schemas.values()
    for field in msgspec.structs.fields(query):
        schema = described["properties"][field.encode_name]
        alternatives = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
        schema = alternatives[0] if alternatives else {**schema}
        if schema.get("default") in (None, []):  # not given
            schema.pop("default", None)
        required = field.default is NODEFAULT and field.default_factory is NODEFAULT
        text = {"description": schema.pop("description")} if "description" in schema else {}
        yield {"name": field.encode_name, "in": "query", "required": required, **text, "schema": schema}


def _json_content(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _headers(*names: str) -> Json:
    return {name: {"$ref": _REF("headers", name)} for name in (*_ALWAYS, *names)}


def _success(endpoint: Endpoint, status: int, asked: bool) -> Json:
    return {
        "description": HTTPStatus(status).phrase,
        "headers": _headers(*(_LIMITS if asked else ()), *(("Idempotency-Replayed",) if endpoint.takes_key else ())),
        "content": {"text/event-stream": {"schema": {"type": "string"}}}
        if endpoint.streams
        else _json_content(_schema(endpoint.result)),
    }


def _errors_by_status(endpoint: Endpoint) -> dict[int, list[type[errors.AgentlipError]]]:
    known: list[type[errors.AgentlipError]] = [*_EVERYWHERE, *endpoint.errors]
    if endpoint.access not in ("open", "anyone"):
        known += _COUNTED
    if endpoint.access not in ("open", "anyone", "read"):
        known += _CHANGING
    if endpoint.takes_key:
        known.append(errors.IdempotencyMismatch)
    if any("sender" in vars(kind) or "actor" in vars(kind) for kind in _parts(endpoint.request)):
        known.append(errors.SenderMismatch)
    if endpoint.method != "GET":
        known += _WITH_BODY
    if "<" in endpoint.path:
        known.append(errors.NotFound)
    found: dict[int, list[type[errors.AgentlipError]]] = {}
    for error in sorted(set(known), key=lambda known: known.__name__):
        found.setdefault(error.status, []).append(error)
    return found


def _failure(status: int, known: Errors) -> Json:
    codes = sorted({each.code for each in known})
    narrowed = {"properties": {"code": {"enum": codes}}}
    return {
        "description": " ".join(dict.fromkeys(f"`{each.code}`: {each.message}." for each in known)),
        "headers": _headers(*_LIMITS, *_BY_STATUS.get(status, ())),
        "content": _json_content({"allOf": [{"$ref": _REF("schemas", "ErrorAnswer")}, narrowed]}),
    }
