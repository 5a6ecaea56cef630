"""The project's own processes and their environments. Values only."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from standalone.kafka.data_directory import in_sync
from standalone.kafka.membership import ALONE
from standalone.supervision.model_choice import DEMO_MODEL


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process of the project.

    Attributes:
        name: a unique name that is stable over restarts: by it the consumer group evicts a dead
            member.
        argv: the arguments of Python.
        serves_metrics: whether it gets a port for metrics.
        environment: its own variables, beside those that all processes get.
        loads_first: whether it may be started before the servers are up, held (`core.starting`).
        serves_people: whether somebody waits for its restart.
        listens: whether it takes over a socket that listens already (`core.starting`).
    """

    name: str
    argv: tuple[str, ...]
    serves_metrics: bool = True
    environment: Mapping[str, str] | None = None
    loads_first: bool = False
    serves_people: bool = False
    listens: bool = False


@dataclass(frozen=True, slots=True)
class SharedConfiguration:
    """What all processes must know about the archive on this machine, whether it is up or not."""

    home: Path
    ingress_port: int
    secrets_key: str
    archive_roots: str
    tagging_model: str
    lit_html: Path
    brokers: int = ALONE


def all_roles(tagging_processes: int, watched: Path | None) -> tuple[ProcessSpec, ...]:
    """Return the processes to run, in the order of their start: what loads longest comes first."""
    tagging = tuple(
        _own(f"tagging-{number}", "consumers", "tagging") for number in range(tagging_processes)
    )
    watch = (_own("watch", "producers", "watch", str(watched)),) if watched else ()
    return (
        *tagging,
        replace(_own("ingress", "ingress"), serves_people=True),
        _own("query-0", "consumers", "query"),
        _own("delivery-0", "consumers", "delivery"),
        _own("jobs", "producers", "jobs"),
        *watch,
    )


def _own(name: str, package: str, *arguments: str) -> ProcessSpec:
    return ProcessSpec(
        name,
        ("-m", package, *arguments),
        serves_metrics=package == "consumers",
        listens=package in {"consumers", "ingress"},
        loads_first=True,
    )


def common_environment(
    shared: SharedConfiguration, inherited: Mapping[str, str], chosen: frozenset[str]
) -> dict[str, str]:
    """Return the environment that all processes share, but for how to reach the servers.

    Args:
        shared: the data and the secrets; these win over what is inherited.
        inherited: our own environment.
        chosen: the settings that the user has set; this mode's defaults do not replace them.
    """
    defaults = {
        # On one person's machine callbacks usually go to a program on the same machine.
        "EGRESS_ALLOW_HTTP": "true",
        "EGRESS_ALLOWED_HOSTS": "localhost,127.0.0.0/8,::1/128",
        "EGRESS_ALLOWED_PORTS": "80,443,1024-65535",
        "INGRESS_LIT_HTML": str(shared.lit_html),
        # The bundled model knows few labels. "No tag" is an answer only by threshold.
        **({"TAGGING_SCORING": "threshold"} if shared.tagging_model == DEMO_MODEL else {}),
    }
    return {
        **{name: value for name, value in inherited.items() if not _leads_to_servers(name)},
        **{name: value for name, value in defaults.items() if name not in chosen},
        "KAFKA_REPLICATION_FACTOR": str(shared.brokers),
        "KAFKA_MIN_INSYNC_REPLICAS": str(in_sync(shared.brokers)),
        "INGRESS_HOST": "127.0.0.1",
        "INGRESS_PORT": str(shared.ingress_port),
        "SECRETS_KEY": shared.secrets_key,
        "ARCHIVE_ROOTS": shared.archive_roots,
        "TAGGING_MODEL": shared.tagging_model,
        "STANDALONE_HOME": str(shared.home),
        "PYTHONUNBUFFERED": "1",  # else the last lines before a crash are lost
    }


def _leads_to_servers(name: str) -> bool:
    """Return whether this variable says where a server is, or how to log in there."""
    return name in (
        "DATABASE_URL",
        "DATABASE_POOLER_URL",
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_SECURITY_PROTOCOL",
    ) or (name.startswith(("KAFKA_SASL_", "KAFKA_SSL_")))


def role_environment(
    role: ProcessSpec, common: Mapping[str, str], next_port: Callable[[], int]
) -> dict[str, str]:
    """Return the environment of one process: the shared one, its name, its port for metrics."""
    own = {"CONSUMER_INSTANCE": role.name}
    own["TELEMETRY_METRICS_PORT"] = str(next_port()) if role.serves_metrics else "0"
    return {**common, **own, **(role.environment or {})}


def python_command(role: ProcessSpec) -> tuple[str, ...]:
    """Return the command line, with the Python that runs us."""
    return (sys.executable, *role.argv)
