"""Rate limits of one worker process: who may call how often, and whose calls never use up whose share.

Each call belongs to a lane.  In its lane it takes from three buckets: its own (the token's, the browser session's; the
address's for those who show neither), a wide one for its address, and one for all of the lane.  So agents leave people
their share, and both are out of the reach of those who are refused.  Buckets start full: a client may be faster than
its rate for a while.  Any thread or greenlet may call.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from typing import NamedTuple

from ... import concurrency
from ...errors import RateLimited
from ...model import Identity

# Of each kind; what bounds the memory.
MAX_BUCKETS = 10_000
WINDOW_SECONDS = 1
# From this rate on a client may make so many calls at once, unless a setting says otherwise.
_BURST_RATE = 100
_BURST_CALLS = 1000
# Wrong tokens and login codes that an address may show, and the time after which it may show as many again.
FAILURES = 20  # or a fifth of a client's calls per second
FAILURE_SECONDS = 60

TOKEN, PERSON, PUBLIC, REFUSED = "token", "person", "public", "refused"


class Caller(NamedTuple):
    """Who makes a call: the lane, and the credential in it; without one the address stands in. And which agent."""

    lane: str
    credential: str = ""
    identity: Identity | None = None


class _Bucket:
    __slots__ = ("counted", "left")

    def __init__(self, left: float, counted: float) -> None:
        self.left = left
        self.counted = counted


class _Buckets:
    """Buckets of one size, by name. The lock of the limiter is held."""

    def __init__(self, rate: float, size: float) -> None:
        self.rate = rate
        self._size = size
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def filled(self, name: str, now: float) -> _Bucket:
        """The bucket with what has flown in since the last look."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(self._size, now)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)  # the one unseen the longest: most likely it is full again
            return bucket
        self._buckets.move_to_end(name)
        bucket.left = min(self._size, bucket.left + (now - bucket.counted) * self.rate)
        bucket.counted = now
        return bucket


class _Lane(NamedTuple):
    own: _Buckets
    address: _Buckets
    overall: _Buckets


class RateLimiter:
    """`per_client` and `overall` are calls per second; `burst` is what a client may do at once."""

    def __init__(self, per_client: int, overall: int, burst: int | None = None) -> None:
        self._per_client = per_client
        if burst is None:
            burst = max(per_client, _BURST_CALLS) if per_client >= _BURST_RATE else per_client
        address = max(per_client, overall // 2)
        share = max(per_client, overall // 5)

        def lane(overall: _Buckets) -> _Lane:
            return _Lane(_Buckets(per_client, burst), _Buckets(address, max(address, burst)), overall)

        self._lock = concurrency.native_lock()
        self._lanes = {TOKEN: lane(_Buckets(overall, overall))}
        self._lanes |= {name: lane(_Buckets(share, max(share, burst))) for name in (PERSON, PUBLIC, REFUSED)}
        self._failed = max(FAILURES, per_client // 5)
        self._failures = _Buckets(self._failed / FAILURE_SECONDS, self._failed)

    def take(self, caller: Caller, address: str) -> dict[str, str]:
        """Count a call of somebody who was let in; the X-RateLimit headers of its answer. Raises RateLimited."""
        lane, network = self._lanes[caller.lane], network_of(address)
        now = time.monotonic()
        with self._lock:
            own = lane.own.filled(caller.credential or network, now)
            of_address = lane.address.filled(network, now)
            overall = lane.overall.filled("", now)
            if own.left >= 1 and of_address.left >= 1 and overall.left >= 1:
                own.left -= 1
                of_address.left -= 1
                overall.left -= 1
                return headers(self._per_client, own.left)
        for bucket, buckets in ((own, lane.own), (of_address, lane.address), (overall, lane.overall)):
            if bucket.left < 1:
                raise _limited(bucket.left, buckets.rate, round(buckets.rate), WINDOW_SECONDS)
        raise AssertionError

    def refuse(self, address: str, *, failed: bool) -> dict[str, str]:
        """Count a call that is refused; `failed`: it showed a wrong token. Raises RateLimited: then that is the answer.

        Nobody who shows the right token is held up by this.
        """
        if failed:
            now = time.monotonic()
            with self._lock:
                bucket = self._failures.filled(network_of(address), now)
                if bucket.left < 1:
                    raise _limited(bucket.left, self._failures.rate, self._failed, FAILURE_SECONDS)
                bucket.left -= 1
        return self.take(Caller(REFUSED), address)


def _limited(left: float, rate: float, limit: int, window: int) -> RateLimited:
    return RateLimited(limit=limit, window=window, retry_after=max(1, math.ceil((1 - left) / rate)))


def headers(limit: int, left: float) -> dict[str, str]:
    """The three headers: of the second's calls that the rate promises, not of what a client may do at once."""
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(max(0, min(limit - 1, int(left)))),
        "X-RateLimit-Reset": str(math.ceil(time.time() + max(0.0, limit - left) / limit)),
    }


def refusal_headers(error: RateLimited) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(error.details["limit"]),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(math.ceil(time.time() + error.details["retry_after"])),
    }


def network_of(address: str) -> str:
    """What counts as one address: with IPv6 a client has a whole /64 to itself."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
