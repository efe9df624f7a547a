"""Whether a hub serves TLS itself, of which its server.json does not tell."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit


def https_url(url: str, timeout: float = 2.0) -> str | None:
    """The https URL for this one, if what listens there now speaks TLS. Waits up to `timeout` seconds, twice."""
    try:
        parts = urlsplit(url)
        if parts.scheme != "http" or not _speaks_tls((parts.hostname or "", parts.port or 0), timeout):
            return None
    except (OSError, ValueError, OverflowError):
        return None
    return f"https{url.removeprefix('http')}"


def what_to_do(url: str) -> str:
    """How people reach it."""
    return f"name it with `--url {url}` and its `--token`; SSL_CERT_FILE names an authority of your own"


def _speaks_tls(place: tuple[str, int], timeout: float) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is told to it
    with socket.create_connection(place, timeout) as plain:
        try:
            context.wrap_socket(plain).close()
        except ssl.SSLError as error:
            return "ALERT" in (error.reason or "")  # it refuses us, in TLS
    return True
