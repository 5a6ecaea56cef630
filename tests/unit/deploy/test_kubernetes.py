"""deploy/kubernetes: what the manifests name exists, and means what it should."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs would be one more dependency

from core.settings import (
    GROUPS as SETTINGS,
)
from core.settings import (
    MIB,
    ConsumerSettings,
    DecodeSettings,
    DeliverySettings,
    EgressSettings,
    IngressSettings,
    variables,
)
from core.webhooks.sender import BODY_S
from ingress.app import DESCRIBED
from ingress.server import DRAIN_TIMEOUT_S
from schemas.topics import GROUPS, Lane
from standalone.kafka.jars import LOCK_FILE, kafka_version, parse_lock
from tests.documents import KUBERNETES_ALARMS, kubernetes_alarms
from tests.promql import problems
from tests.unit.deploy.manifests import (
    KUBERNETES,
    Manifest,
    environment,
    in_files,
    rendered,
    settings,
    workloads,
)

SETS = ("small", "production", "everything")
NOT_OURS = {"HF_HOME"}  # the hub's cache, read by huggingface_hub
#: What an operator makes, as the files say: nothing secret stands in them.
MADE_BY_HAND = {("Secret", "photo-archive"), ("Secret", "archive-cluster-ca-cert")}
#: No schema of these comes with a package: their fields are checked against their CRDs where
#: `CRDS=FOLDER` has these (docs/operations.md, "What could not be run here").
BY_CRD = {
    "ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule", "Kafka",
    "KafkaNodePool", "KafkaUser", "Cluster",
}  # fmt: skip
EVERY_SETTING = {name for group in SETTINGS for name in variables(group).values()}
SIZES = {"Mi": MIB, "Gi": 1024 * MIB}


@pytest.fixture(params=["files", *SETS])
def manifests(request: pytest.FixtureRequest, tmp_path: Path) -> list[Manifest]:
    """All manifests as they stand in files, and each set as Kustomize makes it."""
    if request.param == "files":
        return in_files()
    return rendered(request.param, tmp_path)


@pytest.mark.skipif(
    find_spec("kubernetes_validate") is None,
    reason="kubernetes-validate is not installed: make .venv/dev",
)
@pytest.mark.parametrize("name", ["files", *SETS])
def test_manifests_are_as_kubernetes_defines_them(name: str, tmp_path: Path) -> None:
    found = in_files() if name == "files" else rendered(name, tmp_path)
    mine = [one for one in found if one["kind"] not in BY_CRD]
    file = tmp_path / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(mine))
    done = subprocess.run(
        [sys.executable, "-m", "kubernetes_validate", "--strict", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.count(" passed for resource ") == len(mine), said


@pytest.mark.skipif("CRDS" not in os.environ, reason="CRDS=FOLDER names no definitions")
@pytest.mark.parametrize("name", [*SETS, "servers"])
def test_resources_of_operators_are_as_their_definitions_say(name: str, tmp_path: Path) -> None:
    schemas: dict[tuple[str, str], Any] = {}
    for path in Path(os.environ["CRDS"]).glob("*.yaml"):
        for crd in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = _strict(version["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {}
                schemas[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    for one in rendered(name, tmp_path):
        if one["kind"] in BY_CRD:
            jsonschema.validate(one, schemas[one["apiVersion"], one["kind"]])


def _strict(schema: Any) -> Any:
    """Refuse fields that a definition does not have; the cluster would drop them in silence.

    Patterns are left out: some are of Go's kind.
    """
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {
        name: _strict(one)
        for name, one in schema.items()
        if not (name == "pattern" and isinstance(one, str))
    }
    if "properties" in strict and not strict.get("x-kubernetes-preserve-unknown-fields"):
        strict.setdefault("additionalProperties", False)
    return strict


def test_every_variable_is_a_setting(manifests: list[Manifest]) -> None:
    assert settings(manifests).keys() <= EVERY_SETTING
    for name, _, pod in workloads(manifests):
        for container in pod["containers"]:
            given = set(environment(container))
            assert given <= EVERY_SETTING | NOT_OURS, f"{name}: {given}"


def test_everybody_reads_the_settings_and_the_secret_and_none_stands_here(
    manifests: list[Manifest],
) -> None:
    for _, _, pod in workloads(manifests):
        (container,) = pod["containers"]
        assert container["envFrom"] == [
            {"configMapRef": {"name": "settings"}},
            {"secretRef": {"name": "photo-archive"}},
        ]
    assert "Secret" not in {one["kind"] for one in manifests}
    secret = {"DATABASE_URL", "SECRETS_KEY", "KAFKA_SASL_PASSWORD"}
    assert secret <= EVERY_SETTING
    assert not secret & settings(manifests).keys()


def test_ports_and_paths_are_those_that_the_processes_serve(manifests: list[Manifest]) -> None:
    given = settings(manifests)
    served = {
        "http": (int(given["INGRESS_PORT"]), {one.path for one in DESCRIBED}),
        "metrics": (int(given["TELEMETRY_METRICS_PORT"]), {"/livez", "/metrics"}),
    }
    for name, _, pod in workloads(manifests):
        (container,) = pod["containers"]
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        module = container["args"][2]
        probes = [
            container[kind]["httpGet"]
            for kind in ("startupProbe", "livenessProbe", "readinessProbe")
            if kind in container
        ]
        if module in {"ingress", "consumers"}:
            port = "http" if module == "ingress" else "metrics"
            assert ports == {port: served[port][0]}, name
            assert len(probes) == 3, name
            assert all(probe["path"] in served[port][1] for probe in probes), name
            assert {probe["port"] for probe in probes} == {port}, name
        else:  # serves nothing: a probe would always fail
            assert (ports, probes) == ({}, []), name


def test_every_service_and_scrape_finds_its_port(manifests: list[Manifest]) -> None:
    pods = [
        (one["spec"]["template"]["metadata"]["labels"], pod["containers"][0].get("ports", ()))
        for _, one, pod in workloads(manifests)
    ]
    for one in manifests:
        if one["kind"] == "Service":
            chosen = [
                {port["name"] for port in ports}
                for labels, ports in pods
                if one["spec"]["selector"].items() <= labels.items()
            ]
            assert chosen, one["metadata"]["name"]
            for port in one["spec"]["ports"]:
                assert all(port["targetPort"] in names for names in chosen)
        if one["kind"] == "PodMonitor":
            names = {end["port"] for end in one["spec"]["podMetricsEndpoints"]}
            assert names == {port["name"] for _, ports in pods for port in ports}
            assert {end["path"] for end in one["spec"]["podMetricsEndpoints"]} == {"/metrics"}


def test_every_role_is_there_with_a_command_that_exists(manifests: list[Manifest]) -> None:
    commands = {tuple(pod["containers"][0]["args"]) for _, _, pod in workloads(manifests)}
    needed = {
        ("python", "-m", "migrations"),
        ("python", "-m", "ingress"),
        *(("python", "-m", "consumers", "tagging", "--lane", lane.value) for lane in Lane),
        ("python", "-m", "consumers", "query"),
        ("python", "-m", "consumers", "delivery"),
    }
    more = {
        ("python", "-m", "producers", "jobs"),
        ("python", "-m", "producers", "watch", "/photos"),
    }

    assert needed <= commands <= needed | more


def test_consumers_are_sets_whose_pods_keep_their_names(manifests: list[Manifest]) -> None:
    """The next life of a pod takes its dead predecessor out of the group by this name."""
    services = {one["metadata"]["name"] for one in manifests if one["kind"] == "Service"}
    for name, one, pod in workloads(manifests):
        (container,) = pod["containers"]
        if container["args"][2] != "consumers":
            continue
        assert one["kind"] == "StatefulSet", name
        assert one["spec"]["podManagementPolicy"] == "Parallel", name
        assert one["spec"]["serviceName"] in services, name
        instance = environment(container)["CONSUMER_INSTANCE"]
        assert instance["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name", name


def test_one_pod_of_a_role_at_a_time_is_taken_away(manifests: list[Manifest]) -> None:
    budgets = {
        one["metadata"]["name"]: one["spec"]
        for one in manifests
        if one["kind"] == "PodDisruptionBudget"
    }
    serving = {
        name: one["spec"]["selector"]
        for name, one, pod in workloads(manifests)
        if pod["containers"][0]["args"][2] in {"ingress", "consumers"}
    }

    assert {name: spec["selector"] for name, spec in budgets.items()} == serving
    assert {spec["maxUnavailable"] for spec in budgets.values()} == {1}


def test_a_stop_waits_for_what_drains(manifests: list[Manifest]) -> None:
    delay_s = float(settings(manifests)["INGRESS_STOP_DELAY_S"])
    assert delay_s > IngressSettings().stop_delay_s
    drains_s = (
        ConsumerSettings().drain_timeout_s,
        DeliverySettings().exchange_timeout_s + BODY_S,
        delay_s + DRAIN_TIMEOUT_S,
    )
    for name, _, pod in workloads(manifests):
        assert pod["terminationGracePeriodSeconds"] > max(drains_s), name


def test_probes_give_a_process_longer_than_its_own_watchdog(manifests: list[Manifest]) -> None:
    for name, _, pod in workloads(manifests):
        container = pod["containers"][0]
        if container["args"][2] != "consumers":
            continue
        probe = container["livenessProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 60, name
        start = container["startupProbe"]
        assert start["periodSeconds"] * start["failureThreshold"] >= 180, name


def test_pods_may_do_nothing_that_they_need_not(manifests: list[Manifest]) -> None:
    for name, _, pod in workloads(manifests):
        (container,) = pod["containers"]
        rights = container["securityContext"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert rights["readOnlyRootFilesystem"] is True, name
        assert rights["allowPrivilegeEscalation"] is False, name
        assert rights["capabilities"] == {"drop": ["ALL"]}, name
        assert "memory" in container["resources"]["limits"], name


def test_a_decoder_and_what_it_needs_fit_into_the_memory_of_who_decodes(
    manifests: list[Manifest],
) -> None:
    for name, _, pod in workloads(manifests):
        if name.startswith(("tagging", "delivery")):
            limit = pod["containers"][0]["resources"]["limits"]["memory"]
            assert int(limit[:-2]) * SIZES[limit[-2:]] > DecodeSettings().memory_bytes + 1024 * MIB


@pytest.mark.parametrize("name", SETS)
def test_whatever_a_pod_refers_to_is_there_or_made_by_hand(name: str, tmp_path: Path) -> None:
    found = rendered(name, tmp_path)
    there = {(one["kind"], one["metadata"]["name"]) for one in found} | MADE_BY_HAND
    for workload, one, pod in workloads(found):
        wanted = {("ServiceAccount", pod["serviceAccountName"])}
        claimed = {
            claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", ())
        }
        for volume in pod["volumes"]:
            if "persistentVolumeClaim" in volume:
                wanted.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
            if "secret" in volume:
                wanted.add(("Secret", volume["secret"]["secretName"]))
        mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]} | claimed, workload
        assert wanted <= there, workload
        assert ":" in pod["containers"][0]["image"], "the image is pinned"
        for source in pod["containers"][0]["envFrom"]:
            ((kind, reference),) = source.items()
            assert (kind[0].upper() + kind[1:-3], reference["name"]) in there, workload
    places = {one["metadata"].get("namespace") for one in found if one["kind"] != "Namespace"}
    assert places == {"photo-archive"}


def test_the_document_has_a_step_for_whatever_is_made_by_hand() -> None:
    text = (KUBERNETES.parents[1] / "docs" / "operations.md").read_text(encoding="utf-8")
    (login,) = (one for one in in_files() if one["kind"] == "TriggerAuthentication")
    keys = {(one["name"], one["key"]) for one in login["spec"]["secretTargetRef"]} | {
        ("photo-archive", name) for name in ("DATABASE_URL", "SECRETS_KEY", "AWS_ACCESS_KEY_ID")
    }

    assert {name for name, _ in keys} == {name for _, name in MADE_BY_HAND}
    for name, key in keys:
        made = text.partition(f"create secret generic {name} ")[2].partition("```")[0]
        assert f"--from-literal={key}=" in made, (name, key)


def test_only_known_ports_are_open_and_callbacks_leave_by_theirs() -> None:
    policies = {
        one["metadata"]["name"]: one["spec"]
        for one in in_files(KUBERNETES / "base")
        if one["kind"] == "NetworkPolicy"
    }
    given = settings(in_files(KUBERNETES / "base"))
    outside = {port["port"] for rule in policies["outside"]["egress"] for port in rule["ports"]}

    assert policies["nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert policies["requests"]["ingress"][0]["ports"] == [{"port": int(given["INGRESS_PORT"])}]
    assert policies["metrics"]["ingress"][0]["ports"] == [
        {"port": int(given["TELEMETRY_METRICS_PORT"])}
    ]
    assert outside == set(map(int, EgressSettings().allowed_ports.split(",")))


def test_the_brokers_are_of_the_version_that_all_else_is_tried_with() -> None:
    (kafka,) = (one for one in in_files(KUBERNETES / "servers") if one["kind"] == "Kafka")
    assert kafka["spec"]["kafka"]["version"] == kafka_version(parse_lock(LOCK_FILE.read_text()))


def test_the_database_says_that_it_loses_nothing_only_where_every_standby_has_each_commit() -> None:
    """And whoever runs it reads there which it is."""
    name = "photo_archive.loses_nothing"
    (cluster,) = (one for one in in_files(KUBERNETES / "servers") if one["kind"] == "Cluster")
    waited = cluster["spec"]["postgresql"]["synchronous"]
    has_all = (
        waited["dataDurability"] == "required"
        and waited["number"] >= cluster["spec"]["instances"] - 1
    )

    assert (cluster["spec"]["postgresql"]["parameters"].get(name) == "on") == has_all
    assert name in (KUBERNETES / "servers" / "postgres.yaml").read_text(encoding="utf-8")


def test_scaling_says_nothing_that_keda_would_refuse_when_it_runs() -> None:
    """Metadata is free text to every schema: these names KEDA 2 reads (August 2026)."""
    names = {
        "kafka": {
            "bootstrapServers", "consumerGroup", "topic", "lagThreshold", "offsetResetPolicy",
            "ensureEvenDistributionOfPartitions", "allowIdleConsumers", "sasl", "tls",
            "scaleToZeroOnInvalidOffset",
        },
        "prometheus": {"serverAddress", "query", "threshold", "ignoreNullValues"},
    }  # fmt: skip
    for one in in_files(KUBERNETES / "components" / "keda"):
        assert "fallback" not in one["spec"], "it would change a group while a broker is away"
        for trigger in one["spec"]["triggers"]:
            given = trigger["metadata"]
            assert given.keys() <= names[trigger["type"]], "others are ignored, or refused together"
            assert all(isinstance(value, str) for value in given.values())


def test_scaling_asks_for_groups_topics_and_metrics_that_there_are() -> None:
    scaled = {
        one["metadata"]["name"]: one["spec"]
        for one in in_files(KUBERNETES / "components" / "keda")
        if one["kind"] == "ScaledObject"
    }
    by_lag = {
        name: (trigger["metadata"]["consumerGroup"], trigger["metadata"]["topic"])
        for name, spec in scaled.items()
        for trigger in spec["triggers"]
        if trigger["type"] == "kafka"
    }
    (by_age,) = (
        trigger["metadata"]["query"]
        for trigger in scaled["delivery"]["triggers"]
        if trigger["type"] == "prometheus"
    )

    assert by_lag == {
        "tagging": (Lane.FRESH.group, Lane.FRESH.topic.name),
        "tagging-bulk": (Lane.BULK.group, Lane.BULK.topic.name),
    }
    assert problems(by_age) == []
    assert "_seconds" in by_age


@pytest.mark.parametrize("name", ["production", "everything"])
def test_what_is_scaled_exists_goes_down_slowly_and_never_beyond_its_partitions(
    name: str, tmp_path: Path
) -> None:
    found = rendered(name, tmp_path)
    sets = {workload: one for workload, one, _ in workloads(found)}
    scaled = [one["spec"] for one in found if one["kind"] == "ScaledObject"]

    assert len(scaled) == 3
    partitions = min(topic.partitions for topic in GROUPS.values())
    for spec in scaled:
        target = spec["scaleTargetRef"]
        assert sets[target["name"]]["kind"] == target["kind"]
        assert "replicas" not in sets[target["name"]]["spec"], "an apply would undo the scaling"
        assert spec["maxReplicaCount"] <= partitions
        down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        assert down["stabilizationWindowSeconds"] >= 600
        assert [(one["value"], one["periodSeconds"]) for one in down["policies"]] == [(1, 300)]


@pytest.mark.parametrize("name", SETS)
def test_what_nobody_scales_says_how_many_there_are(name: str, tmp_path: Path) -> None:
    found = rendered(name, tmp_path)
    scaled = {
        one["spec"]["scaleTargetRef"]["name"] for one in found if one["kind"] == "ScaledObject"
    }
    told = {workload for workload, one, _ in workloads(found) if "replicas" in one["spec"]}

    assert (
        told == {workload for workload, one, _ in workloads(found) if one["kind"] != "Job"} - scaled
    )


def test_the_operator_s_alarms_are_those_of_prometheus() -> None:
    text = KUBERNETES_ALARMS.read_text(encoding="utf-8")
    rules = yaml.safe_load(
        (KUBERNETES.parent / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    )

    assert text == kubernetes_alarms(), "run: make docs"
    assert yaml.safe_load(text)["spec"] == rules


def test_the_alarm_of_volumes_looks_at_every_namespace_that_holds_ours() -> None:
    rules = (KUBERNETES.parent / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    asked = re.findall(r'kubelet_volume_stats_\w+\{namespace=~"([^"]+)"\}', rules)
    namespaces = {one["metadata"]["name"] for one in in_files() if one["kind"] == "Namespace"}

    assert len(asked) == 2
    assert all(set(one.split("|")) == namespaces for one in asked)


def test_the_database_lets_the_archive_restore_a_backup() -> None:
    """What docs/operations.md, "Backup", says that the role needs."""
    (cluster,) = (one for one in in_files(KUBERNETES / "servers") if one["kind"] == "Cluster")
    made = cluster["spec"]["bootstrap"]["initdb"]

    assert f"ALTER ROLE {made['owner']} CREATEDB" in made["postInitSQL"]
    assert "CREATE EXTENSION IF NOT EXISTS vector" in made["postInitTemplateSQL"]
