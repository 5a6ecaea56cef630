"""What a Prometheus query names: metrics and labels, compared with `core/telemetry`."""

import re
import shutil
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from core.telemetry.metrics import Metrics

PREFIX = "photo_archive_"
#: Names of others, with the labels that queries of ours may use.
FOREIGN: Mapping[str, frozenset[str]] = {
    "up": frozenset({"job", "instance"}),
    "process_start_time_seconds": frozenset({"job", "instance"}),
    "process_resident_memory_bytes": frozenset({"job", "instance"}),
    "process_cpu_seconds_total": frozenset({"job", "instance"}),
    "process_open_fds": frozenset({"job", "instance"}),
    **dict.fromkeys(
        ("node_filesystem_avail_bytes", "node_filesystem_size_bytes"),
        frozenset({"instance", "mountpoint", "fstype"}),
    ),
    **dict.fromkeys(
        ("kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"),
        frozenset({"namespace", "persistentvolumeclaim"}),
    ),
}
SCRAPED = frozenset({"job", "instance", "namespace", "pod"})  # Prometheus adds them to every series
_METRIC = re.compile(r"\b(?:photo_archive|node|kubelet|process)_\w+|\bup\b")
_SELECTOR = re.compile(rf"({_METRIC.pattern})\s*\{{([^{{}}]*)\}}")
_BY = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^()]*)\)")
_MATCHER = re.compile(r'\s*(\w+)\s*(?:=~|!~|!=|=)\s*"[^"]*"\s*,?')

#: Debian's package `prometheus` brings it; without one the tests that need it are skipped.
PROMTOOL = shutil.which("promtool")


def families() -> list[Metric]:
    """Return every metric of the project."""
    registry = CollectorRegistry()
    Metrics(registry)
    return sorted(registry.collect(), key=lambda family: family.name)


def labels_of() -> dict[str, tuple[str, ...]]:
    """Return the labels of each series that a process may serve, by its whole name."""
    registry = CollectorRegistry()
    Metrics(registry)
    found: dict[str, tuple[str, ...]] = {}
    for family in registry.collect():
        for name in _series(family):
            # A family shows no labels of what was not counted yet; its collector knows their names.
            names = tuple(getattr(registry._names_to_collectors[name], "_labelnames", ()))
            found[name] = (*names, "le") if name.endswith("_bucket") else names
    return found


def _series(family: Metric) -> Iterator[str]:
    if family.type == "counter":
        yield f"{family.name}_total"
    elif family.type == "histogram":
        yield from (f"{family.name}_{part}" for part in ("bucket", "sum", "count"))
    else:
        yield family.name


def problems(query: str) -> list[str]:
    """Return what a query names and nobody serves; nothing where it is right."""
    known = {name: frozenset(names) for name, names in labels_of().items()} | dict(FOREIGN)
    used = set(_METRIC.findall(query))
    wrong = [f"no metric {name}" for name in sorted(used - known.keys())]
    if not used:
        wrong.append("it names no metric")
    for name, matchers in _SELECTOR.findall(query):
        unknown = set(_MATCHER.findall(matchers)) - known.get(name, frozenset()) - SCRAPED
        if unknown:
            wrong.append(f"{name} has no label {sorted(unknown)}")
    grouped = {label.strip() for listed in _BY.findall(query) for label in listed.split(",")}
    unknown = grouped.difference(SCRAPED, {""}, *(known.get(name, ()) for name in used))
    if unknown:
        wrong.append(f"grouped by {sorted(unknown)}, which none of them has")
    return wrong
