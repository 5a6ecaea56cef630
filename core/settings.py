"""Settings: frozen groups, read from the environment and `.env`. Units stand in the names.

Composition roots load them once; nothing else reads the environment. A group's variables share its
prefix: `DatabaseSettings.pool_size` is `DATABASE_POOL_SIZE`. A limit that no operator has had to
set is a constant beside the code that uses it (decision 0020).
"""

import os
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from core.errors import ConfigurationError
from core.variables import find_unknown, is_service_link

MIB = 1024 * 1024


class Settings(BaseSettings):
    """A group of settings; subclasses differ by their prefix."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _ignore_service_links(cls, value: Any, info: ValidationInfo) -> Any:
        # Kubernetes sets INGRESS_PORT=tcp://10.0.0.1:8080 where a service is named `ingress`.
        name = info.field_name or ""
        is_link = name.endswith("port") and isinstance(value, str) and is_service_link(value)
        return cls.model_fields[name].default if is_link else value


class DatabaseSettings(Settings):
    """PostgreSQL."""

    model_config = SettingsConfigDict(env_prefix="DATABASE_")
    url: SecretStr = SecretStr("postgresql://app:app@127.0.0.1:15432/photo_archive")
    pool_size: int = Field(8, ge=2, le=100)
    command_timeout_s: float = Field(10.0, gt=0)


class KafkaSettings(Settings):
    """Kafka: where it is, how to log in, how topics are created."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_")
    bootstrap_servers: str = "127.0.0.1:19092"
    topic_prefix: str = ""  # before every topic and group name, for a shared cluster
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    ssl_cafile: Path | None = None
    replication_factor: int = Field(1, ge=1, le=7)
    min_insync_replicas: int = Field(1, ge=1, le=7)
    session_timeout_ms: int = Field(10_000, ge=1000)


class ConsumerSettings(Settings):
    """The loop that runs every consumer role."""

    model_config = SettingsConfigDict(env_prefix="CONSUMER_")
    instance: str = ""  # stable name of this member; empty: <role>-<host>-0
    batch_max_records: int = Field(64, ge=1, le=10_000)
    stall_limit_s: float = Field(120.0, gt=1)
    drain_timeout_s: float = Field(25.0, gt=0, lt=60)  # Kafka lets the slowest member take 60 s


class OutboxSettings(Settings):
    """The outbox: events that wait to be published."""

    model_config = SettingsConfigDict(env_prefix="OUTBOX_")
    max_rows: int = Field(100_000, ge=100)
    sweep_age_s: float = Field(10.0, ge=0)


class ArchiveSettings(Settings):
    """Where photos may be read from, where bytes are kept, and where links point.

    `ARCHIVE_ROOTS` is `name=/absolute/path`, several separated by `;`. An image's identity holds
    the root's name and the relative path, so a root may move between hosts.
    """

    model_config = SettingsConfigDict(env_prefix="ARCHIVE_")
    roots: str = ""
    blobs: str = "pg:"  # pg: | file:/dir | s3://bucket/prefix | gs://… | az://…
    buckets: str = ""  # s3://bucket/prefix,gs://… that records' URIs may lie below
    public_url: str = ""  # where links point; empty: the ingress's own http://host:port
    fetch_max_bytes: int = Field(64 * MIB, ge=1024)

    @field_validator("roots")
    @classmethod
    def _check_roots(cls, value: str) -> str:
        parse_roots(value)
        return value

    def root_paths(self) -> dict[str, Path]:
        """Return the allowed roots: name -> absolute path."""
        return parse_roots(self.roots)

    def bucket_prefixes(self) -> tuple[str, ...]:
        """Return the URLs of the buckets and prefixes that may be read."""
        return tuple(filter(None, (part.strip() for part in self.buckets.split(","))))


def parse_roots(value: str) -> dict[str, Path]:
    """Return the roots that `name=/path;other=/path2` describes.

    Raises:
        ValueError: a part is not `name=/absolute/path`, or a name stands twice.
    """
    roots: dict[str, Path] = {}
    for part in filter(None, (piece.strip() for piece in value.split(";"))):
        name, separator, path = part.partition("=")
        if not separator or not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"{part!r} is not name=/absolute/path")
        if not Path(path).is_absolute() or name in roots:
            raise ValueError(f"{part!r}: the path must be absolute and the name unique")
        roots[name] = Path(path)
    return roots


class IngressSettings(Settings):
    """The HTTP ingress and its limits."""

    model_config = SettingsConfigDict(env_prefix="INGRESS_")
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=1, le=65535)
    max_image_bytes: int = Field(25 * MIB, ge=1024)
    max_files: int = Field(20, ge=1, le=1000)
    receive_timeout_s: float = Field(60.0, gt=0)
    header_timeout_s: float = Field(10.0, gt=0)  # until a request's headers are there
    wait_for_tags_s: float = Field(10.0, ge=0)
    requests_per_second: float = Field(200.0, gt=0)
    max_bytes_in_flight: int = Field(512 * MIB, ge=MIB)
    max_connections: int = Field(1000, ge=1)
    stop_delay_s: float = Field(0.0, ge=0)  # from "not ready" to closing, for load balancers
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None


def base_url(archive: ArchiveSettings, ingress: IngressSettings) -> str:
    """Return where links point, without a slash at the end."""
    scheme = "https" if ingress.ssl_certfile else "http"
    return (archive.public_url or f"{scheme}://{ingress.host}:{ingress.port}").rstrip("/")


class TaggingSettings(Settings):
    """Tagging: the model, the hardware it runs on, and how it scores."""

    model_config = SettingsConfigDict(env_prefix="TAGGING_")
    model: str = "ViT-B-32"  # an open_clip name, `local-dir:FOLDER`, or `demo`
    pretrained: str = "openai"  # a tag or a checkpoint file; ignored by local-dir: and demo
    device: str = "auto"  # auto | cpu | cuda | cuda:N
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    engine: Literal["auto", "torch", "onnx-int8"] = "auto"
    allow_int8: bool = False  # may engine=auto choose onnx-int8
    engine_cache: Path = Path("~/.cache/photo-archive/engines")
    preprocess: Literal["exact", "fast"] = "fast"
    scoring: Literal["softmax", "sigmoid", "threshold"] = "softmax"
    top_k: int = Field(4, ge=1, le=30_000)
    batch_max_images: int = Field(32, ge=1, le=4096)
    torch_threads: int = Field(0, ge=0)  # 0: torch decides


class DecodeSettings(Settings):
    """The processes that decode pictures, and the largest picture that is accepted."""

    model_config = SettingsConfigDict(env_prefix="DECODE_")
    workers: int = Field(0, ge=0)  # 0: one per core, at most 8
    timeout_s: float = Field(30.0, gt=0)
    memory_bytes: int = Field(2048 * MIB, ge=256 * MIB)
    max_pixels: int = Field(120_000_000, ge=1)


class QuerySettings(Settings):
    """Queries: how long they may be, and how words are read."""

    model_config = SettingsConfigDict(env_prefix="QUERY_")
    max_chars: int = Field(2_000, ge=1)
    after_timeout_s: float = Field(30.0, ge=0)
    exceptions: str = ""  # word=lemma pairs, separated by commas, over the built-in ones


class EgressSettings(Settings):
    """Outgoing requests: callbacks and images by https. Lists are separated by commas."""

    model_config = SettingsConfigDict(env_prefix="EGRESS_")
    allow_http: bool = False
    allowed_ports: str = "443,8443"
    allowed_hosts: str = ""  # host names or CIDR ranges that pass the address guard
    denied_hosts: str = ""  # addresses and CIDR ranges that nothing is sent to; wins over all
    ca_file: Path | None = None  # roots to trust beside the system's
    proxy: str = ""
    per_host_connections: int = Field(8, ge=1)


class DeliverySettings(Settings):
    """The delivery of webhooks."""

    model_config = SettingsConfigDict(env_prefix="DELIVERY_")
    workers: int = Field(32, ge=1, le=1000)
    per_host_rate: float = Field(0.0, ge=0)
    disable_after_opens: int = Field(0, ge=0)
    exchange_timeout_s: float = Field(30.0, gt=0.5)
    schedule_s: str = "0,5,30,120,600,3600,21600,86400"
    inline_max_bytes: int = Field(5 * MIB, ge=0)
    max_bytes_in_flight: int = Field(256 * MIB, ge=MIB)
    keep_exif: bool = False
    link_ttl_s: int = Field(7 * 86400, ge=60)

    @property
    def lease_s(self) -> float:
        """Return for how long a webhook belongs to the worker that claimed it.

        This is twice the time-out of an exchange: a worker posts only what its lease outlasts, and
        it has to look up, read and compose before it posts.
        """
        return 2 * self.exchange_timeout_s

    @field_validator("schedule_s")
    @classmethod
    def _check_schedule(cls, value: str) -> str:
        if not value or any(float(part) < 0 for part in value.split(",")):
            raise ValueError("must be delays in seconds, separated by commas, none negative")
        return value


class SecretSettings(Settings):
    """The instance's key. Without it signing secrets cannot be read or made."""

    model_config = SettingsConfigDict(env_prefix="SECRETS_")
    key: SecretStr = SecretStr("")  # 32 random bytes, base64: `photo-archive keys secret`


class TelemetrySettings(Settings):
    """Logs, metrics and traces."""

    model_config = SettingsConfigDict(env_prefix="TELEMETRY_")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(0, ge=0, le=65535)  # 0: no metrics server in consumers
    otlp_endpoint: str = ""  # empty: no traces leave the process


MAX_DAYS = 36_500  # a century; PostgreSQL refuses times before 4713 BC


class RetentionSettings(Settings):
    """Retention, in days; 0 keeps rows for ever."""

    model_config = SettingsConfigDict(env_prefix="RETENTION_")
    queries_days: int = Field(90, ge=0, le=MAX_DAYS)
    deliveries_days: int = Field(30, ge=0, le=MAX_DAYS)
    failures_days: int = Field(365, ge=0, le=MAX_DAYS)  # and who disabled and resumed hosts
    dead_letters_days: int = Field(90, ge=0, le=MAX_DAYS)
    jobs_days: int = Field(365, ge=0, le=MAX_DAYS)
    tombstones_days: int = Field(365, ge=0, le=MAX_DAYS)


class StandaloneSettings(Settings):
    """The standalone mode: embedded servers and the supervisor."""

    model_config = SettingsConfigDict(env_prefix="STANDALONE_")
    home: Path = Path("var")  # all data, logs and caches of the standalone mode
    kafka_port: int = Field(19092, ge=1024, le=32766)  # below the ephemeral range, as the next one
    postgres_port: int = Field(15432, ge=1024, le=32767)
    ingress_port: int = Field(8080, ge=1024, le=32767)
    metrics_port: int = Field(19101, ge=1024, le=32767)  # the first consumer's; others above it
    tagging_processes: int = Field(1, ge=1, le=16)


Group = TypeVar("Group", bound=Settings)
GROUPS: tuple[type[Settings], ...] = tuple(Settings.__subclasses__())


def variables(group: type[Settings]) -> dict[str, str]:
    """Return the variable of each field of a group."""
    prefix = group.model_config.get("env_prefix", "")
    return {name: f"{prefix}{name}".upper() for name in group.model_fields}


def all_variables() -> frozenset[str]:
    """Return the variables of all groups."""
    return frozenset(name for group in GROUPS for name in variables(group).values())


def load(group: type[Group]) -> Group:
    """Return one group, read from the environment.

    Raises:
        ConfigurationError: a value cannot be used, or a variable looks like a setting of any group
            and is none; the message names each variable.
    """
    _check_names()
    try:
        return group()
    except ValidationError as error:
        names = variables(group)
        problems = "; ".join(
            f"{names[str(problem['loc'][0])]}: {problem['msg']} (got {problem['input']!r})"
            for problem in error.errors(include_url=False)
        )
        raise ConfigurationError(problems) from error


def _check_names() -> None:
    """Refuse variables of any group that would otherwise be ignored."""
    in_file = {name: value or "" for name, value in DotEnvSettingsSource(Settings).env_vars.items()}
    if sentences := find_unknown(in_file | os.environ, all_variables()):
        raise ConfigurationError("; ".join(sentences))
