"""What a look at the pipeline means, as metrics: alarms read what `/health` reads."""

from dataclasses import dataclass
from typing import get_args

from core.telemetry.metrics import Metrics
from ingress.live.watching import PipelineLook
from ingress.models.page.pipeline import RoleStatus

STATUSES: tuple[str, ...] = get_args(RoleStatus)


@dataclass(frozen=True, slots=True)
class PipelineMetrics:
    """Shows each look in the metrics of an ingress."""

    metrics: Metrics

    def seen(self, look: PipelineLook) -> None:
        """Show how the roles and stages are, and that somebody has looked."""
        for role, health in look.roles.items():
            for status in STATUSES:
                self.metrics.role_status.labels(role, status).set(health.status == status)
        for stage in look.stages:
            self.metrics.stage_oldest.labels(stage.name).set(stage.oldest_waiting_s or 0.0)
            if stage.waiting is not None:
                self.metrics.stage_waiting.labels(stage.name).set(stage.waiting)
        self.metrics.pipeline_seen.set(look.facts.at.timestamp())
