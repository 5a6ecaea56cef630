"""The metrics of the lanes."""

from dataclasses import dataclass, field
from time import monotonic

from consumers.delivery.attempts import Tried
from consumers.delivery.pacing import Pacer
from core.telemetry.metrics import Metrics
from core.telemetry.vitals import Vitals

WORST_TARGETS = 10  # names of targets are labels: never more than these
FINISHED = frozenset({"delivered", "dead"})
INTERVAL_S = 1.0  # between looks at all targets


def outcome_class(tried: Tried) -> str:
    """Return an attempt's stable class: `delivered`, `http_5xx`, `timeout`, `own_fault`."""
    attempt = tried.attempt
    if attempt.error is not None:
        return attempt.error
    if attempt.status is None:
        return "own_fault"
    return "delivered" if tried.settled.state == "delivered" else f"http_{attempt.status // 100}xx"


@dataclass(slots=True)
class LaneMetrics:
    """Counts attempts, and shows the lanes once a second."""

    metrics: Metrics
    _vitals: Vitals = field(init=False)
    _shown_at: float = -INTERVAL_S
    _named: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Take part in the heartbeats of the process."""
        self._vitals = self.metrics.signs.part("delivery_lanes")

    def tried(self, target: str, tried: Tried) -> None:  # noqa: ARG002 - targets are no labels
        """Count an attempt that ended."""
        self._vitals.moved(tried.settled.state in FINISHED)
        self.metrics.delivery_attempts.labels(outcome_class(tried)).inc()
        self.metrics.delivery_seconds.observe(tried.attempt.took_ms / 1000)

    def waiting(self, due: int, oldest_s: float) -> None:
        """Show how many webhooks wait on the schedule, and for how long the oldest has."""
        self._vitals.sees(due, oldest_s)
        self.metrics.delivery_due.set(due)
        self.metrics.delivery_oldest_due.set(oldest_s)

    def paced(self, pacer: Pacer) -> None:
        """Show how the lanes are now. That they go round is progress: targets may be what waits."""
        self._vitals.moved()
        now = monotonic()
        if now - self._shown_at < INTERVAL_S:
            return
        self._shown_at = now
        self.metrics.delivery_in_flight.set(pacer.in_flight)
        self.metrics.delivery_breakers_open.set(pacer.open_breakers(now))
        self.metrics.delivery_breaker_oldest.set(pacer.longest_broken_s(now))
        worst = pacer.worst(WORST_TARGETS)
        for gone in self._named - worst.keys():
            self.metrics.delivery_target_failures.remove(gone)
        for target, failures in worst.items():
            self.metrics.delivery_target_failures.labels(target).set(failures)
        self._named = set(worst)
