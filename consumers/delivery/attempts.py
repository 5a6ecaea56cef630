"""What one attempt at a webhook came to."""

from dataclasses import dataclass

from consumers.delivery.pacing import TargetHealth
from core.storage.delivery.deliveries import Attempt, Settled

TOO_MANY_REQUESTS = 429
FORBIDDEN = "target_forbidden"
INTERNAL_ERROR = "internal_error"  # a bug of ours
OWN_FAULT = "own_fault"  # something of ours is away


@dataclass(frozen=True, slots=True)
class Tried:
    """What one attempt came to: what is recorded of it, and what is learnt of the target.

    Attributes:
        attempt: when it was, how long it took, and the status or the class of the failure.
        settled: how the lease ends: `delivered`, `due` (again) or `dead`.
        own_fault: True if our own side failed, so that nothing was learnt of the target.
        pause_s: for how long the target asked to be left alone, with a 429 or 503.
    """

    attempt: Attempt
    settled: Settled
    own_fault: bool = False
    pause_s: float = 0.0

    @property
    def health(self) -> TargetHealth:
        """Return what this says of the target. A 404 is one caller's wrong URL, and it lives."""
        status = self.attempt.status
        if self.own_fault or self.attempt.error == FORBIDDEN:
            return TargetHealth.UNKNOWN
        if status is None or status >= 500 or status == TOO_MANY_REQUESTS:
            return TargetHealth.BAD
        return TargetHealth.GOOD
