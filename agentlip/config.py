"""All settings of the hub: one table, one frozen value.

Nobody else reads the environment or `app.config`.  The table feeds `Settings.load`, the list in
docs/settings.md and the test that compares the two.  A value set in `app.config` wins over the
environment, which wins over the default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "DB",
        ".agentlip/db.sqlite3",
        values.path,
        "The SQLite file. Its folder also holds the token and server.json. Unset: that of the nearest workspace, "
        "from the working folder upwards, or a new one there.",
    ),
    Setting(
        "AUTH_TOKEN",
        None,
        values.optional_token,
        "The token clients must show, at least 16 characters. Unset: made once and kept in `auth_token` beside the "
        "database. Empty: no token is configured, and the hub answers 503 `NO_AUTH_CONFIGURED`.",
    ),
    Setting(
        "HOST",
        "127.0.0.1",
        values.text,
        "The address to listen on. One that other machines can reach needs `AGENTLIP_ALLOW_NETWORK`.",
        of_server=True,
    ),
    Setting(
        "PORT",
        8787,
        values.whole(0, 65535),
        "The port to listen on; 0 takes a free one (see server.json). Unset: 8787, or a free one when that is taken.",
        of_server=True,
    ),
    Setting(
        "BIND",
        None,
        values.unix_socket,
        "A UNIX socket to listen on instead of an address and a port: `unix:/run/agentlip/hub.sock`.",
        of_server=True,
    ),
    Setting(
        "ALLOW_NETWORK",
        "off",
        values.switch,
        "`on`: the hub may listen on addresses that other machines can reach. It speaks plain HTTP.",
        of_server=True,
    ),
    Setting("WORKERS", 1, values.whole(1, 256), "Worker processes.", of_server=True),
    Setting("PUBLIC_READS", "off", values.switch, "`on`: GET calls need no token, as on other v1 hubs."),
    Setting("MAX_CONNECTIONS", 1000, values.whole(1, 1_000_000), "WebSockets per worker; above it the answer is 503."),
    Setting("QUEUE_EVENTS", 1000, values.whole(1, 1_000_000), "Events that may wait for one slow WebSocket."),
    Setting("QUEUE_BYTES", 4 << 20, values.whole(1024, 1 << 30), "Bytes that may wait for one slow WebSocket."),
    Setting(
        "SYNCHRONOUS",
        "FULL",
        values.choice("FULL", "NORMAL"),
        "`FULL`: an answer means on disk. `NORMAL`: survives a killed process, not a power cut.",
    ),
    Setting("WRITE_TIMEOUT", 5, values.seconds, "Seconds a write waits for the database before it is answered 503."),
    Setting(
        "SEND_TIMEOUT",
        30,
        values.seconds,
        "Seconds a client may go without taking a byte. A WebSocket is then closed with 1008, any other "
        "connection is dropped.",
    ),
    Setting(
        "BODY_TIMEOUT", 10, values.seconds, "Seconds the body of a call has to arrive, plus one for each 16 KB of it."
    ),
    Setting("HELLO_TIMEOUT", 10, values.seconds, "Seconds a new WebSocket has to say hello."),
    Setting("PING_INTERVAL", 25, values.seconds, "Seconds between pings; a peer silent for two intervals is dropped."),
    Setting("RATE_LIMITS", "on", values.switch, "`off` switches all rate limits off."),
    Setting("RATE_LIMIT_PER_CLIENT", 100, values.whole(1, 10_000_000), "Calls per second that one client may keep up."),
    Setting(
        "RATE_LIMIT_BURST",
        None,
        values.optional_whole(1, 10_000_000),
        "Calls that a client may make at once before that rate applies. Unset: 1,000, or the rate if it is higher; for "
        "rates below 100, the rate itself.",
    ),
    Setting("RATE_LIMIT_GLOBAL", 1000, values.whole(1, 10_000_000), "Calls per second of all clients, per worker."),
    Setting(
        "ALLOWED_ORIGINS", "", values.origins, "Browser origins, besides the hub's own, that may open a WebSocket."
    ),
    Setting(
        "ALLOWED_HOSTS",
        None,
        values.optional_hosts,
        "Host names, besides loopback ones and `AGENTLIP_HOST`, that the hub answers to; `*.example.org` is all below "
        "it, `*` is all. Unset in an application of your own: all.",
    ),
    Setting(
        "TRUSTED_PROXIES",
        None,
        values.optional_proxies,
        "The reverse proxies in front of the hub, as a count or as addresses and networks: their `X-Forwarded-For` "
        "gives the client's address. Unset: none is trusted.",
        of_server=True,
    ),
    Setting(
        "URL_ALLOW",
        "",
        values.patterns,
        "Regular expressions, separated by white space; when set, only matching URLs become attachments.",
    ),
    Setting(
        "URL_BLOCK",
        "",
        values.patterns,
        "Regular expressions, separated by white space; matching URLs never become attachments.",
    ),
    Setting(
        "IDLE_SHUTDOWN",
        None,
        values.optional_seconds,
        "Seconds without a call and without a WebSocket after which the standalone hub stops. Unset: never.",
        of_server=True,
    ),
    Setting("UI", "on", values.switch, "`off`: there is no web page at `/ui`."),
    Setting(
        "LOGIN_URL",
        None,
        values.optional_url,
        "Where the web page sends people who are not signed in to a host application that has an `authorize`.",
    ),
    Setting(
        "LOG_LEVEL",
        "info",
        values.choice("debug", "info", "warning", "error", "critical"),
        "What is logged.",
        of_server=True,
    ),
    Setting(
        "INSTANCE_ID",
        None,
        values.optional_word,
        "The hub's instance id. Unset: made at start; gunicorn.conf.py sets it so that all workers share one.",
    ),
)


def is_given(environ: Mapping[str, str], name: str) -> bool:
    """Whether the environment has a value for a setting; an empty one counts for AUTH_TOKEN alone."""
    value = environ.get(PREFIX + name)
    return value is not None and (bool(value) or name == "AUTH_TOKEN") and not _SERVICE_LINK.fullmatch(value)


def service_links(environ: Mapping[str, str]) -> list[str]:
    """The variables that have the name of a setting, but tell of a Kubernetes service, and are ignored."""
    names = [PREFIX + setting.name for setting in SETTINGS]
    return [name for name in names if _SERVICE_LINK.fullmatch(environ.get(name, ""))]


@dataclass(frozen=True, slots=True)
class Settings:
    """The parsed settings; field names are the table's names in lower case."""

    db: Path
    auth_token: str | None = field(repr=False)
    host: str
    port: int
    bind: str | None
    allow_network: bool
    workers: int
    public_reads: bool
    max_connections: int
    queue_events: int
    queue_bytes: int
    synchronous: str
    write_timeout: float
    send_timeout: float
    body_timeout: float
    hello_timeout: float
    ping_interval: float
    rate_limits: bool
    rate_limit_per_client: int
    rate_limit_burst: int | None
    rate_limit_global: int
    allowed_origins: tuple[str, ...]
    allowed_hosts: tuple[str, ...] | None
    trusted_proxies: int | values.Networks | None
    url_allow: tuple[re.Pattern[str], ...]
    url_block: tuple[re.Pattern[str], ...]
    idle_shutdown: float | None
    ui: bool
    login_url: str | None
    log_level: str
    instance_id: str | None

    @classmethod
    def load(
        cls, environ: Mapping[str, str], config: Mapping[str, Any] | None = None, *, embedded: bool = False
    ) -> Settings:
        """Parse the settings; raise ConfigError with one line naming the first bad one.

        An `embedded` hub has the defaults of those that are for the server.
        """
        values = {}
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
                values[setting.name.lower()] = setting.parse(raw)
            except ValueError as error:
                shown = "" if setting.name == "AUTH_TOKEN" else f", not {str(raw)[:60]!r}"
                raise ConfigError(f"{key} {error}{shown}") from None
        return cls(**values)
