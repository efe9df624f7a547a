"""One request on its way through the API, and what an endpoint is."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Request
from msgspec import Struct
from werkzeug.datastructures import MultiDict

from ...commands.commands import Commands
from ...errors import AgentlipError
from ...model import AgentResult, AttachmentResult, ChannelResult, MessageResult, NewAgent, Ping, TopicResult
from ...store.retries import Retry
from ..access import limits
from ..state import HubState

# 65,536 bytes of content grow at most sixfold when escaped; the rest is room for the other fields.
BODY_BYTES = 512 * 1024
Written = TypeVar("Written", ChannelResult, TopicResult, MessageResult, AttachmentResult, NewAgent, AgentResult)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Call:
    """One request on its way through the API. `event_ids` is what it appended, for the log."""

    def __init__(self, state: HubState, request: Request) -> None:
        self.state = state
        self.started = time.perf_counter()
        self.request = request
        self.environ = request.environ
        self.method: str = self.environ["REQUEST_METHOD"]
        self.path = request.path
        self.request_id = request_id_of(self.environ)
        self.headers: dict[str, str] = {}
        self.body_received = False
        self.body = b""  # as it came
        self.retry: Retry | None = None  # of a change that comes with a key
        self.was_replayed = False
        self.event_ids: list[int] = []
        self.caller: limits.Caller | None = None  # once it is let in

    @property
    def args(self) -> MultiDict[str, str]:
        """The parameters of the query string."""
        return self.request.args

    @property
    def commands(self) -> Commands:
        """What may be asked of the hub, for whoever calls."""
        identity = None if self.caller is None else self.caller.identity
        return self.state.commands if identity is None else self.state.commands.of(identity)

    def written(self, status: int, result: Written) -> tuple[int, Written]:
        """The answer of a change: the result, of which `event_id` is noted for the log."""
        if result.event_id is not None:
            self.event_ids.append(result.event_id)
        return status, result


Handler = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method of a URL: its handler and who may call it.

    The handler is called `(call, asked, **path parameters)`, without `asked` where neither a request nor a query is
    declared, and returns a status and what is answered as JSON, a `result`. `access` is `open` (nobody is asked,
    nothing is counted), `anyone`, `read`, `write`, `admin`, `page` (people who look at the web page) or `token`
    (whoever shows one, whatever it may do); `max_body` is in bytes.
    """

    method: str
    path: str
    handler: Handler
    access: str
    max_body: int = BODY_BYTES
    body_optional: bool = False
    request: Any = None  # a Request, or a union of some that are told apart by their tag
    query: type[Struct] | None = None
    result: Any = None  # a type, or a union of some; the description says that it is an object where there is none
    statuses: tuple[int, ...] = (200,)
    streams: bool = False  # the handler gives the response itself: a stream of events
    errors: tuple[type[AgentlipError], ...] = ()  # beside those that its access, its URL and its body bring

    @property
    def takes_key(self) -> bool:
        """Whether it changes something, so that a call may have an Idempotency-Key."""
        is_change = self.method in ("POST", "PATCH", "DELETE") and self.access not in ("open", "anyone")
        return is_change and self.request is not Ping

    def status_of(self, result: Any) -> int:
        """The first status; where there are more the last one is for what has changed nothing."""
        return self.statuses[-1 if getattr(result, "event_id", 0) is None else 0]


def request_id_of(environ: Mapping[str, Any]) -> str:
    """The one that the request brings when it is sane, else a new one."""
    given: str = environ.get("HTTP_X_REQUEST_ID", "")
    return given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
