"""Rate limits: one token bucket per client address and one for all, per worker process."""

from __future__ import annotations

import math
import time
from collections import OrderedDict

from .. import concurrency
from ..errors import RateLimited

WINDOW_SECONDS = 1
MAX_CLIENTS = 10_000


class RateLimiter:
    """Buckets hold `rate` tokens and refill at `rate` per second; any thread or greenlet may call."""

    def __init__(self, per_client: int, overall: int) -> None:
        self._per_client = per_client
        self._overall = overall
        self._lock = concurrency.native_lock()
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, when counted
        self._all = (float(overall), time.monotonic())

    def take(self, client: str) -> dict[str, str]:
        """Count one call; the X-RateLimit headers of its answer. Raises RateLimited."""
        now = time.monotonic()
        with self._lock:
            tokens = self._refilled(self._clients.pop(client, (float(self._per_client), now)), self._per_client, now)
            overall = self._refilled(self._all, self._overall, now)
            allowed = tokens >= 1 and overall >= 1
            self._clients[client] = (tokens - 1 if allowed else tokens, now)
            self._all = (overall - 1 if allowed else overall, now)
            if len(self._clients) > MAX_CLIENTS:
                self._clients.popitem(last=False)  # the one unseen the longest; its bucket is full again
        if not allowed:
            rate, left = (self._per_client, tokens) if tokens < 1 else (self._overall, overall)
            wait = max(1, math.ceil((1 - left) / rate))
            raise RateLimited(limit=rate, window=WINDOW_SECONDS, retry_after=wait)
        return headers(self._per_client, tokens - 1)

    @staticmethod
    def _refilled(bucket: tuple[float, float], rate: int, now: float) -> float:
        tokens, counted = bucket
        return min(float(rate), tokens + (now - counted) * rate)


def headers(limit: int, left: float) -> dict[str, str]:
    """The three headers; Reset is the Unix second at which the bucket is full again."""
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(max(0, int(left))),
        "X-RateLimit-Reset": str(math.ceil(time.time() + (limit - left) / limit)),
    }
