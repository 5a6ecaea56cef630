"""Settings: frozen groups, read from the environment and `.env`. Units stand in the names.

Composition roots load them once; nothing else reads the environment. A group's variables share its
prefix: `DatabaseSettings.pool_size` is `DATABASE_POOL_SIZE`. A limit that no operator has had to
set is a constant beside the code that uses it (decision 0020).
"""

import os
import ssl
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from core.addresses import (
    check_brokers,
    check_database_url,
    check_origins,
    check_place,
    check_web_url,
    parse_roots,
    shown,
)
from core.errors import ConfigurationError
from core.variables import find_unknown, is_service_link

MIB = 1024 * 1024
CheckedT = TypeVar("CheckedT", str, SecretStr)


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """Return a validator for a text, secret or not, that `check` raises `ValueError` about."""

    def run(value: CheckedT) -> CheckedT:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text:
            check(text)
        return value

    return AfterValidator(run)


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
    url: Annotated[SecretStr, _checked(check_database_url)] = SecretStr(
        "postgresql://app:app@127.0.0.1:15432/photo_archive"
    )
    #: A pooler in transaction mode; empty or `none`: none. Migrations take `url`, past it.
    pooler_url: Annotated[SecretStr, _checked(check_database_url)] = SecretStr("")
    pool_size: int = Field(8, ge=2, le=100)
    command_timeout_s: float = Field(10.0, gt=0)

    @field_validator("pooler_url", mode="before")
    @classmethod
    def _allow_none(cls, value: Any) -> Any:
        # An empty variable counts as not set, and a line of `.env` would then hold.
        return "" if value == "none" else value


class KafkaSettings(Settings):
    """Kafka: where it is, how to log in, how topics are created."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_")
    bootstrap_servers: Annotated[str, _checked(check_brokers)] = "127.0.0.1:19092"
    topic_prefix: str = ""  # before every topic and group name, for a shared cluster
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str = ""
    sasl_password: SecretStr = Field(SecretStr(""), validate_default=True)
    ssl_cafile: Path | None = None
    partitions: int = Field(12, ge=1, le=1024)
    replication_factor: int = Field(1, ge=1, le=7)
    min_insync_replicas: int = Field(1, ge=1, le=7)
    session_timeout_ms: int = Field(10_000, ge=1000)

    @field_validator("sasl_password")
    @classmethod
    def _check_login(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        logs_in = str(info.data.get("security_protocol", "")).startswith("SASL")
        if logs_in and not (info.data.get("sasl_username") and value.get_secret_value()):
            raise ValueError("KAFKA_SECURITY_PROTOCOL asks for it and for KAFKA_SASL_USERNAME")
        return value


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
    roots: Annotated[str, _checked(parse_roots)] = ""
    blobs: Annotated[str, _checked(check_place)] = (
        "pg:"  # pg: | file:/dir | s3://bucket/prefix | gs://… | az://…
    )
    buckets: Annotated[str, _checked(check_place)] = (
        ""  # s3://bucket/prefix,gs://… that records' URIs may lie below
    )
    #: Where links point; empty: the ingress's own http://host:port.
    public_url: Annotated[str, _checked(check_web_url)] = ""
    fetch_max_bytes: int = Field(64 * MIB, ge=1024)

    def root_paths(self) -> dict[str, Path]:
        """Return the allowed roots: name -> absolute path."""
        return parse_roots(self.roots)

    def bucket_prefixes(self) -> tuple[str, ...]:
        """Return the URLs of the buckets and prefixes that may be read."""
        return tuple(filter(None, (part.strip() for part in self.buckets.split(","))))


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
    #: Of pages elsewhere that may use the API: https://page.example,… or *.
    cors_origins: Annotated[str, _checked(check_origins)] = ""
    lit_html: Path | None = None  # the WebJar that the page is drawn with

    def origins(self) -> tuple[str, ...]:
        """Return the origins of pages elsewhere that may use the API."""
        return tuple(filter(None, (part.strip() for part in self.cors_origins.split(","))))

    def check_certificate(self) -> None:
        """Check that the files of TLS are there and fit together.

        Raises:
            ConfigurationError: they do not; the message says which file.
        """
        for name in ("ssl_certfile", "ssl_keyfile"):
            path: Path | None = getattr(self, name)
            try:
                if path is not None:
                    path.open("rb").close()
            except OSError as error:
                told = f"INGRESS_{name.upper()}: {path}: {error.strerror}"
                raise ConfigurationError(told) from error
        if self.ssl_certfile is None:
            return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                self.ssl_certfile, self.ssl_keyfile
            )
        except OSError as error:  # ssl.SSLError is one
            raise ConfigurationError(
                f"INGRESS_SSL_CERTFILE, INGRESS_SSL_KEYFILE: {self.ssl_certfile} and"
                f" {self.ssl_keyfile} are no certificate and its key: {error}"
            ) from error


def base_url(archive: ArchiveSettings, ingress: IngressSettings) -> str:
    """Return where links point, without a slash at the end.

    Never the `Host` of a request, which its client chooses: the public URL, or else the address
    that the ingress listens on; of all addresses that is the one on this machine.
    """
    if archive.public_url:
        return archive.public_url.rstrip("/")
    host = "localhost" if ingress.host in {"0.0.0.0", "::", ""} else ingress.host  # noqa: S104
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if ingress.ssl_certfile else 'http'}://{shown}:{ingress.port}"


class TaggingSettings(Settings):
    """Tagging: the model, the hardware it runs on, and how it scores."""

    model_config = SettingsConfigDict(env_prefix="TAGGING_")
    model: str = "ViT-B-32"  # an open_clip name, `local-dir:FOLDER`, `hf-hub:OWNER/NAME`, or `demo`
    pretrained: str = "openai"  # a tag or a file of weights, for an open_clip name
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
    proxy: Annotated[SecretStr, _checked(check_web_url)] = SecretStr("")
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
        wrong = "must be delays in seconds, separated by commas, none negative"
        try:
            delays = [float(part) for part in value.split(",")]
        except ValueError:
            raise ValueError(wrong) from None  # Python's own speaks of strings and floats
        if not all(0 <= delay < inf for delay in delays):
            raise ValueError(wrong)
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
    #: Empty: no traces leave the process.
    otlp_endpoint: Annotated[SecretStr, _checked(check_web_url)] = SecretStr("")


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
            and is none; the message is one line, names each variable and tells no secret.
    """
    _check_names()
    try:
        return group()
    except ValidationError as error:
        # Not `from error`: it holds the values, and a traceback would show them.
        raise ConfigurationError(_told(group, error)) from None


def _told(group: type[Settings], error: ValidationError) -> str:
    names, sentences = variables(group), []
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0])
        said = problem["msg"].removeprefix("Value error, ")
        is_secret = group.model_fields[name].annotation is SecretStr
        sentences.append(
            f"{names[name]}: {said}" + ("" if is_secret else f" (got {shown(problem['input'])})")
        )
    return "; ".join(sentences)


def given() -> dict[str, str]:
    """Return the variables that are set, in the environment or else in `.env`."""
    in_file = {name: value or "" for name, value in DotEnvSettingsSource(Settings).env_vars.items()}
    return {name.upper(): value for name, value in in_file.items()} | dict(os.environ)


def _check_names() -> None:
    """Refuse variables of any group that would otherwise be ignored."""
    if sentences := find_unknown(given(), all_variables()):
        raise ConfigurationError("; ".join(sentences))
