"""Whose word the address of a client is: without the setting only the connection's, with it the proxies'."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix

from ...setting_values import Networks


class TrustedProxies:
    """WSGI middleware: `X-Forwarded-For` and `-Proto` count as far as trusted proxies have written them.

    `trusted` is how many proxies there always are before the hub, or the networks they call from: then nothing that
    another peer says of itself changes anything.
    """

    def __init__(self, app: Any, trusted: int | Networks) -> None:
        self._app = app
        self._trusted = trusted

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        hops = self._trusted if isinstance(self._trusted, int) else self._hops(environ, self._trusted)
        app = ProxyFix(self._app, x_for=hops, x_proto=1) if hops else self._app
        answer: Iterable[bytes] = app(environ, start_response)
        return answer

    @staticmethod
    def _hops(environ: dict[str, Any], networks: Networks) -> int:
        """How many of the addresses, from the last one on, were written by trusted proxies."""
        if not _is_in(environ.get("REMOTE_ADDR", ""), networks):
            return 0
        addresses = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
        hops = 1
        while hops < len(addresses) and _is_in(addresses[-hops].strip(), networks):
            hops += 1
        return hops


def _is_in(address: str, networks: Networks) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)
