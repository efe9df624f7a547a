"""Where a hub is, and how the hub of a workspace is found."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ..errors import AgentlipError, ConfigError
from ..workspace.finding import FOLDER, find_root
from ..workspace.server_file import read_server_file
from .errors import SILENCE, HubUnreachable, silent

# A hub that listens everywhere is reached here.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Address:
    """A hub's URL, without a slash at its end, and the token to show there; the token is in no repr."""

    url: str
    token: str | None = field(default=None, repr=False)

    @classmethod
    def checked(cls, url: str, token: str | None) -> Address:
        """Raises ConfigError for what can be no URL or no token of a hub."""
        try:
            parts = urlsplit(url)
            usable = (
                parts.scheme in ("http", "https", "http+unix")
                and parts.hostname
                and (parts.port or 1)
                and "@" not in parts.netloc
            )
        except ValueError:
            usable = False
        if not usable or parts.query or parts.fragment or not re.fullmatch(r"[\x21-\x7e]+", url):
            raise ConfigError("a hub's URL looks like http://127.0.0.1:8787 or https://hub.example/prefix")
        if token is not None and not re.fullmatch(r"[\x21-\x7e]+", token):
            raise ConfigError("a token is visible ASCII characters without spaces")
        return cls(parts.scheme + url[len(parts.scheme) :].rstrip("/"), token)

    @property
    def websocket_url(self) -> str:
        if socket_in(self.url) is not None:
            return f"ws://localhost{urlsplit(self.url).path}/ws"
        return "ws" + self.url.removeprefix("http") + "/ws"


def socket_in(url: str) -> str | None:
    """The path of the UNIX socket that an http+unix URL names; None for any other URL."""
    parts = urlsplit(url)
    return unquote(parts.netloc) if parts.scheme == "http+unix" else None


def named_in_environment() -> Address | None:
    """The hub of AGENTLIP_URL, with the token of AGENTLIP_TOKEN, if there is one. Raises ConfigError."""
    url = os.environ.get("AGENTLIP_URL")
    return Address.checked(url, read_token(os.environ.get("AGENTLIP_TOKEN"))) if url else None


def read_token(given: str | None) -> str | None:
    """The token as given; `@FILE` stands for what the file holds, and nothing for no token. Raises ConfigError."""
    if not given or not given.startswith("@"):
        return given or None
    path = Path(given[1:]).expanduser()
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the token from {path}: {getattr(error, 'strerror', 'not ASCII')}") from None


def url_in(server: dict[str, Any]) -> str:
    """The URL of the hub that wrote this server.json; it may be gone."""
    if server.get("socket"):
        return f"http+unix://{quote(str(server['socket']), safe='')}"
    host = str(server.get("host") or "127.0.0.1")
    host = _EVERYWHERE.get(host, host)
    return f"http://[{host}]:{server.get('port')}" if ":" in host else f"http://{host}:{server.get('port')}"


class Discovery:
    """Finds the hub that serves a workspace, again whenever it is asked.

    The workspace is the one around `start`; when that is None, the one of AGENTLIP_DB or around the working folder.
    """

    def __init__(self, start: Path | None, health: Callable[[Address], dict[str, Any]]) -> None:
        configured = os.environ.get("AGENTLIP_DB") if start is None else None
        self._folder = None if not configured else Path(configured).expanduser().absolute().parent
        self._start = start or Path.cwd()
        self._health = health

    def locate(self) -> Address:
        """Read server.json, and ask its hub who it is before the token is shown to it. Raises HubUnreachable."""
        folder = self._folder
        if folder is None:
            root = find_root(self._start)
            if root is None:
                raise HubUnreachable(f"No workspace in {self._start} or above")
            folder = root / FOLDER
        place = folder.parent if folder.name == FOLDER else folder
        server = read_server_file(folder)
        if server is None:
            raise HubUnreachable(f"No hub is running in {place}; start one with `agentlip up`")
        try:
            token = server.get("auth_token")
            address = Address.checked(url_in(server), str(token) if token else None)
            health = self._health(Address(address.url))
        except (AgentlipError, ConfigError) as error:
            if isinstance(error, HubUnreachable) and error.details.get("hint") == SILENCE:
                raise silent(f"of {place}") from None
            from .tls import https_url, what_to_do  # which costs time that no other call needs

            https = https_url(url_in(server))
            if https is not None:
                raise HubUnreachable(f"The hub of {place} serves TLS", hint=what_to_do(https)) from None
            hint = "start it again with `agentlip up`"
            raise HubUnreachable(f"The hub of {place} has gone; its server.json is left over", hint=hint) from None
        if not server.get("instance_id") or health.get("instance_id") != server["instance_id"]:
            raise HubUnreachable(f"Another hub answers at the address in the server.json of {place}")
        return address
