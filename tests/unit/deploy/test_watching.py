"""Alarms and the dashboard: they name what processes serve, and Prometheus takes them."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs would be one more dependency

from tests import dashboard
from tests.dashboard import ROOT
from tests.promql import FOREIGN, PREFIX, PROMTOOL, families, labels_of, problems

PROMETHEUS = ROOT / "deploy" / "prometheus"
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool: Debian's package `prometheus` has it"
)


def read(path: Path) -> Any:
    """Return a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def alarms() -> list[dict[str, Any]]:
    """Return all alarms."""
    return [rule for group in read(PROMETHEUS / "rules.yml")["groups"] for rule in group["rules"]]


def promtool(*arguments: str | Path, cwd: Path = PROMETHEUS) -> str:
    """Return what promtool says; fail where it is not content."""
    done = subprocess.run(
        [str(PROMTOOL), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("rule", alarms(), ids=lambda rule: rule["alert"])
def test_an_alarm_names_metrics_and_labels_that_there_are(rule: dict[str, Any]) -> None:
    assert problems(rule["expr"]) == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (f"{PREFIX}no_such > 1", "no metric"),
        (f'{PREFIX}role_status{{color="red"}}', "no label"),
        (f"sum by (color) ({PREFIX}role_status)", "grouped by"),
        ("1 + 1", "names no metric"),
    ],
)
def test_a_query_that_names_what_there_is_not_is_found(query: str, said: str) -> None:
    assert any(said in problem for problem in problems(query))


def test_every_alarm_says_how_bad_it_is_and_where_to_read_on() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for rule in alarms():
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (page, anchor in anchors) == ("docs/operations.md", True), rule["alert"]
        assert f"`{rule['alert']}`" in text, f"{rule['alert']}: add it to the table of alarms"


def test_every_alarm_is_tested_to_fire() -> None:
    fired = {
        one["alertname"]
        for test in read(PROMETHEUS / "rules_test.yml")["tests"]
        for one in test["alert_rule_test"]
        if one["exp_alerts"]
    }

    assert fired == {rule["alert"] for rule in alarms()}


@needs_promtool
def test_the_alarms_fire_when_they_should_and_not_else() -> None:
    promtool("check", "rules", "rules.yml")
    promtool("check", "config", "prometheus.yml")
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml")


def test_the_dashboard_is_as_the_metrics_are() -> None:
    assert dashboard.FILE.read_text(encoding="utf-8") == dashboard.dashboard(), "run: make docs"


def test_every_metric_has_a_panel_and_every_query_names_what_there_is() -> None:
    queries = dashboard.queries()

    assert {query: found for query in queries if (found := problems(query))} == {}
    assert {one.name for one in families() if not any(one.name in query for query in queries)} == (
        set()
    )


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    document = json.loads(dashboard.dashboard())
    panels = list(dashboard._all(document["panels"]))
    ids = [panel["id"] for panel in panels]
    places = [
        (panel["gridPos"]["x"], panel["gridPos"]["y"])
        for panel in document["panels"]
        if panel["type"] != "row"
    ]

    assert len(set(ids)) == len(ids) > 40
    assert len(set(places)) == len(places)


@needs_promtool
def test_prometheus_evaluates_every_query_of_the_dashboard_to_something(tmp_path: Path) -> None:
    series = [
        {"series": name + _labels(labels), "values": "1+1x20"}
        for name, labels in {**labels_of(), **FOREIGN}.items()
    ]
    document = {
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": f"count({query}) > bool 0",
                        "eval_time": "0m" if query.endswith("== 1") else "15m",
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    }
                    for query in dashboard.queries()
                ],
            }
        ],
    }
    (tmp_path / "queries.yml").write_text(yaml.safe_dump(document))

    assert "SUCCESS" in promtool("test", "rules", "queries.yml", cwd=tmp_path)


#: Values that queries of the dashboard select.
VALUES = {"outcome": "dead_letter", "job": "roles", "le": "+Inf"}


def _labels(names: Any) -> str:
    return "{" + ", ".join(f'{name}="{VALUES.get(name, "x")}"' for name in sorted(names)) + "}"


def test_grafana_finds_the_dashboard_and_the_source_where_compose_puts_them() -> None:
    grafana = read(ROOT / "docker-compose.yml")["services"]["grafana"]
    provider = read(ROOT / "deploy" / "grafana" / "dashboards" / "provider.yml")["providers"][0]
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in grafana["volumes"]}

    place = Path(provider["options"]["path"])
    assert mounted[str(place.parent)] == "./deploy/grafana"
    assert (ROOT / "deploy" / "grafana" / place.name / dashboard.FILE.name).is_file()
