"""How much one client, and all of them together, may ask for at once. In process, no I/O."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil

from ingress.problems import retry_later

MAX_BUCKETS = 10_000  # the least recently used are forgotten: a forgotten bucket is a full one


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

    def check(self, name: str) -> None:
        """Raise as `take` does, without taking a token."""
        self.take(name)
        self.buckets[name].tokens += 1

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
    """Bytes of request bodies that may be in memory at once, over all requests."""

    limit: int
    used: int = 0

    def reserve(self, size: int) -> None:
        """Take `size` bytes until `release`.

        Raises:
            Problem: `overloaded` where they are not free.
        """
        if self.used + size > self.limit:
            raise retry_later(
                "overloaded",
                f"this body may take {size} bytes and {self.limit - self.used} are free now",
                after_s=1,
            )
        self.used += size

    def release(self, size: int) -> None:
        """Give `size` bytes back."""
        self.used -= size

    @contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """Hold `size` bytes of the budget while the block runs.

        Raises:
            Problem: `overloaded` where they are not free.
        """
        self.reserve(size)
        try:
            yield
        finally:
            self.release(size)
