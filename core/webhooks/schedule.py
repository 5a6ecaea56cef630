"""The retry schedule: due times and outcomes. Pure: time and randomness are arguments."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from random import Random
from typing import Protocol

from core.errors import TargetForbidden, TargetUnreachable
from core.settings import DeliverySettings

# A Retry-After beyond this is taken for a mistake of the receiver and ignored.
MAX_RETRY_AFTER_S = 31 * 86400
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
#: A comma before a number alone or before a day's name; a date has one of its own inside.
_BETWEEN_VALUES = re.compile(r",\s*(?=[0-9.]+\s*(?:,|$)|[A-Za-z]{3,9},)")
# Delay after an attempt that failed on our side; it is not charged, so no schedule applies.
INFRA_DELAY_S = 30.0
# Delay where nothing was sent: database or store away, or too little of the lease left.
OWN_FAULT_DELAY_S = 5.0
JITTER = 0.2  # share by which a delay varies: receivers that failed together do not return at once
ABORT = "abort-message"  # value of `webhook-delivery` by which a receiver ends the retries


class WebhookResponse(Protocol):
    """The parts of an answer that schedule and sender need; satisfied by `core.egress.Exchange`."""

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers `retry-after` and `webhook-delivery` at least, names in lower case."""
        ...


@dataclass(frozen=True, slots=True)
class Delivered:
    """A 2xx: the webhook is delivered."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not delivered yet.

    Attributes:
        at: when the next attempt is due.
        outcome: stable name of this attempt's result: `http_5xx`, `timeout`, …
        charged: False where our own side failed, so that the attempt does not count.
        is_wished: it is due when the receiver asked for, which is later than by the schedule.
    """

    at: datetime
    outcome: str
    charged: bool = True
    is_wished: bool = False


@dataclass(frozen=True, slots=True)
class GivenUp:
    """No further attempt is made automatically.

    Attributes:
        reason: `gone`, `aborted`, `target_forbidden`, or `attempts_exhausted`.
        outcome: what came of the last attempt, stable.
    """

    reason: str
    outcome: str


Verdict = Delivered | Retry | GivenUp
Outcome = WebhookResponse | TargetUnreachable | TargetForbidden


@dataclass(frozen=True, slots=True)
class Attempts:
    """The state of a delivery: `made` counts the charged attempts, the present one included."""

    made: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Delays before each attempt, counted from the end of the one before it (the creation)."""

    delays_s: tuple[float, ...]
    jitter: float

    @classmethod
    def from_settings(cls, settings: DeliverySettings) -> "RetrySchedule":
        """Return the schedule that the settings describe."""
        delays = tuple(float(part) for part in settings.schedule_s.split(","))
        return cls(delays_s=delays, jitter=JITTER)

    @property
    def window_s(self) -> float:
        """Return the time after which nothing is tried any more: all delays at their longest."""
        return sum(self.delays_s) * (1 + self.jitter)

    def next_at(self, attempts: Attempts, now: datetime, rng: Random) -> datetime | None:
        """Return when the next attempt is due, or None where the schedule is used up."""
        if self.is_last(attempts):
            return None
        return now + self._jittered(self.delays_s[attempts.made], rng)

    def verdict(
        self, outcome: Outcome, *, attempts: Attempts, now: datetime, rng: Random
    ) -> Verdict:
        """Return what follows from an attempt.

        A 2xx is delivered. 410, the abort header and a forbidden target end it at once. All else is
        retried by the schedule, also 3xx and 4xx, because receivers get repaired; never before
        `Retry-After`, which is limited to the window. A failure of our own is not charged until the
        window ends. A first attempt that met the end of a kept connection is followed at once: most
        often the target has not read it; it is an attempt all the same, since the target may have.
        """
        name = outcome_name(outcome)
        if name == "delivered":
            return Delivered()
        if reason := _final_reason(outcome):
            return GivenUp(reason=reason, outcome=name)
        if isinstance(outcome, TargetUnreachable) and outcome.infra:
            return self.postponed(name, INFRA_DELAY_S, attempts=attempts, now=now, rng=rng)
        verdict = self.failed(name, attempts=attempts, now=now, rng=rng)
        if isinstance(verdict, GivenUp):
            return verdict
        if isinstance(outcome, TargetUnreachable) and outcome.on_kept and attempts.made == 1:
            return Retry(at=now, outcome=name)
        at = self._no_earlier(verdict.at, outcome, attempts, now)
        return Retry(at=at, outcome=name, is_wished=at > verdict.at)

    def failed(
        self, name: str, *, attempts: Attempts, now: datetime, rng: Random
    ) -> Retry | GivenUp:
        """Return what follows from a charged attempt that came to `name`, whosever fault it was."""
        at = self.next_at(attempts, now, rng)
        if at is None:
            return GivenUp(reason="attempts_exhausted", outcome=name)
        return Retry(at=at, outcome=name)

    def postponed(
        self, name: str, delay_s: float, *, attempts: Attempts, now: datetime, rng: Random
    ) -> Retry | GivenUp:
        """Return what follows from our own fault: soon again, uncharged, until the window ends.

        After it such faults are charged: they end too, and yet a webhook that was held for days
        (its host disabled, no worker there) is not given up for the first one.
        """
        if now >= self._window_end(attempts):
            return self.failed(name, attempts=attempts, now=now, rng=rng)
        return Retry(now + self._jittered(delay_s, rng), outcome=name, charged=False)

    def is_last(self, attempts: Attempts) -> bool:
        """Return whether nothing follows this attempt if it fails."""
        return attempts.made >= len(self.delays_s)

    def _no_earlier(
        self, at: datetime, outcome: Outcome, attempts: Attempts, now: datetime
    ) -> datetime:
        if isinstance(outcome, TargetUnreachable | TargetForbidden):
            return at
        wish_s = parse_retry_after(outcome.headers.get("retry-after", ""), now)
        if wish_s is None:
            return at
        wished = min(now + timedelta(seconds=wish_s), self._window_end(attempts))
        return max(at, wished)

    def _window_end(self, attempts: Attempts) -> datetime:
        return attempts.created_at + timedelta(seconds=self.window_s)

    def _jittered(self, delay_s: float, rng: Random) -> timedelta:
        return timedelta(seconds=delay_s * rng.uniform(1 - self.jitter, 1 + self.jitter))


def outcome_name(outcome: Outcome) -> str:
    """Return the stable name of what came of an attempt: the metric's label.

    `delivered`, `http_3xx`, `http_4xx`, `http_410`, `http_429`, `http_5xx`, `http_odd`,
    `target_forbidden`, or the kind of the failure (`dns`, `refused`, `timeout`, …).
    """
    if isinstance(outcome, TargetForbidden):
        return outcome.reason
    if isinstance(outcome, TargetUnreachable):
        return str(outcome.kind)
    if 200 <= outcome.status < 300:
        return "delivered"
    if outcome.status in {410, 429}:
        return f"http_{outcome.status}"
    return f"http_{outcome.status // 100}xx" if 300 <= outcome.status < 600 else "http_odd"


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` asks for (RFC 9110, 10.2.3: seconds or an HTTP date).

    Fractions are taken too, and of several values, as where the header came twice, the longest. It
    is None where the header is absent, cannot be parsed, is in the past or negative, or is beyond a
    month.
    """
    wishes = [_wish_s(part.strip(), now) for part in _BETWEEN_VALUES.split(value)]
    return max((wish for wish in wishes if wish is not None), default=None)


def _wish_s(text: str, now: datetime) -> float | None:
    seconds = float(text) if _SECONDS.fullmatch(text) else _seconds_until(text, now)
    if seconds is None or not math.isfinite(seconds) or not 0 < seconds <= MAX_RETRY_AFTER_S:
        return None
    return seconds


def _seconds_until(text: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - now).total_seconds()


def _final_reason(outcome: Outcome) -> str | None:
    if isinstance(outcome, TargetForbidden):
        return outcome.reason
    if isinstance(outcome, TargetUnreachable):
        return None
    if outcome.status == 410:
        return "gone"
    if outcome.headers.get("webhook-delivery", "").strip().lower() == ABORT:
        return "aborted"
    return None
