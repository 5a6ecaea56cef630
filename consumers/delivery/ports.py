"""What the lanes need: a durable schedule, a courier, and somebody who counts."""

from collections.abc import Sequence
from typing import Protocol

from consumers.delivery.attempts import Tried
from consumers.delivery.pacing import Pacer
from consumers.delivery.recording import Outcomes
from core.storage.delivery.deliveries import Leased
from core.storage.delivery.lanes import Room
from core.transaction import Transaction


class DeliverySchedule(Protocol):
    """The durable schedule."""

    async def claim(self, connection: Transaction, room: Room) -> Sequence[Leased]:
        """Lease due webhooks of targets that are not disabled, within the room: one statement."""
        ...

    async def expire_leases(self, tx: Transaction) -> tuple[int, int]:
        """Make webhooks due again whose worker died; return how many, and how many are dead now."""
        ...

    async def backlog(self, tx: Transaction) -> tuple[int, float]:
        """Return how many webhooks are due and not leased, and the oldest one's wait in seconds."""
        ...

    async def settle(self, connection: Transaction, outcomes: Outcomes) -> int:
        """Record attempts, and return leases back that are not charged: one statement.

        Return how many leases were no longer ours.
        """
        ...

    async def disable(self, tx: Transaction, target: str, reason: str) -> None:
        """Hold a target's webhooks until an operator resumes it."""
        ...

    async def bring_forward(self, tx: Transaction, target: str) -> int:
        """Make retries due that wait only since the target was away; return how many."""
        ...


class Courier(Protocol):
    """Composes, signs and posts one webhook."""

    async def deliver(self, lease: Leased) -> Tried:
        """Make one attempt.

        Raises:
            TransientError: a fault of our own, before anything was sent.
        """
        ...

    def failed(self, lease: Leased, error: Exception) -> Tried:
        """Return what an attempt came to that ended in an error of our own."""
        ...


class Watch(Protocol):
    """Counts what the lanes do: `metrics.LaneMetrics`, `reporting.TargetReports`."""

    def tried(self, target: str, tried: Tried) -> None:
        """Count an attempt at a target that ended."""
        ...

    def paced(self, pacer: Pacer) -> None:
        """Show how the lanes are now."""
        ...

    def waiting(self, due: int, oldest_s: float) -> None:
        """Show how many webhooks wait on the schedule, and for how long the oldest has."""
        ...
