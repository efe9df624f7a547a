"""Calls and streams over TLS 1.3, through a real nginx."""

from __future__ import annotations

import shutil
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agentlip.client import HubClient, HubUnreachable

from ..examples.proxy import NGINX, Proxy
from ..running_hub import TOKEN, Hub

pytestmark = pytest.mark.skipif(NGINX is None or shutil.which("openssl") is None, reason="no nginx, or no openssl")


@pytest.mark.slow
def test_connections_over_tls(start_hub: Callable[..., Hub], tmp_path: Path) -> None:
    """Two hundred streams one after the other, and none stands still; untrusted it is refused."""
    hub = start_hub()
    hub.make_topic()
    folder = tmp_path / "proxy"
    folder.mkdir()
    context = ssl.create_default_context(cafile=None)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with Proxy(folder, hub.port).running() as proxy:
        context.load_verify_locations(folder / "fullchain.pem")
        client = HubClient(proxy.sites["sub-path"].url, TOKEN, ssl_context=context, timeout=5)
        slowest, losses = 0.0, []
        for _ in range(200):
            began = time.monotonic()
            with client.stream(on_disconnect=lambda reason, _: losses.append(reason)) as events:
                assert [next(events).event_id for _ in range(2)] == [1, 2]
            slowest = max(slowest, time.monotonic() - began)
        assert losses == []
        assert slowest < 4
        assert client.create_channel("over-tls").event_id == 3
        client.close()
        stranger = HubClient(client.url, TOKEN)
        with pytest.raises(HubUnreachable, match="No trusted TLS connection"):
            stranger.create_channel("x")
        stream = stranger.stream(on_disconnect=lambda reason, _: losses.append(reason) or stream.close())  # type: ignore[func-returns-value]
        assert list(stream) == []
        assert losses[0].startswith("no trusted TLS connection to https://")
