"""The Grafana dashboard, made from the metrics in `core/telemetry`: `make docs` writes it.

Every metric has a panel, so a new one is never forgotten. Its query follows from its kind, its
title and description from its name and meaning; what is worth more is in `FIRST`.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric

from tests.promql import PREFIX, families, labels_of

ROOT = Path(__file__).parents[1]
FILE = ROOT / "deploy" / "grafana" / "dashboards" / "photo-archive.json"
RATE = "$__rate_interval"
#: Rows, and what the names of their metrics begin with.
ROWS = (
    ("Roles and stages", ("role_", "stage_", "pipeline_")),
    ("Photos", ("images_", "image_", "tagging_", "model_", "reused_", "rescored_", "thumbs")),
    ("Queries", ("queries_", "query_")),
    ("Webhooks", ("delivery_",)),
    ("Requests", ("http_", "announced")),
    ("Outbox and servers", ("outbox_", "publish", "producer_", "kafka_", "postgres_")),
    ("Consumers", ("consumer_",)),
    ("Processes", ("",)),
)
#: Gauges that each process has a share of; of all others the largest is shown.
SUMMED = frozenset(
    {
        "consumer_lag_records", "consumer_partitions", "consumer_queue_records",
        "delivery_in_flight", "http_bytes_in_flight",
    }
)  # fmt: skip
#: Where each partition would be a line of its own.
HIDDEN_LABELS = frozenset({"partition"})
_UNITS = (("_seconds", "s"), ("_bytes", "bytes"), ("_in_flight", "short"))


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: its queries, each with the legend of its lines."""

    title: str
    meaning: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: str = "timeseries"


_RECORDS = f"{PREFIX}consumer_records_total"
SHARE_OF_DEAD_LETTERS = (
    f'sum by (group) (rate({_RECORDS}{{outcome="dead_letter"}}[{RATE}]))'
    f" / sum by (group) (rate({_RECORDS}[{RATE}]))"
)
FIRST = (
    Panel(
        "How the roles are",
        "1: the role is in this status; `silent`, `halted` and `not_moving` want somebody.",
        [(f"max by (role, status) ({PREFIX}role_status) == 1", "{{role}}: {{status}}")],
        kind="table",
    ),
    Panel(
        "Oldest waiting",
        "How long the oldest piece of work of each stage has waited.",
        [(f"max by (stage) ({PREFIX}stage_oldest_seconds)", "{{stage}}")],
        unit="s",
    ),
    Panel(
        "Photos per second",
        "Tagged and failed, by lane.",
        [
            (
                f"sum by (lane, outcome) (rate({PREFIX}images_total[{RATE}]))",
                "{{lane}} {{outcome}}",
            )
        ],
    ),
    Panel(
        "Share of dead letters",
        "Of the records of each group, how many are set aside.",
        [
            (
                SHARE_OF_DEAD_LETTERS,
                "{{group}}",
            )
        ],
        unit="percentunit",
    ),
    Panel(
        "Processes that answer",
        "1: its last scrape was answered.",
        [('min by (job, instance) (up{job=~"ingress|roles|photo-archive"})', "{{instance}}")],
    ),
    Panel(
        "Servers",
        "Brokers that are there and that are missing; 1: a standby follows, and is waited for.",
        [
            (f"max by (state) ({PREFIX}kafka_brokers)", "brokers {{state}}"),
            (f"max by (state) ({PREFIX}postgres_standby)", "standby {{state}}"),
        ],
    ),
    Panel(
        "Memory",
        "Of each process.",
        [("max by (job, instance) (process_resident_memory_bytes)", "{{instance}}")],
        unit="bytes",
    ),
)


def panel_of(family: Metric) -> Panel:
    """Return the picture of one metric."""
    name = family.name.removeprefix(PREFIX)
    names = [one for one in _labels(family) if one not in HIDDEN_LABELS]
    by = f" by ({', '.join(names)})" if names else ""
    legend = " ".join(f"{{{{{label}}}}}" for label in names)
    title = name.replace("_", " ").capitalize()
    unit = next((unit for ending, unit in _UNITS if name.endswith(ending)), "short")
    if family.type == "counter":
        unit = "none" if unit == "s" else "short"
        query = f"sum{by} (rate({family.name}_total[{RATE}]))"
        return Panel(f"{title} per second", family.documentation, [(query, legend)], unit)
    if family.type == "histogram":
        grouped = ", ".join(["le", *names])
        buckets = f"sum by ({grouped}) (rate({family.name}_bucket[{RATE}]))"
        shares = [
            (f"histogram_quantile({share}, {buckets})", f"p{share * 100:.0f} {legend}".strip())
            for share in (0.5, 0.99)
        ]
        return Panel(title, family.documentation, shares, unit)
    how = "sum" if name in SUMMED else "max"
    return Panel(title, family.documentation, [(f"{how}{by} ({family.name})", legend)], unit)


def _labels(family: Metric) -> tuple[str, ...]:
    known = labels_of()
    for name in (family.name, f"{family.name}_total", f"{family.name}_count"):
        if name in known:
            return known[name]
    raise ValueError(f"{family.name} has no series")


def rows() -> Iterator[tuple[str, list[Panel]]]:
    """Yield each row with its panels: what is worth most first, then all metrics."""
    yield "First of all", list(FIRST)
    left = families()
    for title, beginnings in ROWS:
        mine = [one for one in left if one.name.removeprefix(PREFIX).startswith(beginnings)]
        left = [one for one in left if one not in mine]
        if mine:
            yield title, [panel_of(one) for one in mine]


def queries() -> list[str]:
    """Return every query of the dashboard, as Prometheus would be asked it."""
    return [
        query.replace(RATE, "5m")
        for _, panels in rows()
        for panel in panels
        for query, _ in panel.queries
    ]


def dashboard() -> str:
    """Return the dashboard as Grafana reads it."""
    shown: list[dict[str, Any]] = []
    y = 0
    for number, (title, panels) in enumerate(rows()):
        at = {"x": 0, "y": y, "w": 24, "h": 1}
        inside = [_panel(panel, n, y + 1) for n, panel in enumerate(panels)]
        # The first row is open; Grafana keeps the panels of a closed one inside of it.
        row = {"type": "row", "title": title, "gridPos": at, "collapsed": number > 0, "panels": []}
        shown += [row | {"panels": inside}] if number else [row, *inside]
        y += 1 if number else 1 + 8 * -(-len(panels) // 3)
    for number, panel in enumerate(_all(shown), start=1):
        panel["id"] = number
    document = {
        "uid": "photo-archive",
        "title": "Photo archive",
        "description": "Made by `make docs` from core/telemetry: change it there.",
        "tags": ["photo-archive"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}]},
        "panels": shown,
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _all(shown: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in shown:
        yield panel
        yield from panel.get("panels", ())


def _panel(panel: Panel, number: int, y: int) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": re.sub(r"\s+", " ", panel.meaning),
        "datasource": source,
        "gridPos": {"x": 8 * (number % 3), "y": y + 8 * (number // 3), "w": 8, "h": 8},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + n),
                "datasource": source,
                "expr": query,
                "legendFormat": legend,
                "instant": panel.kind == "table",
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for n, (query, legend) in enumerate(panel.queries)
        ],
    }


def write() -> None:
    """Write the dashboard."""
    FILE.write_text(dashboard(), encoding="utf-8")
