"""Decide how many attempts each target may get: its own pace, and its share of the workers.

Pure: the time is an argument (any monotonic seconds). The state is local to the process and learnt
again within seconds after a start (decisions/0012).
"""

from collections import Counter
from math import inf
from uuid import UUID

from consumers.delivery.target_pace import (
    FIRST_CAP,
    BreakerChange,
    PaceLimits,
    PaceView,
    TargetHealth,
    TargetPace,
    Tier,
)
from core.storage.delivery.lanes import Room

MAX_TARGETS = 10_000


class Pacer:
    """Tracks the attempts of one process."""

    def __init__(self, limits: PaceLimits) -> None:
        self._limits = limits
        self._targets: dict[str, TargetPace] = {}

    @property
    def in_flight(self) -> int:
        """Return attempts under way, without those that wait for a worker."""
        return sum(target.in_flight for target in self._targets.values())

    def busy(self) -> list[str]:
        """Return the targets that attempts are under way to, or wait for a worker."""
        return [name for name, target in self._targets.items() if target.running]

    def open_breakers(self, now: float) -> int:
        """Return how many targets are not tried for now because they failed."""
        return sum(target.is_broken(now) for target in self._targets.values())

    def longest_broken_s(self, now: float) -> float:
        """Return how long ago the breaker of the target opened that has failed longest; 0: none."""
        return max((target.broken_s(now) for target in self._targets.values()), default=0.0)

    def worst(self, count: int) -> dict[str, int]:
        """Return the targets with the most failures in a row, with their number."""
        failing = [(target.failures_in_row, name) for name, target in self._targets.items()]
        return {name: number for number, name in sorted(failing, reverse=True)[:count] if number}

    def view(self, name: str, now: float) -> PaceView | None:
        """Return a target's pace; None where it is not known any more."""
        target = self._targets.get(name)
        return None if target is None else target.view(now)

    def rooms(self, now: float) -> Room:
        """Return what may be claimed now; call `reserve` for each webhook that was claimed."""
        limits = self._limits
        tiers = {name: target.tier_at(now) for name, target in self._targets.items()}
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
            rooms=tuple(target.room(now) for target in self._targets.values()),
            tiers=tuple(tiers.values()),
            shares=tuple(target.share for target in self._targets.values()),
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
        self._known(target, now).reserve(delivery_id, now, sender)

    def begin(self, target: str, delivery_id: UUID, now: float) -> None:
        """Note that a reserved attempt begins: from here on its time counts for the target."""
        self._targets[target].begin(delivery_id, now)

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
        return self._known(target, now).end(delivery_id, health, now, pause_s)

    def wait_s(self, now: float) -> float:
        """Return the seconds until a lane opens by itself; infinite where none will."""
        return min((target.opens_at(now) for target in self._targets.values()), default=inf) - now

    def _known(self, name: str, now: float) -> TargetPace:
        target = self._targets.get(name)
        if target is None:
            self._forget(now)
            target = self._targets[name] = TargetPace.unknown(self._limits, now)
        return target

    def _forget(self, now: float) -> None:
        """Make room for one more: drop the idle target that was learnt first."""
        if len(self._targets) < MAX_TARGETS:
            return
        idle = (n for n, t in self._targets.items() if not t.running and t.closed_until <= now)
        name = next(idle, None)
        if name is not None:
            del self._targets[name]
