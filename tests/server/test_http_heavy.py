"""Calls that make much work: whoever else calls is answered soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests

from ..running_hub import Hub
from ..side_by_side import in_threads
from .calls import API, new_topic


@contextmanager
def longest_health(hub: Hub) -> Iterator[Callable[[], float]]:
    """Ask /health all the time; gives how long the slowest answer took."""
    slowest, done = [0.0], threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            while not done.is_set():
                started = time.monotonic()
                assert session.get(f"{hub.url}/health", timeout=30).status_code == 200
                slowest[0] = max(slowest[0], time.monotonic() - started)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield lambda: slowest[0]
    finally:
        done.set()
        thread.join(30)


def test_posts_full_of_links_hold_up_nobody(hub: Hub) -> None:
    topic_id = new_topic(hub)

    def post(number: int) -> list[int]:
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {hub.settings['AUTH_TOKEN']}"
            links = "".join(f"http://a/{number}x{part} " for part in range(3000))[:65_536]
            body = {"topic_id": topic_id, "sender": "ann", "content_raw": links}
            return [session.post(f"{hub.url}{API}/messages", json=body, timeout=30).status_code for _ in range(10)]

    with longest_health(hub) as longest:
        codes = in_threads(10, post)
    assert codes == [[201] * 10] * 10
    assert longest() < 1  # 10 s when all links of a group were one turn of the loop
