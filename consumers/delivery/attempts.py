"""What one attempt at a webhook came to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from consumers.delivery.target_pace import TargetHealth
from core.errors import TargetForbidden, TargetUnreachable
from core.storage.delivery.deliveries import Answered, Attempt, Settled
from core.webhooks.schedule import (
    Delivered,
    GivenUp,
    Retry,
    Verdict,
    WebhookResponse,
    outcome_name,
    parse_retry_after,
)

DETAIL_CHARS = 500
BUSY = frozenset({429, 503})  # with Retry-After these apply to the target, not to one webhook
MAX_PAUSE_S = 600.0  # one caller's URL must not hold back a target that others use
TOO_MANY_REQUESTS = 429
ON_KEPT = "a connection kept from an earlier request was closed without an answer: "
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


class WebhookAnswer(WebhookResponse, Protocol):
    """An answer, with what people are shown of it; satisfied by `core.egress.Exchange`."""

    @property
    def all_headers(self) -> Sequence[tuple[str, str]]:
        """Return its headers, bounded and without secrets."""
        ...

    @property
    def body_excerpt(self) -> bytes:
        """Return the beginning of its body."""
        ...

    @property
    def body_complete(self) -> bool:
        """Return whether that is all of it."""
        ...

    @property
    def times_ms(self) -> Mapping[str, int]:
        """Return how long the steps took: `dns`, `connect`, `tls`, `wait`."""
        ...


#: What an attempt met.
Seen = WebhookAnswer | TargetUnreachable | TargetForbidden


def tried_of(outcome: Seen, verdict: Verdict, started_at: datetime, took_ms: int) -> Tried:
    """Return what an attempt came to that met this, and what follows from it."""
    return Tried(
        _attempt(outcome, started_at, took_ms),
        settled_by(verdict),
        own_fault=isinstance(outcome, TargetUnreachable) and outcome.infra,
        pause_s=_pause_s(outcome, started_at),
    )


def settled_by(verdict: Verdict) -> Settled:
    """Return how a lease ends by this verdict."""
    match verdict:
        case Delivered():
            return Settled("delivered")
        case GivenUp(reason=reason):
            return Settled("dead", reason=reason)
        case Retry(at=at, charged=charged, is_wished=is_wished):
            waits_for = "retry_after" if is_wished else "schedule"
            return Settled("due", at, charged=charged, waits_for=waits_for)


def detail_of(error: Exception) -> str:
    """Return an error's words as they are kept."""
    # PostgreSQL refuses NUL, which a library's message may quote from a hostile answer.
    return str(error).replace("\0", "\N{REPLACEMENT CHARACTER}")[:DETAIL_CHARS]


def _attempt(outcome: Seen, started_at: datetime, took_ms: int) -> Attempt:
    if isinstance(outcome, TargetForbidden):
        error, detail = outcome_name(outcome), detail_of(outcome)
        return Attempt(started_at, took_ms, error=error, detail=detail)
    if isinstance(outcome, TargetUnreachable):
        error, detail, times = outcome_name(outcome), detail_of(outcome), outcome.times_ms
        if outcome.on_kept:
            detail = f"{ON_KEPT}{detail}"[:DETAIL_CHARS]
        return Attempt(started_at, took_ms, error=error, detail=detail, times_ms=times)
    answered = Answered(outcome.all_headers, outcome.body_excerpt, not outcome.body_complete)
    return Attempt(
        started_at, took_ms, outcome.status, times_ms=outcome.times_ms, answered=answered
    )


def _pause_s(outcome: Seen, now: datetime) -> float:
    """Return how long the whole target asks to be left alone."""
    if isinstance(outcome, TargetForbidden | TargetUnreachable) or outcome.status not in BUSY:
        return 0.0
    wish_s = parse_retry_after(outcome.headers.get("retry-after", ""), now)
    return min(wish_s or 0.0, MAX_PAUSE_S)
