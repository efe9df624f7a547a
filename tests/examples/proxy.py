"""A real nginx before a hub, with the files of examples/deploy: only addresses and paths are put in."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from websockets.sync.client import ClientConnection, connect

from ..running_hub import ROOT, TOKEN, eventually

DEPLOY = ROOT / "examples" / "deploy"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
READ_TIMEOUT = 2.0  # seconds; stands in for the 75 of nginx-ws.conf

# Where the files go, as README.md there says, relative to /etc/nginx.
PLACES = {
    "nginx-http.conf": "conf.d/agentlip.conf",
    "nginx-proxy.conf": "snippets/agentlip-proxy.conf",
    "nginx-ws.conf": "snippets/agentlip-ws.conf",
    "nginx-tls.conf": "snippets/agentlip-tls.conf",
    "nginx-root.conf": "sites-enabled/root.conf",
    "nginx-sub-path.conf": "sites-enabled/sub-path.conf",
}
_MAIN = """
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/log/error.log;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/tmp/body;
    proxy_temp_path {folder}/tmp/proxy;
    fastcgi_temp_path {folder}/tmp/fastcgi;
    uwsgi_temp_path {folder}/tmp/uwsgi;
    scgi_temp_path {folder}/tmp/scgi;
    access_log {folder}/log/access.log;
    include conf.d/*.conf;
    include sites-enabled/*.conf;
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def make_certificate(folder: Path) -> None:
    """A self-signed certificate for 127.0.0.1, made by the program `openssl`."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run([*command, *names, *files], check=True, capture_output=True, timeout=60)


class Site:
    """The hub as clients see it at one of the two servers: its address, and calls with the certificate checked."""

    def __init__(self, folder: Path, port: int, path: str) -> None:
        self.host = f"127.0.0.1:{port}"
        self.url = f"https://{self.host}{path}"
        self.ws_url = f"wss://{self.host}{path}/ws?token={TOKEN}"
        self.session = requests.Session()
        self.session.trust_env = False  # the environment may name other certificates
        self.session.verify = str(folder / "fullchain.pem")
        self._trust = ssl.create_default_context(cafile=str(folder / "fullchain.pem"))
        # This client reads in a thread of its own. With Python's ssl a first request that meets the session tickets
        # of TLS 1.3 there is lost, one in a hundred. `call` speaks 1.3.
        self._trust.maximum_version = ssl.TLSVersion.TLSv1_2

    def call(self, method: str, path: str, body: Any = None, token: str | None = TOKEN, **headers: str) -> Any:
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self.session.request(method, self.url + path, json=body, headers=headers, timeout=30)

    @contextlib.contextmanager
    def listen(
        self, after: int = 1 << 53, origin: str | None = None
    ) -> Iterator[tuple[ClientConnection, dict[str, Any]]]:
        """A WebSocket that has said hello, and its hello_ok; nothing is replayed unless `after` is given."""
        options: dict[str, Any] = {"compression": None, "ping_interval": None, "close_timeout": 3, "origin": origin}
        with connect(self.ws_url, ssl=self._trust, **options) as opened:
            opened.send(json.dumps({"type": "hello", "after_event_id": after}))
            yield opened, json.loads(opened.recv(timeout=10))


class Proxy:
    """One nginx with both servers of examples/deploy; everything it writes is in `folder`."""

    def __init__(self, folder: Path, hub_port: int) -> None:
        self.folder = folder
        self.ports = {"nginx-root.conf": free_port(), "nginx-sub-path.conf": free_port()}
        for name in ("log", "tmp", "conf.d", "snippets", "sites-enabled"):
            (folder / name).mkdir()
        make_certificate(folder)
        for name, place in PLACES.items():
            (folder / place).write_text(self._adapted(name, hub_port))
        user = "user root root;" if os.geteuid() == 0 else ""  # another user could not look into the folder
        (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user))
        self.sites = {
            "root": Site(folder, self.ports["nginx-root.conf"], ""),
            "sub-path": Site(folder, self.ports["nginx-sub-path.conf"], "/hub"),
        }

    def _adapted(self, name: str, hub_port: int) -> str:
        text = (DEPLOY / name).read_text()
        for old, new in {
            "127.0.0.1:8787": f"127.0.0.1:{hub_port}",
            "[::]:443": f"127.0.0.1:{free_port()}",
            "listen 443": f"listen 127.0.0.1:{self.ports.get(name)}",
            "/etc/ssl/agentlip": str(self.folder),
            "/var/log/nginx": f"{self.folder}/log",
            "proxy_read_timeout 75s": f"proxy_read_timeout {READ_TIMEOUT:g}s",
        }.items():
            text = text.replace(old, new)
        return text

    @contextlib.contextmanager
    def running(self) -> Iterator[Proxy]:
        """nginx as a child in the foreground, which accepts; it is gone afterwards."""
        assert NGINX is not None
        command = [NGINX, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "stderr"]
        with (self.folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(command, stderr=stderr)
        try:
            eventually(lambda: process.poll() is not None or self._accepts(), 10, "nginx")
            assert process.poll() is None, (self.folder / "stderr").read_text()
            yield self
        finally:
            process.terminate()
            process.wait(10)

    def _accepts(self) -> bool:
        with contextlib.suppress(OSError):
            for port in self.ports.values():
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        return False

    def access_log(self) -> str:
        return (self.folder / "log" / "agentlip.log").read_text()

    def everything_logged(self) -> str:
        """All of nginx's logs."""
        logs = [self.folder / "stderr", *(self.folder / "log").iterdir()]
        return "".join(path.read_text(errors="replace") for path in logs)
