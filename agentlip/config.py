"""All settings of the hub: one table, one frozen value.

Nobody else reads the environment or `app.config`.  The table feeds `Settings.load`, the list in
docs/settings.md and the test that compares the two.  A value set in `app.config` wins over the
environment, which wins over the default.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import regex

from .errors import ConfigError
from .workspace.finding import database_path
from .workspace.token import MIN_TOKEN_CHARS

PREFIX = "AGENTLIP_"
Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
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


def _text(value: Any) -> str:
    text = str(value).strip()
    if not text or not text.isprintable():
        raise ValueError("must be printable text")
    return text


def _optional_word(value: Any) -> str | None:
    """None stays None (not configured); the empty string is kept: it means "explicitly none"."""
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]*", value):
        raise ValueError("must be visible ASCII characters without spaces")
    return value


def _optional_token(value: Any) -> str | None:
    token = _optional_word(value)
    if token and len(token) < MIN_TOKEN_CHARS:
        raise ValueError(f"must be at least {MIN_TOKEN_CHARS} characters, or nothing")
    return token


def _optional_url(value: Any) -> str | None:
    if value is not None and not re.fullmatch(r"(?:/(?!/)|https?://)[\x21-\x7e]*", str(value)):
        raise ValueError("must be a path such as /login, or an http(s) URL")
    return None if value is None else str(value)


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        text = str(value).strip()
        if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _optional_whole(low: int, high: int) -> Callable[[Any], int | None]:
    parse = _whole(low, high)
    return lambda value: None if value is None else parse(value)


def _seconds(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = 0.0
    if isinstance(value, bool) or not 0.01 <= number <= 86400:
        raise ValueError("must be seconds, from 0.01 to 86400")
    return number


def _optional_seconds(value: Any) -> float | None:
    return None if value is None else _seconds(value)


def _switch(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in ("on", "true", "yes", "1"):
        return True
    if text in ("off", "false", "no", "0"):
        return False
    raise ValueError("must be on or off")


def _choice(*words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        for word in words:
            if str(value).strip().lower() == word.lower():
                return word
        raise ValueError(f"must be one of {', '.join(words)}")

    return parse


def _words(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(word for word in re.split(r"[\s,]+", value) if word)
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise ValueError("must be words separated by spaces or commas")


def _origins(value: Any) -> tuple[str, ...]:
    origins = tuple(word.lower().rstrip("/") for word in _words(value))
    for origin in origins:
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
            raise ValueError("must be origins such as https://hub.example:8443")
    return origins


def _patterns(value: Any) -> tuple[re.Pattern[str], ...]:
    """Split at white space only: a comma may be part of a pattern."""
    words = value.split() if isinstance(value, str) else _words(value)
    try:
        for word in words:
            regex.compile(word)  # which runs them: with a time limit
        return tuple(re.compile(word) for word in words)
    except (re.error, regex.error, OverflowError, RecursionError):
        raise ValueError("must be regular expressions separated by white space") from None


def _unix_socket(value: Any) -> str | None:
    if value is not None and not re.fullmatch(r"unix:[^\0\n]{1,107}", str(value).strip()):
        raise ValueError("must be the path of a UNIX socket, such as unix:/run/agentlip/hub.sock")
    return None if value is None else str(value).strip()


def _optional_hosts(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(word.lower().rstrip(".").strip("[]") for word in _words(value))
    for name in names:
        if not re.fullmatch(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*", name):
            raise ValueError("must be host names without scheme and port, such as hub.example or *.hub.example")
    return names


def _optional_proxies(value: Any) -> int | Networks | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10):
        return value
    words = _words(value)
    if len(words) == 1 and re.fullmatch(r"[1-9]|10", words[0]):
        return int(words[0])
    try:
        return tuple(ipaddress.ip_network(word, strict=False) for word in words) or None
    except ValueError:
        raise ValueError("must be a count from 1 to 10, or addresses and networks such as 10.0.0.0/8") from None


def _path(value: Any) -> Path:
    try:
        return Path(_text(value)).expanduser().absolute()
    except RuntimeError:
        raise ValueError("must be a path; its home folder is unknown") from None


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "DB",
        ".agentlip/db.sqlite3",
        _path,
        "The SQLite file. Its folder also holds the token and server.json. Unset: that of the nearest workspace, "
        "from the working folder upwards, or a new one there.",
    ),
    Setting(
        "AUTH_TOKEN",
        None,
        _optional_token,
        "The token clients must show, at least 16 characters. Unset: made once and kept in `auth_token` beside the "
        "database. Empty: no token is configured, and the hub answers 503 `NO_AUTH_CONFIGURED`.",
    ),
    Setting(
        "HOST",
        "127.0.0.1",
        _text,
        "The address to listen on. One that other machines can reach needs `AGENTLIP_ALLOW_NETWORK`.",
        of_server=True,
    ),
    Setting(
        "PORT",
        8787,
        _whole(0, 65535),
        "The port to listen on; 0 takes a free one (see server.json). Unset: 8787, or a free one when that is taken.",
        of_server=True,
    ),
    Setting(
        "BIND",
        None,
        _unix_socket,
        "A UNIX socket to listen on instead of an address and a port: `unix:/run/agentlip/hub.sock`.",
        of_server=True,
    ),
    Setting(
        "ALLOW_NETWORK",
        "off",
        _switch,
        "`on`: the hub may listen on addresses that other machines can reach. It speaks plain HTTP.",
        of_server=True,
    ),
    Setting("WORKERS", 1, _whole(1, 256), "Worker processes.", of_server=True),
    Setting("PUBLIC_READS", "off", _switch, "`on`: GET calls need no token, as on other v1 hubs."),
    Setting("MAX_CONNECTIONS", 1000, _whole(1, 1_000_000), "WebSockets per worker; above it the answer is 503."),
    Setting("QUEUE_EVENTS", 1000, _whole(1, 1_000_000), "Events that may wait for one slow WebSocket."),
    Setting("QUEUE_BYTES", 4 << 20, _whole(1024, 1 << 30), "Bytes that may wait for one slow WebSocket."),
    Setting(
        "SYNCHRONOUS",
        "FULL",
        _choice("FULL", "NORMAL"),
        "`FULL`: an answer means on disk. `NORMAL`: survives a killed process, not a power cut.",
    ),
    Setting("WRITE_TIMEOUT", 5, _seconds, "Seconds a write waits for the database before it is answered 503."),
    Setting(
        "SEND_TIMEOUT",
        30,
        _seconds,
        "Seconds a client may go without taking a byte. A WebSocket is then closed with 1008, any other "
        "connection is dropped.",
    ),
    Setting("BODY_TIMEOUT", 10, _seconds, "Seconds the body of a call has to arrive, plus one for each 16 KB of it."),
    Setting("HELLO_TIMEOUT", 10, _seconds, "Seconds a new WebSocket has to say hello."),
    Setting("PING_INTERVAL", 25, _seconds, "Seconds between pings; a peer silent for two intervals is dropped."),
    Setting("RATE_LIMITS", "on", _switch, "`off` switches all rate limits off."),
    Setting("RATE_LIMIT_PER_CLIENT", 100, _whole(1, 10_000_000), "Calls per second that one client may keep up."),
    Setting(
        "RATE_LIMIT_BURST",
        None,
        _optional_whole(1, 10_000_000),
        "Calls that a client may make at once before that rate applies. Unset: 1,000, or the rate if it is higher; for "
        "rates below 100, the rate itself.",
    ),
    Setting("RATE_LIMIT_GLOBAL", 1000, _whole(1, 10_000_000), "Calls per second of all clients, per worker."),
    Setting("ALLOWED_ORIGINS", "", _origins, "Browser origins, besides the hub's own, that may open a WebSocket."),
    Setting(
        "ALLOWED_HOSTS",
        None,
        _optional_hosts,
        "Host names, besides loopback ones and `AGENTLIP_HOST`, that the hub answers to; `*.example.org` is all below "
        "it, `*` is all. Unset in an application of your own: all.",
    ),
    Setting(
        "TRUSTED_PROXIES",
        None,
        _optional_proxies,
        "The reverse proxies in front of the hub, as a count or as addresses and networks: their `X-Forwarded-For` "
        "gives the client's address. Unset: none is trusted.",
        of_server=True,
    ),
    Setting(
        "URL_ALLOW",
        "",
        _patterns,
        "Regular expressions, separated by white space; when set, only matching URLs become attachments.",
    ),
    Setting(
        "URL_BLOCK",
        "",
        _patterns,
        "Regular expressions, separated by white space; matching URLs never become attachments.",
    ),
    Setting(
        "IDLE_SHUTDOWN",
        None,
        _optional_seconds,
        "Seconds without a call and without a WebSocket after which the standalone hub stops. Unset: never.",
        of_server=True,
    ),
    Setting("UI", "on", _switch, "`off`: there is no web page at `/ui`."),
    Setting(
        "LOGIN_URL",
        None,
        _optional_url,
        "Where the web page sends people who are not signed in to a host application that has an `authorize`.",
    ),
    Setting(
        "LOG_LEVEL",
        "info",
        _choice("debug", "info", "warning", "error", "critical"),
        "What is logged.",
        of_server=True,
    ),
    Setting(
        "INSTANCE_ID",
        None,
        _optional_word,
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
    trusted_proxies: int | Networks | None
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
