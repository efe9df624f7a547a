"""All settings of the hub: one table, one frozen value.

Nobody else reads the environment or `app.config`.  The table feeds `Settings.load`, the list in
docs/settings.md and the test that compares the two.  A value set in `app.config` wins over the
environment, which wins over the default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from . import setting_values as values
from .errors import ConfigError
from .workspace.finding import database_path

PREFIX = "AGENTLIP_"
# What Kubernetes, and Docker's links, put into AGENTLIP_PORT of everybody beside a service named `agentlip`.
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://[^\s/]+:\d{1,5}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table: `AGENTLIP_<name>`, its default as written by a user, its parser.

    Those `of_server` are for the standalone hub alone: an embedded one does not read them.
    """

    name: str
    default: Any
    parse: Callable[[Any], Any]
    help: str
    of_server: bool = False


def _row(default: Any, parse: Callable[[Any], Any], help: str, of_server: bool = False, secret: bool = False) -> Any:
    row = {"default": default, "parse": parse, "help": help, "of_server": of_server}
    return field(metadata=row, repr=not secret)


@dataclass(frozen=True, slots=True)
class Settings:
    """The parsed settings. Each field is a row of the table: its name in capitals, and what `_row` is given."""

    db: Path = _row(
        ".agentlip/db.sqlite3",
        values.path,
        "The SQLite file. Its folder also holds the token and server.json. Unset: that of the nearest workspace, "
        "from the working folder upwards, or a new one there.",
    )
    auth_token: str | None = _row(
        None,
        values.optional_token,
        "The token clients must show, at least 16 characters. Unset: made once and kept in `auth_token` beside the "
        "database. Empty: no token is configured, and the hub answers 503 `NO_AUTH_CONFIGURED`.",
        secret=True,
    )
    host: str = _row(
        "127.0.0.1",
        values.text,
        "The address to listen on. One that other machines can reach needs `AGENTLIP_ALLOW_NETWORK`.",
        of_server=True,
    )
    port: int = _row(
        8787,
        values.whole(0, 65535),
        "The port to listen on; 0 takes a free one (see server.json). Unset: 8787, or a free one when that is taken.",
        of_server=True,
    )
    bind: str | None = _row(
        None,
        values.unix_socket,
        "A UNIX socket to listen on instead of an address and a port: `unix:/run/agentlip/hub.sock`.",
        of_server=True,
    )
    allow_network: bool = _row(
        "off",
        values.switch,
        "`on`: the hub may listen on addresses that other machines can reach. It speaks plain HTTP.",
        of_server=True,
    )
    workers: int = _row(1, values.whole(1, 256), "Worker processes.", of_server=True)
    public_reads: bool = _row("off", values.switch, "`on`: GET calls need no token, as on other v1 hubs.")
    max_connections: int = _row(
        1000,
        values.whole(1, 1_000_000),
        "WebSockets, streams and waiting calls per worker; above it: 503.",
    )
    queue_events: int = _row(1000, values.whole(1, 1_000_000), "Events that may wait for one slow WebSocket.")
    queue_bytes: int = _row(4 << 20, values.whole(1024, 1 << 30), "Bytes that may wait for one slow WebSocket.")
    synchronous: str = _row(
        "FULL",
        values.choice("FULL", "NORMAL"),
        "`FULL`: an answer means on disk. `NORMAL`: survives a killed process, not a power cut.",
    )
    write_timeout: float = _row(5, values.seconds, "Seconds a write waits for the database before it is answered 503.")
    send_timeout: float = _row(
        30,
        values.seconds,
        "Seconds a client may go without taking a byte. A WebSocket is then closed with 1008, any other "
        "connection is dropped.",
    )
    body_timeout: float = _row(
        10, values.seconds, "Seconds the body of a call has to arrive, plus one for each 16 KB of it."
    )
    hello_timeout: float = _row(10, values.seconds, "Seconds a new WebSocket has to say hello.")
    ping_interval: float = _row(
        25, values.seconds, "Seconds between pings; a peer silent for two intervals is dropped."
    )
    rate_limits: bool = _row("on", values.switch, "`off` switches all rate limits off.")
    rate_limit_per_client: int = _row(100, values.whole(1, 10_000_000), "Calls per second that one client may keep up.")
    rate_limit_burst: int | None = _row(
        None,
        values.optional_whole(1, 10_000_000),
        "Calls that a client may make at once before that rate applies. Unset: 1,000, or the rate if it is higher; for "
        "rates below 100, the rate itself.",
    )
    rate_limit_global: int = _row(1000, values.whole(1, 10_000_000), "Calls per second of all clients, per worker.")
    allowed_origins: tuple[str, ...] = _row(
        "", values.origins, "Browser origins, besides the hub's own, that may open a WebSocket."
    )
    allowed_hosts: tuple[str, ...] | None = _row(
        None,
        values.optional_hosts,
        "Host names, besides loopback ones and `AGENTLIP_HOST`, that the hub answers to; `*.example.org` is all below "
        "it, `*` is all. Unset in an application of your own: all.",
    )
    trusted_proxies: int | values.Networks | None = _row(
        None,
        values.optional_proxies,
        "The reverse proxies in front of the hub, as a count or as addresses and networks: their `X-Forwarded-For` "
        "gives the client's address. Unset: none is trusted.",
        of_server=True,
    )
    url_allow: tuple[re.Pattern[str], ...] = _row(
        "",
        values.patterns,
        "Regular expressions, separated by white space; when set, only matching URLs become attachments.",
    )
    url_block: tuple[re.Pattern[str], ...] = _row(
        "", values.patterns, "Regular expressions, separated by white space; matching URLs never become attachments."
    )
    idle_shutdown: float | None = _row(
        None,
        values.optional_seconds,
        "Seconds without a call and without a WebSocket after which the standalone hub stops. Unset: never.",
        of_server=True,
    )
    ui: bool = _row("on", values.switch, "`off`: there is no web page at `/ui`.")
    login_url: str | None = _row(
        None,
        values.optional_url,
        "Where the web page sends people who are not signed in to a host application that has an `authorize`.",
    )
    log_level: str = _row(
        "info", values.choice("debug", "info", "warning", "error", "critical"), "What is logged.", of_server=True
    )
    instance_id: str | None = _row(
        None,
        values.optional_word,
        "The hub's instance id. Unset: made at start; gunicorn.conf.py sets it so that all workers share one.",
    )

    @classmethod
    def load(
        cls, environ: Mapping[str, str], config: Mapping[str, Any] | None = None, *, embedded: bool = False
    ) -> Settings:
        """Parse the settings; raise ConfigError with one line naming the first bad one.

        An `embedded` hub has the defaults of those that are for the server.
        """
        parsed = {}
        for setting in SETTINGS:
            key = PREFIX + setting.name
            ignored = embedded and setting.of_server
            raw = setting.default
            if not ignored and is_given(environ, setting.name):
                raw = environ[key]
            if not ignored and config is not None and key in config:
                raw = setting.default if config[key] is None else config[key]
            if setting.name == "DB" and raw is setting.default:
                raw = database_path(Path.cwd())
            try:
                parsed[setting.name.lower()] = setting.parse(raw)
            except ValueError as error:
                shown = "" if setting.name == "AUTH_TOKEN" else f", not {str(raw)[:60]!r}"
                raise ConfigError(f"{key} {error}{shown}") from None
        return cls(**parsed)


SETTINGS = tuple(Setting(each.name.upper(), **each.metadata) for each in fields(Settings))


def is_given(environ: Mapping[str, str], name: str) -> bool:
    """Whether the environment has a value for a setting; an empty one counts for AUTH_TOKEN alone."""
    value = environ.get(PREFIX + name)
    return value is not None and (bool(value) or name == "AUTH_TOKEN") and not _SERVICE_LINK.fullmatch(value)


def service_links(environ: Mapping[str, str]) -> list[str]:
    """The variables that have the name of a setting, but tell of a Kubernetes service, and are ignored."""
    names = [PREFIX + setting.name for setting in SETTINGS]
    return [name for name in names if _SERVICE_LINK.fullmatch(environ.get(name, ""))]
