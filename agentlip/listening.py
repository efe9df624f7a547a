"""Where a hub listens: an address and a port, or a UNIX socket. Everything here is done once, at its start."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from typing import Any

from .config import Settings
from .errors import ConfigError


def bind_address(settings: Settings) -> str:
    """As gunicorn wants it."""
    if settings.bind is not None:
        return settings.bind
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


def check_network(settings: Settings, host: str) -> None:
    """Raise ConfigError when other machines can reach the address, and nobody has allowed it. May ask the resolver."""
    if not settings.allow_network and not _is_loopback(host):
        raise ConfigError(
            f"a hub on {host} can be reached by other machines: set AGENTLIP_ALLOW_NETWORK=on if that is intended "
            "(it speaks plain HTTP)"
        )


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return True  # no address at all: nobody can listen on it
    addresses = [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found]
    return all((getattr(address, "ipv4_mapped", None) or address).is_loopback for address in addresses)


def probe(host: str, port: int) -> None:
    """Raise ConfigError unless a hub could listen there now."""
    try:
        _bound(host, port).close()
    except (OSError, UnicodeError) as error:
        raise _unusable(host, port, error) from None


def listen_somewhere(host: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens on the port, or on a free one when that is taken. Raises ConfigError."""
    try:
        try:
            return _listening(host, port, backlog)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return _listening(host, 0, backlog)
    except (OSError, UnicodeError) as error:
        raise _unusable(host, port, error) from None


def _listening(host: str, port: int, backlog: int) -> socket.socket:
    made = _bound(host, port)
    try:
        made.listen(backlog)  # until then another process may bind the same port
    except OSError:
        made.close()
        raise
    return made


def _bound(host: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made


def _unusable(host: str, port: int, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or "no such address"
    return ConfigError(f"cannot listen on {host}, port {port}: {reason}")


def place_of(settings: Settings, address: Any) -> dict[str, Any]:
    """What server.json says of the address that is listened on, as `getsockname` gives it."""
    if isinstance(address, str):
        return {"port": 0, "host": settings.host, "socket": os.path.abspath(address)}
    return {"port": address[1], "host": address[0]}
