"""One target: how it has answered, its breaker, its rate, and how many attempts it may get.

Pure: the time is an argument (any monotonic seconds).
"""

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from math import inf
from uuid import UUID

# Concurrent attempts to a target of which nothing is known, and so the most workers that a dead new
# target can hold.
FIRST_CAP = 2
# Convoy's breaker: 70 % failures of at least 10 within 5 minutes, then 30 s of silence.
WINDOW_S = 300.0
MIN_ATTEMPTS = 10
MAX_FAILURE_SHARE = 0.7
MAX_OPEN_S = 300.0
WINDOW_ATTEMPTS = 200  # last attempts considered: enough for a percentage, and a bound on memory
MIN_WAIT_S = 0.001
#: A broken target that nobody has tried for longer has nothing left to be tried with: the longest
#: pause of the schedule is a day, and its jitter a fifth of that.
UNTRIED_S = 30 * 3600.0


class Tier(IntEnum):
    """Targets are served from three shares of the workers; the numbers go into SQL."""

    STEADY = 0  # answered in time: may have all workers
    NEW = 1  # unknown target
    SUSPECT = 2  # failed, or is slow: half of the workers together, whatever their number


class TargetHealth(IntEnum):
    """The health of a target, as an attempt shows it."""

    GOOD = 0  # it answered, even if with an error of the request
    BAD = 1  # no answer, or one that says that it cannot answer now
    UNKNOWN = 2  # no request was sent: a fault of our own, or a forbidden address


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """Bounds of one process.

    Attributes:
        workers: attempts in flight in all.
        per_target: attempts in flight to one target that answers in time.
        ahead: webhooks claimed beyond `workers`: they wait here for a worker, so that none of
            these waits for the database.
        rate_per_s: attempts per second to one target; 0: as many as it answers.
        slow_s: an attempt that takes longer makes its target a suspect.
        open_s: how long an opened breaker stays so the first time; doubles each time.
    """

    workers: int
    per_target: int
    ahead: int = 0
    rate_per_s: float = 0.0
    slow_s: float = 1.0  # most receivers answer within a tenth of it
    open_s: float = 30.0  # a restart of the receiver fits into it


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """The change by an attempt's end: a breaker that opened (again) or closed."""

    opened: bool = False
    closed: bool = False
    opens: int = 0


@dataclass(frozen=True, slots=True)
class PaceView:
    """A target's pace as people are shown it.

    Attributes:
        cap: attempts in flight at most.
        is_half_open: its breaker lets one attempt through, or will when it opens.
        opened_s: how long the breaker stays open still; 0: it is not. So `paused_s` by a
            Retry-After and `rated_s` by the rate.
    """

    cap: int
    in_flight: int
    failures: int
    is_half_open: bool
    opened_s: float
    paused_s: float
    rated_s: float

    @property
    def is_settled(self) -> bool:
        """Nothing of it changes by itself."""
        return not (self.in_flight or self.opened_s or self.paused_s or self.rated_s)


@dataclass(slots=True)
class _Running:
    sender: str
    began_at: float = inf  # inf: waits for a worker


@dataclass(frozen=True, slots=True)
class _Ended:
    at: float
    good: bool
    sender: str


@dataclass(slots=True)
class TargetPace:
    """How a target has answered, and so how many attempts it may get.

    Make one by `unknown`, once something is sent to a target of which nothing is known.
    """

    limits: PaceLimits
    cap: int
    tokens: float
    filled_at: float
    running: dict[UUID, _Running] = field(default_factory=dict)
    outcomes: deque[_Ended] = field(default_factory=lambda: deque(maxlen=WINDOW_ATTEMPTS))
    tier: Tier = Tier.NEW
    failures_in_row: int = 0
    opens: int = 0  # in a row, without a good answer between
    broken_at: float = inf  # when the first of them opened
    opened_until: float = -inf  # by the breaker
    paused_until: float = -inf  # by a Retry-After

    @classmethod
    def unknown(cls, limits: PaceLimits, now: float) -> "TargetPace":
        """Return what holds for a target of which nothing is known."""
        return cls(limits, min(FIRST_CAP, limits.per_target), max(1.0, limits.rate_per_s), now)

    @property
    def in_flight(self) -> int:
        """Return attempts under way, without those that wait for a worker."""
        return sum(one.began_at != inf for one in self.running.values())

    @property
    def share(self) -> int:
        """Return how many attempts one sender may have in flight."""
        return max(1, min(self._open_cap, self.limits.per_target - 1))

    @property
    def closed_until(self) -> float:
        """Return until when nothing is sent: by the breaker, or by a Retry-After."""
        return max(self.opened_until, self.paused_until)

    @property
    def _open_cap(self) -> int:
        # Half-open: one attempt, with a webhook that is due anyway, tells whether it is back.
        return 1 if self.opens else self.cap

    def is_broken(self, now: float) -> bool:
        """Return whether it is not tried for now because it failed."""
        return self.opens > 0 and now < self.opened_until

    def broken_s(self, now: float) -> float:
        """Return how long ago its breaker opened; 0: it did not, or nobody tries it any more."""
        if not self.opens or not self.outcomes or now - self.outcomes[-1].at >= UNTRIED_S:
            return 0.0
        return now - self.broken_at

    def view(self, now: float) -> PaceView:
        """Return it as people are shown it."""
        rated_s, rate = 0.0, self.limits.rate_per_s
        if rate and self.tokens < 1:
            rated_s = self.filled_at + (1 - self.tokens) / rate - now
        return PaceView(
            cap=min(self._open_cap + 1, self.limits.per_target),
            in_flight=len(self.running),
            failures=self.failures_in_row,
            is_half_open=self.opens > 0,
            opened_s=max(0.0, self.opened_until - now),
            paused_s=max(0.0, self.paused_until - now),
            rated_s=max(0.0, rated_s),
        )

    def tier_at(self, now: float) -> Tier:
        """Return its tier: while an attempt takes long it is a suspect."""
        oldest = min((one.began_at for one in self.running.values()), default=now)
        return Tier.SUSPECT if now - oldest > self.limits.slow_s else self.tier

    def room(self, now: float) -> int:
        """Return how many more attempts it may get: one more than any one sender may have.

        Who waits for answers that do not come must not hold all of it: it may be his addresses that
        are dead, and not the target.
        """
        if now < self.closed_until:
            return 0
        room = min(self._open_cap + 1, self.limits.per_target) - len(self.running)
        if self.limits.rate_per_s:
            self._fill(now)
            room = min(room, int(self.tokens))
        return max(0, room)

    def opens_at(self, now: float) -> float:
        """Return when it has room by itself; infinite where time alone makes none."""
        if self.closed_until > now:
            return self.closed_until
        rate = self.limits.rate_per_s
        if not rate or self.tokens >= 1:
            return inf
        return max(now + MIN_WAIT_S, self.filled_at + (1 - self.tokens) / rate)

    def reserve(self, delivery_id: UUID, now: float, sender: str) -> None:
        """Take an attempt's room and its part of the rate."""
        self._fill(now)
        self.tokens -= 1
        self.running[delivery_id] = _Running(sender)

    def begin(self, delivery_id: UUID, now: float) -> None:
        """Note that a reserved attempt begins: from here on its time counts."""
        self.running[delivery_id].began_at = now

    def end(
        self, delivery_id: UUID, health: TargetHealth, now: float, pause_s: float
    ) -> BreakerChange:
        """Note that an attempt is over; return what it changed."""
        running = self.running.pop(delivery_id, None)
        if health is TargetHealth.UNKNOWN or running is None:
            return BreakerChange()
        good = health is TargetHealth.GOOD
        self.outcomes.append(_Ended(now, good, running.sender))
        ended = self._good(now - running.began_at) if good else self._bad(now)
        if pause_s:
            self.paused_until = max(self.paused_until, now + pause_s)
        return ended

    def _good(self, took_s: float) -> BreakerChange:
        """An answer of one sender is news for the others: they need not wait for the breaker."""
        closed, self.opens, self.failures_in_row = self.opens > 0, 0, 0
        if closed:
            self.outcomes.clear()
            self.cap, self.opened_until, self.broken_at = 1, -inf, inf
        slow = took_s > self.limits.slow_s
        self.tier = Tier.SUSPECT if slow else Tier.STEADY
        most = max(FIRST_CAP, self.limits.per_target // 2) if slow else self.limits.per_target
        self.cap = min(self.cap + 1, max(self.cap, most), self.limits.per_target)
        return BreakerChange(closed=closed)

    def _bad(self, now: float) -> BreakerChange:
        self.failures_in_row += 1
        self.tier = Tier.SUSPECT
        self.cap = max(1, self.cap // 2)
        if now < self.closed_until or not (self.opens or self._is_failing(now)):
            return BreakerChange(opens=self.opens)
        self.opens += 1
        self.broken_at = min(self.broken_at, now)
        self.opened_until = now + min(MAX_OPEN_S, self.limits.open_s * 2 ** (self.opens - 1))
        return BreakerChange(opened=True, opens=self.opens)

    def _is_failing(self, now: float) -> bool:
        """Return whether the target, and not the addresses of one sender alone, fails."""
        recent = [one for one in self.outcomes if one.at > now - WINDOW_S]
        failed = sum(not one.good for one in recent)
        if len(recent) < MIN_ATTEMPTS or failed < MAX_FAILURE_SHARE * len(recent):
            return False
        sender = recent[-1].sender
        return not any(one.good and one.sender != sender for one in recent[-MIN_ATTEMPTS:])

    def _fill(self, now: float) -> None:
        rate = self.limits.rate_per_s
        self.tokens = min(max(1.0, rate), self.tokens + (now - self.filled_at) * rate)
        self.filled_at = now
