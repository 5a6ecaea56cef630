"""Decide how many attempts each target may get: caps, rates, breakers, shares of the workers.

Pure: the time is an argument (any monotonic seconds). The state is local to the process and learnt
again within seconds after a start (decisions/0012).
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import IntEnum
from math import inf
from uuid import UUID

from core.storage.delivery.lanes import Room

# Concurrent attempts to a target of which nothing is known, and so the most workers that a dead new
# target can hold.
FIRST_CAP = 2
# Convoy's breaker: 70 % failures of at least 10 within 5 minutes, then 30 s of silence.
WINDOW_S = 300.0
MIN_ATTEMPTS = 10
MAX_FAILURE_SHARE = 0.7
MAX_OPEN_S = 300.0
WINDOW_ATTEMPTS = 200  # last attempts considered: enough for a percentage, and a bound on memory
MAX_TARGETS = 10_000
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
class _Pace:
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

    @property
    def closed_until(self) -> float:
        return max(self.opened_until, self.paused_until)

    def is_broken(self, now: float) -> bool:
        """Tell whether it is not tried for now because it failed."""
        return self.opens > 0 and now < self.opened_until


class Pacer:
    """Tracks the attempts of one process."""

    def __init__(self, limits: PaceLimits) -> None:
        self._limits = limits
        self._targets: dict[str, _Pace] = {}

    @property
    def in_flight(self) -> int:
        """Return attempts under way, without those that wait for a worker."""
        return sum(
            one.began_at != inf
            for target in self._targets.values()
            for one in target.running.values()
        )

    def busy(self) -> list[str]:
        """Return the targets that attempts are under way to, or wait for a worker."""
        return [name for name, target in self._targets.items() if target.running]

    def open_breakers(self, now: float) -> int:
        """Return how many targets are not tried for now because they failed."""
        return sum(target.is_broken(now) for target in self._targets.values())

    def longest_broken_s(self, now: float) -> float:
        """Return how long ago the breaker of the target opened that has failed longest; 0: none."""
        broken = (
            now - one.broken_at
            for one in self._targets.values()
            if one.opens and one.outcomes and now - one.outcomes[-1].at < UNTRIED_S
        )
        return max(broken, default=0.0)

    def worst(self, count: int) -> dict[str, int]:
        """Return the targets with the most failures in a row, with their number."""
        failing = [(target.failures_in_row, name) for name, target in self._targets.items()]
        return {name: number for number, name in sorted(failing, reverse=True)[:count] if number}

    def view(self, name: str, now: float) -> PaceView | None:
        """Return a target's pace; None where it is not known any more."""
        target = self._targets.get(name)
        if target is None:
            return None
        rated_s, rate = 0.0, self._limits.rate_per_s
        if rate and target.tokens < 1:
            rated_s = target.filled_at + (1 - target.tokens) / rate - now
        return PaceView(
            cap=min(_cap(target) + 1, self._limits.per_target),
            in_flight=len(target.running),
            failures=target.failures_in_row,
            is_half_open=target.opens > 0,
            opened_s=max(0.0, target.opened_until - now),
            paused_s=max(0.0, target.paused_until - now),
            rated_s=max(0.0, rated_s),
        )

    def rooms(self, now: float) -> Room:
        """Return what may be claimed now; call `reserve` for each webhook that was claimed."""
        limits = self._limits
        tiers = {name: self._tier(target, now) for name, target in self._targets.items()}
        busy = [0, 0, 0]
        for name, target in self._targets.items():
            busy[tiers[name]] += len(target.running)
        free = limits.workers + limits.ahead - sum(busy)
        half, rest = max(1, limits.workers // 2), max(2, limits.workers * 3 // 4)
        # A new target becomes a suspect while it is asked. Where suspects exceed their share, new
        # targets get less, and targets that answered before do not.
        suspects = max(half if Tier.SUSPECT in tiers.values() else 0, busy[Tier.SUSPECT])
        return Room(
            targets=tuple(self._targets),
            rooms=tuple(self._room(target, now) for target in self._targets.values()),
            tiers=tuple(tiers.values()),
            shares=tuple(self._share(target) for target in self._targets.values()),
            flights=Counter(
                (name, running.sender)
                for name, target in self._targets.items()
                for running in target.running.values()
            ),
            new_target=min(FIRST_CAP, limits.per_target),
            by_tier=(
                max(0, free),
                max(0, min(free, rest - suspects - busy[Tier.NEW])),
                max(0, min(free, half - busy[Tier.SUSPECT])),
            ),
            total=max(0, free),
        )

    def reserve(self, target: str, delivery_id: UUID, now: float, sender: str) -> None:
        """Take an attempt's room and its part of the rate, once it was claimed."""
        known = self._known(target, now)
        self._fill(known, now)
        known.tokens -= 1
        known.running[delivery_id] = _Running(sender)

    def begin(self, target: str, delivery_id: UUID, now: float) -> None:
        """Note that a reserved attempt begins: from here on its time counts for the target."""
        self._targets[target].running[delivery_id].began_at = now

    def end(
        self, target: str, delivery_id: UUID, health: TargetHealth, now: float, pause_s: float = 0.0
    ) -> BreakerChange:
        """Note that an attempt is over; return what it changed.

        Args:
            target: whose lane.
            delivery_id: as in `reserve`.
            health: what the attempt says of the target.
            now: when it ended.
            pause_s: for how long the target asked to be left alone.
        """
        known = self._known(target, now)
        running = known.running.pop(delivery_id, None)
        if health is TargetHealth.UNKNOWN or running is None:
            return BreakerChange()
        good = health is TargetHealth.GOOD
        known.outcomes.append(_Ended(now, good, running.sender))
        ended = self._good(known, now - running.began_at) if good else self._bad(known, now)
        if pause_s:
            known.paused_until = max(known.paused_until, now + pause_s)
        return ended

    def wait_s(self, now: float) -> float:
        """Return the seconds until a lane opens by itself; infinite where none will."""
        moments = [
            target.closed_until for target in self._targets.values() if target.closed_until > now
        ]
        if self._limits.rate_per_s:
            moments += [
                max(
                    now + MIN_WAIT_S,
                    target.filled_at + (1 - target.tokens) / self._limits.rate_per_s,
                )
                for target in self._targets.values()
                if target.tokens < 1 and target.closed_until <= now
            ]
        return min(moments, default=inf) - now

    def _good(self, target: _Pace, took_s: float) -> BreakerChange:
        """An answer of one sender is news for the others: they need not wait for the breaker."""
        closed, target.opens, target.failures_in_row = target.opens > 0, 0, 0
        if closed:
            target.outcomes.clear()
            target.cap, target.opened_until, target.broken_at = 1, -inf, inf
        slow = took_s > self._limits.slow_s
        target.tier = Tier.SUSPECT if slow else Tier.STEADY
        most = max(FIRST_CAP, self._limits.per_target // 2) if slow else self._limits.per_target
        target.cap = min(target.cap + 1, max(target.cap, most), self._limits.per_target)
        return BreakerChange(closed=closed)

    def _bad(self, target: _Pace, now: float) -> BreakerChange:
        target.failures_in_row += 1
        target.tier = Tier.SUSPECT
        target.cap = max(1, target.cap // 2)
        if now < target.closed_until or not (target.opens or _is_failing(target, now)):
            return BreakerChange(opens=target.opens)
        target.opens += 1
        target.broken_at = min(target.broken_at, now)
        target.opened_until = now + min(MAX_OPEN_S, self._limits.open_s * 2 ** (target.opens - 1))
        return BreakerChange(opened=True, opens=target.opens)

    def _room(self, target: _Pace, now: float) -> int:
        """Return how many more attempts a target may get: one more than any one sender may have.

        Who waits for answers that do not come must not hold all of it: it may be his addresses that
        are dead, and not the target.
        """
        if now < target.closed_until:
            return 0
        room = min(_cap(target) + 1, self._limits.per_target) - len(target.running)
        if self._limits.rate_per_s:
            self._fill(target, now)
            room = min(room, int(target.tokens))
        return max(0, room)

    def _share(self, target: _Pace) -> int:
        """Return how many attempts one sender may have in flight at a target."""
        return max(1, min(_cap(target), self._limits.per_target - 1))

    def _tier(self, target: _Pace, now: float) -> Tier:
        oldest = min((one.began_at for one in target.running.values()), default=now)
        return Tier.SUSPECT if now - oldest > self._limits.slow_s else target.tier

    def _fill(self, target: _Pace, now: float) -> None:
        rate = self._limits.rate_per_s
        target.tokens = min(max(1.0, rate), target.tokens + (now - target.filled_at) * rate)
        target.filled_at = now

    def _known(self, name: str, now: float) -> _Pace:
        target = self._targets.get(name)
        if target is None:
            self._forget(now)
            cap = min(FIRST_CAP, self._limits.per_target)
            target = _Pace(cap, max(1.0, self._limits.rate_per_s), now)
            self._targets[name] = target
        return target

    def _forget(self, now: float) -> None:
        """Make room for one more: drop the idle target that was learnt first."""
        if len(self._targets) < MAX_TARGETS:
            return
        idle = (n for n, t in self._targets.items() if not t.running and t.closed_until <= now)
        name = next(idle, None)
        if name is not None:
            del self._targets[name]


def _cap(target: _Pace) -> int:
    # Half-open: one attempt, with a webhook that is due anyway, tells whether it is back.
    return 1 if target.opens else target.cap


def _is_failing(target: _Pace, now: float) -> bool:
    """Return whether the target, and not the addresses of one sender alone, fails."""
    recent = [one for one in target.outcomes if one.at > now - WINDOW_S]
    failed = sum(not one.good for one in recent)
    if len(recent) < MIN_ATTEMPTS or failed < MAX_FAILURE_SHARE * len(recent):
        return False
    sender = recent[-1].sender
    return not any(one.good and one.sender != sender for one in recent[-MIN_ATTEMPTS:])
