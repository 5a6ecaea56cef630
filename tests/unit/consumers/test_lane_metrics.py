"""Prometheus metrics of the lanes."""

from datetime import UTC, datetime
from uuid import uuid4

from prometheus_client import CollectorRegistry

from consumers.delivery.attempts import Tried
from consumers.delivery.metrics import LaneMetrics
from consumers.delivery.pacing import Pacer
from consumers.delivery.target_pace import PaceLimits, TargetHealth
from core.storage.delivery.deliveries import Attempt, Settled
from core.telemetry.metrics import Metrics

NOW = datetime.now(UTC)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"photo_archive_{name}", labels)


def test_attempts_are_counted_by_what_came_of_them() -> None:
    metrics = Metrics(CollectorRegistry())
    watch = LaneMetrics(metrics)

    for tried in (
        Tried(Attempt(NOW, 20, status=204), Settled("delivered")),
        Tried(Attempt(NOW, 0, status=503), Settled("due")),
        Tried(Attempt(NOW, 0, error="timeout"), Settled("due")),
        Tried(Attempt(NOW, 0), Settled("due"), own_fault=True),
    ):
        watch.tried("https://h:443", tried)

    names = ("delivered", "http_5xx", "timeout", "own_fault")
    counted = [value(metrics, "delivery_attempts_total", outcome=name) for name in names]
    assert counted == [1, 1, 1, 1]


def test_only_the_ten_worst_hosts_are_named_and_one_that_recovers_goes() -> None:
    metrics = Metrics(CollectorRegistry())
    pacer = Pacer(PaceLimits(32, 8))
    for number in range(30):
        for _ in range(number):
            delivery_id = uuid4()
            pacer.reserve(f"h{number}", delivery_id, 1.0, "ann")
            pacer.begin(f"h{number}", delivery_id, 1.0)
            pacer.end(f"h{number}", delivery_id, TargetHealth.BAD, 1.0)
    LaneMetrics(metrics).paced(pacer)
    shown = [
        value(metrics, "delivery_target_failures", target=f"h{number}") for number in range(30)
    ]

    watch = LaneMetrics(metrics, _named={f"h{number}" for number in range(20, 30)})
    delivery_id = uuid4()
    pacer.reserve("h29", delivery_id, 2.0, "ann")
    pacer.begin("h29", delivery_id, 2.0)
    pacer.end("h29", delivery_id, TargetHealth.GOOD, 2.0)
    watch.paced(pacer)

    assert [one for one in shown if one is not None] == list(range(20, 30))
    assert value(metrics, "delivery_target_failures", target="h29") is None
    assert value(metrics, "delivery_target_failures", target="h19") == 19
