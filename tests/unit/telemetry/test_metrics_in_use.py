"""Every metric is used by production code; an unused one would always show 0."""

import ast
from functools import cache
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from core.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[3]


@cache
def used_metrics() -> frozenset[str]:
    """Return the attribute names that code reads from `metrics` or `_metrics`."""
    return frozenset(
        node.attr
        for folder in ("consumers", "core", "ingress", "producers")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and _name(node.value) in {"metrics", "_metrics"}
    )


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("name", sorted(set(vars(Metrics(CollectorRegistry()))) - {"registry"}))
def test_every_metric_is_used(name: str) -> None:
    assert name in used_metrics()
