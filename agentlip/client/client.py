"""A hub as an object: how it is found and reached, and `stream` for its event log."""

from __future__ import annotations

import random
import secrets
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from urllib3.exceptions import ReadTimeoutError

from ..errors import (
    AgentlipError,
    Forbidden,
    InvalidAuth,
    MissingAuth,
    RateLimited,
    ServiceUnavailable,
    ShuttingDown,
)
from ..model import Event, Message, MessageCreated, Topic
from .address import Address, Discovery, named_in_environment
from .calls import ids
from .errors import HubUnreachable, NoAnswer, OutcomeUnknown
from .giving_up import sleep
from .http import Http
from .names import Names
from .starting import start_hub
from .stream import Stream

# How long a change whose outcome is unknown is sent again: about what the restart of a hub takes.
_AGAIN_SECONDS = 5.0
_FIRST_PAUSE = 0.05
# Method, path, query, body and key of a call.
Asked = tuple[str, str, list[tuple[str, Any]], dict[str, Any] | None, str | None]


class Answers:
    """The messages of others than `sender` among the events that are taken in."""

    def __init__(self, sender: str) -> None:
        self._sender = sender
        self.found: list[Message] = []

    def take(self, event: Event) -> bool:
        """Whether this one is an answer."""
        payload = event.payload
        if not isinstance(payload, MessageCreated) or payload.message.sender == self._sender:
            return False
        self.found.append(payload.message)
        return True


class HubClient(Names):
    """May be used by many threads or greenlets at once. A call blocks until it is answered, or nothing came for
    `timeout` seconds; one that the hub refuses for its rate limit is made again, after waits of up to
    `rate_limit_wait` seconds in all.

    Calls raise the hub's errors (`agentlip.errors`), and HubUnreachable when there is no hub. A change that broke off
    is sent again under its key, for some seconds; OutcomeUnknown says that nobody could tell what became of it.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        rate_limit_wait: float = 30.0,
    ) -> None:
        """`url` may have a path, as behind a proxy. Nothing is asked of the hub yet. Raises ConfigError."""
        self._address = Address.checked(url, token)
        self._discovery: Discovery | None = None
        self._timeout = timeout
        self._rate_limit_wait = rate_limit_wait
        self._ssl_context = ssl_context
        self._http = Http(timeout, ssl_context)

    @classmethod
    def discover(
        cls, start: Path | str | None = None, *, timeout: float = 10.0, rate_limit_wait: float = 30.0
    ) -> HubClient:
        """The hub of the workspace around `start`; without it that of AGENTLIP_URL, else that of AGENTLIP_DB, else that
        around the working folder.

        Raises HubUnreachable or ConfigError. The client of a workspace looks again when the hub is gone or refuses the
        token, so it survives the hub's restarts.
        """
        named = named_in_environment() if start is None else None
        if named is not None:
            return cls(named.url, named.token, timeout=timeout, rate_limit_wait=rate_limit_wait)
        client = cls("http://127.0.0.1", timeout=timeout, rate_limit_wait=rate_limit_wait)
        client._discovery = Discovery(None if start is None else Path(start).expanduser().absolute(), client._health_at)
        try:
            client._address = client._discovery.locate()
        except BaseException:
            client.close()
            raise
        return client

    @classmethod
    def connect_or_start(
        cls,
        start: Path | str | None = None,
        *,
        timeout: float = 10.0,
        rate_limit_wait: float = 30.0,
        start_timeout: float = 60.0,
    ) -> HubClient:
        """As `discover`; where no hub runs in the workspace, `agentlip up` starts one, which outlives this program.

        Where there is no workspace either one is made, in `start` or the working folder. Of several at once one
        starts the hub, and all get it. A hub that AGENTLIP_URL names is never started. Blocks for up to
        `start_timeout` seconds; raises HubUnreachable with what the hub said when it cannot run.
        """
        options: dict[str, Any] = {"timeout": timeout, "rate_limit_wait": rate_limit_wait}
        try:
            return cls.discover(start, **options)
        except HubUnreachable:
            return start_hub(start, lambda: cls.discover(start, **options), start_timeout)

    def __repr__(self) -> str:
        return f"HubClient({self.url!r})"

    def __enter__(self) -> HubClient:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, those in use after their calls. Streams are closed by themselves."""
        self._http.close()

    @property
    def url(self) -> str:
        """Where the hub is, or was when it was last looked for."""
        return self._address.url

    def stream(
        self,
        after: int | None = 0,
        *,
        channels: Iterable[str] | None = None,
        topics: Iterable[str] | None = None,
        db_id: str | None = None,
        on_new_log: Literal["raise", "restart"] = "raise",
        on_connect: Callable[[dict[str, Any]], None] | None = None,
        on_disconnect: Callable[[str, float], None] | None = None,
    ) -> Stream:
        """The events after an id (None: from now on), and those to come, forever; see Stream.

        Without `channels` and `topics` all events; else those that touch one of them. `db_id` is the log that `after`
        is an id of, as a former stream told. `on_connect` gets the hub's hello_ok, `on_disconnect` the reason and the
        seconds until the next attempt; both are called where the stream is iterated.
        """
        wanted = None
        if channels is not None or topics is not None:
            wanted = {"channels": ids("channels", channels), "topics": ids("topics", topics)}
        return Stream(
            self._locate, after, wanted, db_id, on_new_log == "restart", on_connect, on_disconnect,
            timeout=self._timeout, ssl_context=self._ssl_context,
        )  # fmt: skip

    def wait_for(
        self,
        predicate: Callable[[Event], object],
        timeout: float | None = None,
        *,
        after: int | None = None,
        channels: Iterable[str] | None = None,
        topics: Iterable[str] | None = None,
    ) -> Event:
        """The first event after the id `after` (None: from now on) for which `predicate` is true.

        Raises TimeoutError when none came within `timeout` seconds, and what a stream raises.
        """
        with self.stream(after, channels=channels, topics=topics) as events:
            return events.wait_for(predicate, timeout)

    def ask(self, topic: str | Topic, text: str, timeout: float | None = None, *, sender: str = "me") -> Message:
        """Post to a topic (or its id, or `channel/title`), and wait for the next message of somebody else there.

        Raises NoAnswer, a TimeoutError, when there was none within `timeout` seconds; what was asked stays posted.
        """
        topic_id = self._topic_id(topic)
        asked = self.post_message(topic_id, sender, text)
        answers = Answers(sender)
        try:
            self.wait_for(answers.take, timeout, after=asked.event_id, topics=[topic_id])
        except TimeoutError:
            raise NoAnswer(asked) from None
        return answers.found[0]

    def _call(
        self, method: str, path: str, query: Iterable[tuple[str, Any]] = (), body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        key = None if method == "GET" else secrets.token_hex(16)  # a change has one, so that it can be sent again
        asked, patience = (method, path, list(query), body, key), self._rate_limit_wait
        while True:
            try:
                return self._call_once(asked)
            except RateLimited as error:  # nothing has been done, so a change may be sent again, too
                pause = error.retry_after * random.uniform(1.0, 1.2)  # so that not all come back at once
                if pause > patience:
                    raise
                patience -= pause
                sleep(pause)

    def _call_once(self, asked: Asked) -> dict[str, Any]:
        try:
            return self._send(asked)
        except OutcomeUnknown:
            raise
        except (HubUnreachable, InvalidAuth):
            # Nothing has been done, so it may be tried where the hub is now.
            before = self._address
            if self._discovery is None or self._locate() == before:
                raise
        return self._send(asked)

    def _send(self, asked: Asked) -> dict[str, Any]:
        address, began = self._address, time.monotonic()
        took_keys = self._http.takes_keys(address.url)
        try:
            return self._http.call(address, *asked)
        except OutcomeUnknown as unknown:
            if asked[-1] is None or not (took_keys or self._took_keys(address, began, unknown)):
                raise
            return self._send_again(address, asked, unknown)

    def _took_keys(self, address: Address, began: float, unknown: OutcomeUnknown) -> bool:
        """Whether the hub took keys when the call began: it says so now, and has run since then."""
        if isinstance(unknown.__cause__, (TimeoutError, ReadTimeoutError)):
            return False  # it would be silent now, too
        try:
            uptime = self._health_at(address).get("uptime_seconds")
        except AgentlipError:
            return False
        has_run = isinstance(uptime, int) and uptime + 1 > time.monotonic() - began  # it tells whole seconds
        return has_run and self._http.takes_keys(address.url)

    def _send_again(self, first: Address, asked: Asked, unknown: OutcomeUnknown) -> dict[str, Any]:
        """Send a change again, under the same key, until a hub that knows keys tells what became of it.

        Gives up after a few seconds, and where the hub has another token now, to which the key would be a new one.
        """
        until, pause = time.monotonic() + _AGAIN_SECONDS, _FIRST_PAUSE
        while True:
            try:
                address = self._locate()
                self._health_at(address)
                if address.token != first.token or not self._http.takes_keys(address.url):
                    raise unknown
                return self._http.call(address, *asked)
            except (MissingAuth, Forbidden) as error:
                raise unknown from error
            except (HubUnreachable, RateLimited, ServiceUnavailable, ShuttingDown) as error:
                if error is unknown or time.monotonic() + pause > until:
                    raise unknown from unknown.__cause__
            sleep(pause)
            pause *= 2

    def _locate(self) -> Address:
        if self._discovery is not None:
            self._address = self._discovery.locate()
        return self._address

    def _health_at(self, address: Address) -> dict[str, Any]:
        return self._http.call(address, "GET", "/health")
