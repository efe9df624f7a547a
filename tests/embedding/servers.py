"""The host application in real processes, under each server that Flask applications run on."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests
import trustme

from .. import described
from ..running_hub import ROOT, TOKEN, eventually

_PYWSGI = """
from gevent import monkey; monkey.patch_all()
import signal, sys
from gevent.pywsgi import WSGIServer
from tests.embedding.host_app import create_app
tls = dict(zip(("certfile", "keyfile"), sys.argv[2:]))
server = WSGIServer(("127.0.0.1", int(sys.argv[1])), create_app(), log=sys.stderr, **tls)
signal.signal(signal.SIGTERM, lambda *_: server.stop(timeout=2))
server.serve_forever()
"""
_HOST = "tests.embedding.host_app:create_app()"
SERVERS = {
    "gevent": ["-m", "gunicorn", "-k", "gevent", "-b", "127.0.0.1:{port}", _HOST],
    "gthread": ["-m", "gunicorn", "-k", "gthread", "--threads", "20", "-b", "127.0.0.1:{port}", _HOST],
    "pywsgi": ["-c", _PYWSGI, "{port}"],
    "werkzeug": ["-m", "flask", "--app", _HOST, "run", "--port", "{port}"],
}
THREE_THREADS = "gthread with three threads"
# These handle one request at a time.
SINGLE = {
    "sync": ["-m", "gunicorn", "-k", "sync", "-b", "127.0.0.1:{port}", _HOST],
    "gthread with one thread": ["-m", "gunicorn", "-k", "gthread", "-b", "127.0.0.1:{port}", _HOST],
    "werkzeug without threads": [*SERVERS["werkzeug"], "--without-threads"],
}
FEW = {THREE_THREADS: ["-m", "gunicorn", "-k", "gthread", "--threads", "3", "-b", "127.0.0.1:{port}", _HOST]}
# With these the server has a certificate of its own.
TLS = {
    "gevent": ["--certfile", "{certificate}", "--keyfile", "{key}"],
    "gthread": ["--certfile", "{certificate}", "--keyfile", "{key}"],
    "pywsgi": ["{certificate}", "{key}"],
    "werkzeug": ["--cert", "{certificate}", "--key", "{key}"],
}


class Certificate:
    """A certificate for 127.0.0.1, and the authority that clients must know; all in files of the folder."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        self.file, self.key, self.authority = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
        self.file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(self.key))
        authority.cert_pem.write_to_path(str(self.authority))

    def trusting(self) -> ssl.SSLContext:
        """What a client needs."""
        return ssl.create_default_context(cafile=str(self.authority))


class Host:
    """The running application, with TLS if it gets a certificate; use it as a context manager."""

    def __init__(self, server: str, folder: Path, certificate: Certificate | None = None, **environment: str) -> None:
        self.server = server
        self.folder = folder
        self.certificate = certificate
        self._environment = environment
        self._log = folder / "host.log"

    def __enter__(self) -> Host:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self.url = f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"
        env = {key: value for key, value in os.environ.items() if not key.startswith(("AGENTLIP_", "HOST_"))}
        env |= {
            "AGENTLIP_DB": str(self.db),
            "AGENTLIP_AUTH_TOKEN": TOKEN,
            "AGENTLIP_RATE_LIMITS": "off",
            **self._environment,
        }
        command = (SERVERS | SINGLE | FEW)[self.server]
        names: dict[str, Any] = {"port": self.port}
        if self.certificate:
            command = [*command, *TLS[self.server]]
            names |= {"certificate": self.certificate.file, "key": self.certificate.key}
        command = [part.format(**names) for part in command]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=env, stdout=log, stderr=log)
        eventually(self._answers, 30, "the host's page")
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log()
        try:
            return requests.get(self.url, timeout=5, verify=self._verify).text == "the host's page"
        except (requests.ConnectionError, requests.Timeout):
            return False

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def call(self, method: str, path: str, body: Any = None, token: str | None = TOKEN, **headers: str) -> Any:
        """One HTTP call; names of headers are given with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        answer = requests.request(method, self.url + path, json=body, headers=sent, timeout=20, verify=self._verify)
        described.check(answer)
        return answer

    @property
    def _verify(self) -> str | bool:
        return str(self.certificate.authority) if self.certificate else True

    @property
    def db(self) -> Path:
        return self.folder / "hub.sqlite3"

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws")
