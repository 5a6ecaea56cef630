"""The nouns of the lanes: a webhook that is ours for a while, and what one attempt came to."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from consumers.delivery.pacing import Health

TOO_MANY_REQUESTS = 429
FORBIDDEN = "target_forbidden"
INTERNAL_ERROR = "internal_error"  # a bug of ours
OWN_FAULT = "own_fault"  # something of ours is away


class Lease(Protocol):
    """A webhook that is ours to send for a while."""

    @property
    def delivery_id(self) -> UUID:
        """The webhook's id on the wire."""
        ...

    @property
    def host(self) -> str:
        """The lane."""
        ...

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1, over all redeliveries."""
        ...

    @property
    def made(self) -> int:
        """Number of this attempt since the webhook was last put on the schedule."""
        ...

    @property
    def event(self) -> str:
        """The callback event as JSON."""
        ...

    @property
    def created_at(self) -> datetime:
        """When the webhook was put on the schedule; the last time, if a person did it again."""
        ...

    @property
    def deadline(self) -> float:
        """Until when nobody else may send it, as `time.monotonic` counts."""
        ...


@dataclass(frozen=True, slots=True)
class Tried:
    """What one attempt came to.

    Attributes:
        state: `delivered`, `due` (again, at `next_at`) or `dead`.
        error: class of the failure where no answer came.
        own_fault: nothing was wrong with the target, and nothing was learnt of its host.
        charged: counts as an attempt; else the lease is given back as if it had not been.
        pause_s: for how long the host asked to be left alone, with a 429 or 503.
    """

    state: str
    started_at: datetime
    took_ms: int = 0
    status: int | None = None
    error: str | None = None
    detail: str | None = None
    reason: str | None = None
    next_at: datetime | None = None
    own_fault: bool = False
    charged: bool = True
    pause_s: float = 0.0

    @property
    def health(self) -> Health:
        """What this says of the host. A 404 is one caller's wrong URL: the host lives."""
        if self.own_fault or self.error == FORBIDDEN:
            return Health.UNKNOWN
        if self.status is None or self.status >= 500 or self.status == TOO_MANY_REQUESTS:
            return Health.BAD
        return Health.GOOD
