"""Settings: frozen groups read from the environment (and `.env`), units in the names.

Read once, in a `__main__`; nothing else reads the environment. Every group's variables share the
group's prefix, so `DatabaseSettings.pool_size` is `DATABASE_POOL_SIZE`.
"""

from math import inf
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import ConfigurationError

MIB = 1024 * 1024


def _group(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(
        env_prefix=prefix, env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True
    )


class DatabaseSettings(BaseSettings):
    """PostgreSQL. The consumer's limits fence a stopped process (decision 0003)."""

    model_config = _group("DATABASE_")
    url: SecretStr = SecretStr("postgresql://app:app@127.0.0.1:15432/photo_archive")
    pool_size: int = Field(8, ge=2, le=100)
    connect_timeout_s: float = Field(5.0, gt=0)
    command_timeout_s: float = Field(10.0, gt=0)
    lock_timeout_s: float = Field(5.0, gt=0)
    idle_in_transaction_timeout_s: float = Field(5.0, gt=0)
    transaction_timeout_s: float = Field(20.0, gt=0)


class KafkaSettings(BaseSettings):
    """The broker and the clients' limits (decision 0003)."""

    model_config = _group("KAFKA_")
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
    heartbeat_interval_ms: int = Field(2_500, ge=100)
    rebalance_timeout_ms: int = Field(60_000, ge=1000)
    request_timeout_ms: int = Field(15_000, ge=1000)
    publish_timeout_s: float = Field(5.0, gt=0)


class ConsumerSettings(BaseSettings):
    """The loop that runs every role (core/messaging)."""

    model_config = _group("CONSUMER_")
    instance: str = ""  # stable name of this member; empty: <role>-<host>-0
    batch_max_records: int = Field(64, ge=1, le=10_000)
    batch_max_bytes: int = Field(32 * MIB, ge=1024)
    pipeline_depth: int = Field(2, ge=1, le=4)
    queue_max_records: int = Field(256, ge=1)
    transaction_deadline_s: float = Field(10.0, gt=0)
    advisory_commit_interval_s: float = Field(1.0, gt=0)
    stall_limit_s: float = Field(120.0, gt=1)
    drain_timeout_s: float = Field(25.0, gt=0)
    crash_isolate_after: int = Field(2, ge=1)
    crash_reject_after: int = Field(5, ge=2)
    dead_letter_window: int = Field(200, ge=10)
    dead_letter_max_share: float = Field(0.5, gt=0, le=1)


class OutboxSettings(BaseSettings):
    """Events that must leave: bound and sweeper."""

    model_config = _group("OUTBOX_")
    max_rows: int = Field(100_000, ge=100)
    sweep_interval_s: float = Field(2.0, gt=0)
    sweep_age_s: float = Field(10.0, ge=0)
    sweep_batch_rows: int = Field(500, ge=1)


class ArchiveSettings(BaseSettings):
    """Where photos may be read from, and where bytes are kept.

    `ARCHIVE_ROOTS` is `name=/absolute/path`, several separated by `;`. An image's identity holds
    the root's name and the relative path, so a root may move between hosts.
    """

    model_config = _group("ARCHIVE_")
    roots: str = ""
    blobs: str = "pg:"  # pg: | file:/dir | s3://bucket/prefix | gs://… | az://…
    buckets: str = ""  # s3://bucket/prefix,gs://… that records' URIs may lie below
    fetch_max_bytes: int = Field(64 * MIB, ge=1024)
    fetch_concurrency: int = Field(16, ge=1)

    @field_validator("roots")
    @classmethod
    def _check_roots(cls, value: str) -> str:
        parse_roots(value)
        return value

    def root_paths(self) -> dict[str, Path]:
        """Allowed roots: name -> absolute path."""
        return parse_roots(self.roots)

    def bucket_prefixes(self) -> tuple[str, ...]:
        """Buckets and prefixes that may be read: URLs."""
        return tuple(filter(None, (part.strip() for part in self.buckets.split(","))))


def parse_roots(value: str) -> dict[str, Path]:
    """Parse `name=/path;other=/path2`.

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


class IngressSettings(BaseSettings):
    """The HTTP face and its limits."""

    model_config = _group("INGRESS_")
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=1, le=65535)
    public_url: str = ""  # where links point; empty: http://host:port
    max_image_bytes: int = Field(25 * MIB, ge=1024)
    max_image_pixels: int = Field(120_000_000, ge=1)
    max_files: int = Field(20, ge=1, le=1000)
    max_json_bytes: int = Field(256 * 1024, ge=1024)
    max_query_chars: int = Field(2_000, ge=1)
    receive_timeout_s: float = Field(60.0, gt=0)
    header_timeout_s: float = Field(10.0, gt=0)  # until a request's headers are there
    min_bytes_per_s: float = Field(64 * 1024, gt=0)  # slower bodies end after receive_timeout_s
    wait_for_tags_s: float = Field(10.0, ge=0)
    count_files_s: float = Field(2.0, ge=0)
    requests_per_second: float = Field(200.0, gt=0)
    burst: int = Field(400, ge=1)
    max_bytes_in_flight: int = Field(512 * MIB, ge=MIB)
    max_connections: int = Field(1000, ge=1)
    stop_delay_s: float = Field(0.0, ge=0)  # from "not ready" to closing, for load balancers
    drain_timeout_s: int = Field(20, ge=1)  # for requests under way when closing
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None

    @property
    def base_url(self) -> str:
        """Where links point, without a slash at the end."""
        scheme = "https" if self.ssl_certfile else "http"
        return (self.public_url or f"{scheme}://{self.host}:{self.port}").rstrip("/")


class TaggingSettings(BaseSettings):
    """CLIP and the pictures."""

    model_config = _group("TAGGING_")
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
    batch_max_pixels: int = Field(400_000_000, ge=1_000_000)
    torch_threads: int = Field(0, ge=0)  # 0: torch decides
    decode_workers: int = Field(0, ge=0)  # 0: one per core, at most 8
    decode_timeout_s: float = Field(30.0, gt=0)
    decode_memory_bytes: int = Field(2048 * MIB, ge=256 * MIB)
    max_image_pixels: int = Field(120_000_000, ge=1)
    max_image_side: int = Field(30_000, ge=1)


class QuerySettings(BaseSettings):
    """The query consumer."""

    model_config = _group("QUERY_")
    max_chars: int = Field(2_000, ge=1)
    max_labels: int = Field(64, ge=1)
    after_timeout_s: float = Field(30.0, ge=0)
    exceptions: str = ""  # word=lemma pairs, separated by commas, over the built-in ones


LEASE_SHARE = 1.25  # of an exchange, at least: the lease of a webhook


class DeliverySettings(BaseSettings):
    """Webhooks. Lists are separated by commas."""

    model_config = _group("DELIVERY_")
    workers: int = Field(32, ge=1, le=1000)
    per_host_in_flight: int = Field(8, ge=1)
    per_host_rate: float = Field(0.0, ge=0)
    slow_s: float = Field(1.0, gt=0)
    breaker_open_s: float = Field(30.0, gt=0)
    disable_after_opens: int = Field(0, ge=0)
    claim_interval_s: float = Field(1.0, gt=0)
    lease_s: float = Field(60.0, gt=1)
    connect_timeout_s: float = Field(5.0, gt=0)
    exchange_timeout_s: float = Field(30.0, gt=0, validate_default=True)
    schedule_s: str = "0,5,30,120,600,3600,21600,86400"
    jitter: float = Field(0.2, ge=0, lt=1)
    response_max_bytes: int = Field(16 * 1024, ge=0)
    inline_max_bytes: int = Field(5 * MIB, ge=0)
    max_bytes_in_flight: int = Field(256 * MIB, ge=MIB)
    copies_max_bytes: int = Field(64 * MIB, ge=0)
    keep_exif: bool = False
    allow_http: bool = False
    allowed_ports: str = "443,8443"
    allowed_hosts: str = ""  # host names or CIDR ranges that pass the address guard
    denied_hosts: str = ""  # addresses and CIDR ranges that nothing is sent to; wins over all
    ca_file: Path | None = None  # roots to trust beside the system's
    resolve_timeout_s: float = Field(5.0, gt=0)
    egress_proxy: str = ""
    link_ttl_s: int = Field(7 * 86400, ge=60)

    @field_validator("exchange_timeout_s")
    @classmethod
    def _fit_into_the_lease(cls, value: float, info: ValidationInfo) -> float:
        # Nothing is posted that might outlast its lease; looking up, reading and composing come
        # before that, and need their time too.
        lease_s = info.data.get("lease_s", inf)
        if value * LEASE_SHARE > lease_s:
            raise ValueError(
                f"times {LEASE_SHARE} must fit into DELIVERY_LEASE_S, which is {lease_s:g}"
            )
        return value

    @field_validator("schedule_s")
    @classmethod
    def _check_schedule(cls, value: str) -> str:
        if not value or any(float(part) < 0 for part in value.split(",")):
            raise ValueError("must be delays in seconds, separated by commas, none negative")
        return value


class SecretSettings(BaseSettings):
    """Keys of the instance. Without `SECRETS_KEY` signing secrets cannot be read or made."""

    model_config = _group("SECRETS_")
    key: SecretStr = SecretStr("")  # 32 random bytes, base64: `photo-archive keys secret`


class TelemetrySettings(BaseSettings):
    """Logs, metrics, traces."""

    model_config = _group("TELEMETRY_")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(0, ge=0, le=65535)  # 0: no metrics server in consumers
    otlp_endpoint: str = ""  # empty: no traces leave the process


MAX_DAYS = 36_500  # a century; PostgreSQL refuses times before 4713 BC


class RetentionSettings(BaseSettings):
    """How long what grows is kept. 0: for ever."""

    model_config = _group("RETENTION_")
    queries_days: int = Field(90, ge=0, le=MAX_DAYS)
    deliveries_days: int = Field(30, ge=0, le=MAX_DAYS)
    failures_days: int = Field(365, ge=0, le=MAX_DAYS)
    dead_letters_days: int = Field(90, ge=0, le=MAX_DAYS)
    host_events_days: int = Field(365, ge=0, le=MAX_DAYS)  # who disabled and resumed hosts
    jobs_days: int = Field(365, ge=0, le=MAX_DAYS)
    tombstones_days: int = Field(365, ge=0, le=MAX_DAYS)


class StandaloneSettings(BaseSettings):
    """The embedded servers and the supervisor."""

    model_config = _group("STANDALONE_")
    home: Path = Path("var")  # all data, logs and caches of the standalone mode
    kafka_port: int = Field(19092, ge=1024, le=32767)  # below the ephemeral range
    kafka_controller_port: int = Field(19093, ge=1024, le=32767)
    postgres_port: int = Field(15432, ge=1024, le=32767)
    ingress_port: int = Field(8080, ge=1024, le=32767)
    metrics_port: int = Field(19101, ge=1024, le=32767)  # the first consumer's; others above it
    kafka_heap_mib: int = Field(192, ge=128)
    tagging_processes: int = Field(1, ge=1, le=16)


Group = TypeVar("Group", bound=BaseSettings)


def load(group: type[Group]) -> Group:
    """Read one group from the environment.

    Raises:
        ConfigurationError: a value cannot be used; the message names each variable.
    """
    try:
        return group()
    except ValidationError as error:
        prefix = group.model_config.get("env_prefix", "")
        problems = "; ".join(
            f"{prefix}{'_'.join(str(part) for part in problem['loc'])}".upper()
            + f": {problem['msg']} (got {problem['input']!r})"
            for problem in error.errors(include_url=False)
        )
        raise ConfigurationError(problems) from error
