"""What may be asked of a hub, with every check of the input: for host code, and for the HTTP API above it.

All methods may be called from any thread or greenlet, inside or outside Flask's contexts, and in any process that
has the application. Changes block until they are committed, at most about the write timeout; reads are inline and
short. Mistakes raise the classes of `agentlip.errors`: InvalidInput, NotFound, VersionConflict and so on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, get_type_hints

import msgspec
import orjson

from ..store.decoding import as_json
from ..store.retries import Replayed, Retry, under
from .agents import Agents
from .attachments import Attachments
from .channels import Channels
from .log import Log
from .messages import Messages
from .topics import Topics

_HOST = "code of the host"
P = ParamSpec("P")
R = TypeVar("R")


class Commands(Channels, Topics, Messages, Attachments, Log, Agents):
    """All nouns as one object."""

    def once(self, key: str, change: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `change`, one of the methods here, unless that was done under this key within a day.

        Then the result is that of the first time, and nothing changes, in any process. Raises IdempotencyMismatch
        when the key was used for something else. HTTP calls have keys of their own.
        """
        asked = orjson.dumps([args, kwargs], repr, orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
        retry = Retry(_HOST, key, (change.__name__, asked), _encoded)
        try:
            with under(retry):
                return change(*args, **kwargs)
        except Replayed as kept:
            result: R = msgspec.convert(orjson.loads(kept.body), get_type_hints(change)["return"])
            return result


def _encoded(result: Any) -> tuple[int, bytes]:
    return 200, orjson.dumps(result, as_json)
