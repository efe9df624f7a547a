"""Changes with an `Idempotency-Key`: what the key belongs to, and the answer, the first time and again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from ...store.decoding import as_json
from ...store.retries import Replayed, Retry, under
from ..access.limits import TOKEN, Caller
from .call import Call, Endpoint

KEY = "HTTP_IDEMPOTENCY_KEY"


def retry_of(call: Call, endpoint: Endpoint, caller: Caller) -> Retry:
    """The call as one that may come again. Raises InvalidInput for a key that is none."""

    def encode(result: Any) -> tuple[int, bytes]:
        if not isinstance(result, endpoint.result):
            raise TypeError(f"{endpoint.handler.__name__} answers something else than its change returns")
        return endpoint.status_of(result), orjson.dumps(result, as_json)

    asked = (call.method, call.path, call.environ.get("QUERY_STRING", ""), call.body)
    return Retry(_owner(call, caller), call.environ[KEY], asked, encode)


def _owner(call: Call, caller: Caller) -> str:
    """The credential itself where there is one; the users of a host's login are one owner as long as it names none."""
    shown = call.environ.get("HTTP_AUTHORIZATION", "").partition(" ")[2].strip() if caller.lane == TOKEN else ""
    return f"{caller.lane}\n{caller.credential}\n{shown}"


def answer(
    call: Call, retry: Retry, endpoint: Endpoint, asked: Iterable[Any], params: Mapping[str, str]
) -> tuple[int, bytes]:
    """Make the change, or find that it was made. The answer is the one that is kept, if the call has made a change."""
    try:
        with under(retry):
            status, payload = endpoint.handler(call, *asked, **params)
    except Replayed as kept:
        call.was_replayed = True
        call.headers["Idempotency-Replayed"] = "true"
        return kept.status, kept.body
    return (status, orjson.dumps(payload, as_json)) if retry.answer is None else retry.answer
