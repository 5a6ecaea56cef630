"""docker-compose.yml, as far as it can be checked without an engine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs would be one more dependency

from core.settings import (
    GROUPS,
    MIB,
    ConsumerSettings,
    DecodeSettings,
    DeliverySettings,
    variables,
)
from core.variables import find_unknown
from core.webhooks.sender import BODY_S
from ingress.server import DRAIN_TIMEOUT_S
from standalone.kafka.jars import LOCK_FILE, kafka_version, parse_lock
from tests.documents import ENV_EXAMPLE

ROOT = Path(__file__).parents[2]
FILES = ("docker-compose.yml", "docker-compose.gpu.yml")
OWN_IMAGE = "photo-archive:local"
NOT_OURS = {
    "HF_HOME",  # the hub's cache, read by huggingface_hub
    *("HF_ENDPOINT", "HF_HUB_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    "PGPASSWORD",  # read by asyncpg, and by pg_dump
}
ASKED = re.compile(r"\$\{([A-Z_]+)")
PINNED = re.compile(r"^[\w./-]+:v?\d[\w.]*$|^pgvector/pgvector:pg\d+$")


def compose(name: str = FILES[0]) -> dict[str, Any]:
    """Return a compose file with anchors and merges resolved."""
    document: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return document


def own_services() -> dict[str, dict[str, Any]]:
    """Return the services that run our code."""
    return {
        name: service
        for name, service in compose()["services"].items()
        if service.get("image") == OWN_IMAGE
    }


def test_the_files_are_valid_compose() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec",
         *FILES],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_service_waits_for_exists_and_can_get_there() -> None:
    services = compose()["services"]
    for name, service in services.items():
        for other, wanted in service.get("depends_on", {}).items():
            assert other in services, f"{name} waits for {other}"
            if wanted["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"], f"{other} is never healthy"


def test_every_variable_given_to_our_services_is_a_setting() -> None:
    known = {name for group in GROUPS for name in variables(group).values()} | NOT_OURS
    overrides = compose(FILES[1])["services"]
    for name, service in own_services().items():
        given = set(service["environment"]) | set(overrides.get(name, {}).get("environment", {}))
        assert given <= known, f"{name}: {given - known}"


def test_settings_of_the_env_file_reach_every_service_of_ours() -> None:
    for name, service in own_services().items():
        assert service["env_file"] == [{"path": ".env", "required": False}], name


def test_every_variable_that_is_asked_for_stands_in_the_env_example() -> None:
    offered = re.findall(r"^#([A-Z_]+)=", ENV_EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
    asked = ASKED.findall((ROOT / FILES[0]).read_text(encoding="utf-8"))

    assert set(asked) <= set(offered)


def test_no_line_of_the_env_example_ends_a_process_that_reads_the_whole_file() -> None:
    """Compose passes all of `.env` into every container of ours, which refuse foreign names."""
    known = {name for group in GROUPS for name in variables(group).values()}
    offered = re.findall(r"^#([A-Z0-9_]+)=", ENV_EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
    asked = ASKED.findall((ROOT / FILES[0]).read_text(encoding="utf-8"))

    assert find_unknown(dict.fromkeys((*offered, *asked), "chosen"), known) == []


def test_a_password_may_have_any_characters() -> None:
    """In a URL, `@`, `/` and `%` would end or change the password."""
    for name, service in own_services().items():
        assert "PASSWORD" not in service["environment"]["DATABASE_URL"], name
        assert service["environment"]["PGPASSWORD"].startswith("${POSTGRES_PASSWORD:?"), name


def test_a_stop_waits_for_what_drains() -> None:
    drains_s = (
        ConsumerSettings().drain_timeout_s,
        DeliverySettings().exchange_timeout_s + BODY_S,
        DRAIN_TIMEOUT_S,
    )
    for name, service in own_services().items():
        assert int(service["stop_grace_period"].removesuffix("s")) > max(drains_s), name


def test_the_gpu_file_changes_only_services_that_there_are() -> None:
    assert set(compose(FILES[1])["services"]) <= set(compose()["services"])


def test_every_role_is_there_with_its_command() -> None:
    commands = {tuple(service.get("command", ())) for service in own_services().values()}

    assert {("python", "-m", "consumers", role) for role in ("tagging", "query", "delivery")} <= (
        commands
    )
    assert ("python", "-m", "ingress") in commands
    assert ("python", "-m", "producers", "jobs") in commands
    assert ("python", "-m", "migrations") in commands


def test_only_what_serves_metrics_is_asked_for_them() -> None:
    """Producers serve no metrics, so such a health check would always fail."""
    for name, service in own_services().items():
        check = service["healthcheck"]
        if service["command"][2] in {"ingress", "consumers"}:
            assert "test" in check, name
        else:
            assert check == {"disable": True}, name


@pytest.mark.parametrize("name", [*FILES])
def test_images_of_others_are_pinned(name: str) -> None:
    for service in compose(name)["services"].values():
        image = service.get("image", OWN_IMAGE)
        assert image == OWN_IMAGE or PINNED.match(image), image


def test_the_broker_is_of_the_version_that_all_else_is_tried_with() -> None:
    version = kafka_version(parse_lock(LOCK_FILE.read_text()))
    assert compose()["services"]["kafka"]["image"] == f"apache/kafka:{version}"


def test_prometheus_scrapes_services_that_serve_metrics_on_their_ports() -> None:
    document = yaml.safe_load(
        (ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8")
    )
    scraped: dict[str, int] = {}
    for config in document["scrape_configs"]:
        for static in config.get("static_configs", ()):
            for target in static["targets"]:
                host, port = target.split(":")
                scraped[host] = int(port)
        for found in config.get("dns_sd_configs", ()):
            scraped |= dict.fromkeys(found["names"], found["port"])

    serving = {
        name: int(service["environment"].get("INGRESS_PORT")
                  or service["environment"]["TELEMETRY_METRICS_PORT"])
        for name, service in own_services().items()
        if service["command"][2] in {"ingress", "consumers"}
    }  # fmt: skip
    assert scraped == serving | {"node-exporter": 9100}


def test_nothing_is_published_beyond_this_machine() -> None:
    for name, service in compose()["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port}"


def test_links_lead_to_the_published_port() -> None:
    """Ingress and delivery make links, which would otherwise point to 0.0.0.0 or to themselves."""
    services = own_services()
    given = [services[name]["environment"] for name in ("ingress", "delivery")]

    assert {environment["ARCHIVE_PUBLIC_URL"] for environment in given} == {
        "${ARCHIVE_PUBLIC_URL:-http://127.0.0.1:${PUBLISHED_PORT:-8080}}"
    }


def test_logs_and_memory_of_every_container_are_bounded() -> None:
    for name, service in compose()["services"].items():
        options = service["logging"]["options"]
        assert (options["max-size"], options["max-file"]) == ("10m", "5"), name
        assert re.search(r"\d+[mg]\}?$", service["mem_limit"]), name


def test_a_decoder_and_what_it_needs_fit_into_the_memory_of_who_decodes() -> None:
    limits = {name: service["mem_limit"] for name, service in own_services().items()}
    for name in ("tagging", "tagging-bulk", "delivery"):
        gibibytes = int(re.findall(r"(\d+)g", limits[name])[-1])
        assert gibibytes * 1024 * MIB > DecodeSettings().memory_bytes + 1024 * MIB, name


def test_mounted_files_exist() -> None:
    for service in compose()["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./deploy"):
                assert (ROOT / source).exists(), source
