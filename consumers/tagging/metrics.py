"""Prometheus metrics of tagging, and progress reports to the watchdog."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.messaging.liveness import report_progress
from core.telemetry.metrics import Metrics
from schemas.topics import Lane

#: Stages of a batch, each of which may take as long as the watchdog's limit.
STEPS = frozenset({"decoded", "model"})


@dataclass(frozen=True, slots=True)
class TaggingMetrics:
    """Counts pictures, and the seconds that their batches spent in each stage."""

    metrics: Metrics

    def passed(self, stage: str, images: int, seconds: float) -> None:
        """Count images that passed a stage, and its time; "decoded" ones overlap and have none."""
        if stage in STEPS:
            report_progress()
        if stage != "decoded":
            self.metrics.tagging_seconds.labels(stage).inc(seconds)
        if stage == "model":
            self.metrics.model_batch_images.observe(images)

    def thumbs(self, outcome: str, number: int) -> None:
        """Count thumbnails by what became of them."""
        self.metrics.thumbs.labels("tagging", outcome).inc(number)

    def halved(self) -> None:
        """Count a batch that did not fit into memory."""
        self.metrics.model_halvings.inc()

    def applied(self, lane: Lane, outcomes: Mapping[str, int], failures: Sequence[str]) -> None:
        """Count a lane's arrivals by outcome, and those that failed for these reasons."""
        for outcome, images in {**outcomes, "failed": len(failures)}.items():
            self.metrics.images.labels(lane, outcome).inc(images)
        for reason in failures:
            self.metrics.image_failures.labels(reason).inc()
