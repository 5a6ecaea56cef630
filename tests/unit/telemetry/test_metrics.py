"""Metrics have uniform names, help texts and few labels; time accounts equal wall time."""

import re

from prometheus_client import CollectorRegistry, generate_latest

from core.messaging.watching.stage_timer import TimeAccount
from core.telemetry.metrics import Metrics


def test_every_metric_has_the_prefix_a_meaning_and_no_open_label() -> None:
    metrics = Metrics(CollectorRegistry())

    families = list(metrics.registry.collect())

    assert len(families) > 30
    for family in families:
        assert re.fullmatch(r"photo_archive_[a-z_]+", family.name)
        assert len(family.documentation) > 10, family.name
    open_labels = {"id", "image_id", "query_id", "url", "text", "detail", "offset"}
    for metric in vars(metrics).values():
        assert not open_labels & set(getattr(metric, "_labelnames", ()))


def test_two_processes_worth_of_metrics_do_not_meet() -> None:
    first, second = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    first.outbox_swept.inc(3)

    assert b"photo_archive_outbox_swept_total 0.0" in generate_latest(second.registry)
    assert b"photo_archive_outbox_swept_total 3.0" in generate_latest(first.registry)


def test_counters_have_no_series_for_their_birth() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.outbox_swept.inc()

    assert b"_created" not in generate_latest(metrics.registry)


def test_the_stages_of_a_task_add_up_to_its_wall_time() -> None:
    now = [100.0]
    metrics = Metrics(CollectorRegistry())
    account = TimeAccount(metrics, group="g", task="t", clock=lambda: now[0])
    for stage, seconds in [("a", 1.0), ("b", 2.5), ("a", 0.25), ("b", 4.0)]:
        account.enter(stage)
        now[0] += seconds
    account.enter("end")

    spent = {
        sample.labels["stage"]: sample.value
        for family in metrics.consumer_seconds.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert spent == {"a": 1.25, "b": 6.5}
    assert sum(spent.values()) == now[0] - 100.0
