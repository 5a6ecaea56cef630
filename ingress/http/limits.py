"""Limits per connection, per client and for all clients, kept in this process's memory."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil

from ingress.http.idling import ADDRESS
from ingress.http.problems import retry_later

#: Beyond it the least recently used bucket is dropped, which is as if it were full.
MAX_BUCKETS = 10_000

BURST_S = 2  # seconds' worth of requests that may come at once

ROOM_RETRY_S = 2
#: Thumbnails of one key, which have a bucket of their own: a page that is scrolled asks for a
#: hundred at once, and its other requests must not be refused for that.
THUMBS_PER_S = 300.0
#: Of the connections: requests for thumbnails that are still to be made. A key's share of these is
#: less than its share of all, so that it can still ask for other things.
_THUMBS_SHARE = 0.6
LOOKS_PER_S = 50  # of one key at the database, half a millisecond each
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
class SharedBudget:
    """A bound for something that requests hold: over all of them, and a share of it per name.

    A body of unknown length counts as the longest allowed, so that a few slow clients could take
    the whole budget; the share per name leaves room for others. A share is a quarter, or as much as
    is free where that is less: so the fourth greedy client leaves as much as it takes.

    Attributes:
        unit: what is counted, in the plural.
        retry_s: when a refused client may ask again.
        used: how much all hold together.
        held: how much each holds, by the key's id or the address.
    """

    limit: int
    unit: str = "bytes"
    retry_s: int = 1
    used: int = 0
    held: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> int:
        """The most that one name may hold, unless it holds one thing only."""
        return max(1, self.limit // KEY_SHARES)

    @contextmanager
    def reserved(self, size: int, name: str) -> Iterator[None]:
        """Hold `size` of the budget, and of this name's share, while the block runs.

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
        free = self.limit - self.used
        if size > free:
            raise retry_later(
                "overloaded",
                f"this request may take {size} {self.unit} and {free} are free now",
                after_s=self.retry_s,
            )
        own, share = self.held.get(name, 0), min(self.share, free)
        if own and own + size > share:  # a key's only body may be larger than its share
            who = "address without a key" if name.startswith(ADDRESS) else "key"
            raise retry_later(
                "rate_limited",
                f"requests of this {who} hold {own} {self.unit}, this one may take {size} more;"
                f" {'an' if who[0] == 'a' else 'a'} {who} may hold {share} now",
                after_s=self.retry_s,
            )
        self.used += size
        self.held[name] = own + size


@dataclass(frozen=True, slots=True)
class Places:
    """How many requests may be under way at once, each of which holds a connection.

    Attributes:
        keyed: requests with a valid key, by its id.
        keyless: all others, by their address. They have half: addresses cost nothing.
        waiting: of those with a key, what waits for something to happen (`?wait=`, events, tags
            of a file): half, so that a key that waits as much as it may can still ask.
        thumbs: of those with a key, what waits for a thumbnail to be made.
    """

    keyed: SharedBudget
    keyless: SharedBudget
    waiting: SharedBudget
    thumbs: SharedBudget

    @classmethod
    def of(cls, connections: int) -> "Places":
        """Return the places that so many connections give."""
        half = max(1, connections // 2)
        return cls(
            keyed=SharedBudget(connections, "connections", ROOM_RETRY_S),
            keyless=SharedBudget(half, "connections", ROOM_RETRY_S),
            waiting=SharedBudget(half, "waiting requests", ROOM_RETRY_S),
            thumbs=SharedBudget(
                max(1, int(connections * _THUMBS_SHARE)), "thumbnails to be made", ROOM_RETRY_S
            ),
        )

    def pause_s(self, name: str) -> float:
        """Return the pause between two looks of a request that waits for something.

        It grows with the number of requests that wait for the same key, so that they ask the
        database as often as a few of them would.
        """
        return self.waiting.held.get(name, 0) / LOOKS_PER_S


@dataclass(frozen=True, slots=True)
class WireLimits:
    """What one connection may hold, and for how long.

    Attributes:
        head_bytes: of the request line and all headers; as many again around a body (the sizes of
            chunks, their extensions, trailers), with `framing_per_byte` for each byte of the body.
        fields: headers and trailers of one request.
        target_bytes: path and query. A text of 2,000 characters has at most 24,000 here.
        pipelined: requests that wait for the answers before them.
        header_timeout_s: from a request's first byte to the end of its headers.
        send_timeout_s: in which a client must take something of an answer.
        linger_s: for which a refused client may go on sending, up to `linger_bytes`, while it reads
            why: a connection that is closed with unread bytes is reset, and the answer lost.
        pause_s: the longest time for which a connection is not read because its client was told to
            wait; less than uvicorn's keep-alive time.
        connections: in all; beyond it idle ones are closed, and requests refused.
        probes: paths that orchestrators ask. So many of them as `probe_room` are answered beside
            all other requests: a full process is alive, and one that is started anew serves nobody.
    """

    head_bytes: int = 64 * 1024
    framing_per_byte: int = 8  # a chunk of one byte has five around it
    fields: int = 200
    target_bytes: int = 32 * 1024
    pipelined: int = 16
    header_timeout_s: float = 10.0
    send_timeout_s: float = 20.0
    linger_s: float = 1.0
    linger_bytes: int = 1024 * 1024
    pause_s: float = 4.0
    connections: int = 1000
    probes: frozenset[bytes] = frozenset()
    probe_room: int = 16

    @property
    def idle_per_address(self) -> int:
        """Connections without a request under way that an address without a key may have."""
        return max(1, self.connections // KEY_SHARES)
