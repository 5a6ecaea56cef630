"""The project's own processes: what is started, with which environment. Values only."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Role:
    """A process of the project.

    Attributes:
        name: unique, stable over restarts: the consumer group evicts a dead member by it.
        argv: arguments of Python.
        serves_metrics: gets a port of its own for them.
        environment: on top of what all roles get.
    """

    name: str
    argv: tuple[str, ...]
    serves_metrics: bool = True
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every role must know about this machine's standalone mode."""

    home: Path
    database_url: str
    bootstrap: str
    ingress_port: int
    secrets_key: str
    archive_roots: str
    tagging_model: str


def all_roles(tagging_processes: int, watched: Path | None) -> tuple[Role, ...]:
    """The processes to run, in starting order."""
    tagging = tuple(
        Role(f"tagging-{number}", ("-m", "consumers", "tagging"))
        for number in range(tagging_processes)
    )
    watch = (
        (Role("watch", ("-m", "producers", "watch", str(watched)), serves_metrics=False),)
        if watched
        else ()
    )
    return (
        Role("ingress", ("-m", "ingress"), serves_metrics=False),
        *tagging,
        Role("query-0", ("-m", "consumers", "query")),
        Role("delivery-0", ("-m", "consumers", "delivery")),
        Role("jobs", ("-m", "producers", "jobs"), serves_metrics=False),
        *watch,
    )


def common_environment(
    surroundings: Surroundings, inherited: Mapping[str, str], chosen: frozenset[str]
) -> dict[str, str]:
    """The environment of every role.

    Args:
        surroundings: where the servers and the data are; these win over what is inherited.
        inherited: our own environment.
        chosen: names of settings that the user has set, which defaults of this mode leave alone.
    """
    defaults = {
        # One person's machine: callbacks to a program on it are the usual case here.
        "EGRESS_ALLOW_HTTP": "true",
        "EGRESS_ALLOWED_HOSTS": "localhost,127.0.0.0/8,::1/128",
        "EGRESS_ALLOWED_PORTS": "80,443,1024-65535",
    }
    return {
        **inherited,
        **{name: value for name, value in defaults.items() if name not in chosen},
        "DATABASE_URL": surroundings.database_url,
        "KAFKA_BOOTSTRAP_SERVERS": surroundings.bootstrap,
        "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        "KAFKA_REPLICATION_FACTOR": "1",
        "KAFKA_MIN_INSYNC_REPLICAS": "1",
        "INGRESS_HOST": "127.0.0.1",
        "INGRESS_PORT": str(surroundings.ingress_port),
        "SECRETS_KEY": surroundings.secrets_key,
        "ARCHIVE_ROOTS": surroundings.archive_roots,
        "TAGGING_MODEL": surroundings.tagging_model,
        "STANDALONE_HOME": str(surroundings.home),
        "PYTHONUNBUFFERED": "1",  # else the last lines before a crash are lost
    }


def role_environment(
    role: Role, common: Mapping[str, str], next_port: Callable[[], int]
) -> dict[str, str]:
    """One role's environment: its name, and a port for its metrics."""
    own = {"CONSUMER_INSTANCE": role.name}
    own["TELEMETRY_METRICS_PORT"] = str(next_port()) if role.serves_metrics else "0"
    return {**common, **own, **(role.environment or {})}


def python_command(role: Role) -> tuple[str, ...]:
    """The command line, by the Python that runs us."""
    return (sys.executable, *role.argv)
