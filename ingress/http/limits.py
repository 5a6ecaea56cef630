"""Limits per client and for all clients together, kept in this process's memory."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil

from ingress.http.problems import retry_later

#: Beyond it the least recently used bucket is dropped, which is as if it were full.
MAX_BUCKETS = 10_000

BURST_S = 2  # seconds' worth of requests that may come at once

KEY_SHARES = 4  # one key may hold a quarter, so two greedy keys leave half to the others


def burst_of(rate: float) -> int:
    """Return how many requests may come at once, at so many per second."""
    return max(1, round(rate * BURST_S))


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


@dataclass(slots=True)
class RateLimit:
    """A token bucket per name.

    Attributes:
        rate: tokens that come back per second.
        burst: how many a bucket holds.
        clock: monotonic seconds.
    """

    rate: float
    burst: int
    clock: Callable[[], float]
    buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)

    def take(self, name: str) -> None:
        """Take one token from the bucket of this name.

        Raises:
            Problem: `rate_limited`, with the time until a token is there.
        """
        bucket = self._filled(name)
        if bucket.tokens < 1:
            wait_s = (1 - bucket.tokens) / self.rate
            raise retry_later(
                "rate_limited",
                f"more than {self.burst} requests at once or {self.rate:g} per second;"
                f" the next is taken in {wait_s:.2f} s",
                after_s=ceil(wait_s),
            )
        bucket.tokens -= 1

    def _filled(self, name: str) -> _Bucket:
        now = self.clock()
        bucket = self.buckets.setdefault(name, _Bucket(float(self.burst), now))
        self.buckets.move_to_end(name)
        gained = max(0.0, now - bucket.filled_at) * self.rate
        bucket.tokens = min(float(self.burst), bucket.tokens + gained)
        bucket.filled_at = now
        if len(self.buckets) > MAX_BUCKETS:
            self.buckets.popitem(last=False)
        return bucket


@dataclass(slots=True)
class ByteBudget:
    """A bound for image bytes in memory: over all requests, and a share of it per key.

    A body of unknown length counts as the longest allowed, so that a few slow clients could take
    the whole budget; the share per key leaves room for others.
    """

    limit: int
    used: int = 0
    held: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> int:
        """The most bytes that one key may hold, unless it holds only one body."""
        return self.limit // KEY_SHARES

    @contextmanager
    def reserved(self, size: int, name: str) -> Iterator[None]:
        """Hold `size` bytes of the budget, and of this name's share, while the block runs.

        Raises:
            Problem: `overloaded` where they are not free, `rate_limited` where the name itself
                holds too much.
        """
        self._reserve(size, name)
        try:
            yield
        finally:
            self.used -= size
            self.held[name] -= size
            if not self.held[name]:
                del self.held[name]

    def _reserve(self, size: int, name: str) -> None:
        if self.used + size > self.limit:
            raise retry_later(
                "overloaded",
                f"this body may take {size} bytes and {self.limit - self.used} are free now",
                after_s=1,
            )
        own = self.held.get(name, 0)
        if own and own + size > self.share:  # a key's only body may be larger than its share
            raise retry_later(
                "rate_limited",
                f"bodies of this key hold {own} bytes, this one may take {size} more; a key may"
                f" hold {self.share}",
                after_s=1,
            )
        self.used += size
        self.held[name] = own + size
