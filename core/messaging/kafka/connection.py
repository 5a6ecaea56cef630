"""Options that all our Kafka clients share, and the prefix of topic and group names."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka.errors import KafkaError

from core.errors import BrokerAway, ConfigurationError
from core.messaging.limits import CLIENT_LIMITS, ClientLimits
from core.settings import KafkaSettings


def client_options(
    settings: KafkaSettings,
    *,
    client_id: str,
    limits: ClientLimits = CLIENT_LIMITS,
) -> dict[str, Any]:
    """Return the keyword arguments that aiokafka's consumer, producer and clients share.

    Raises:
        ConfigurationError: the file of certificates cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "client_id": client_id,
        "request_timeout_ms": limits.request_timeout_ms,
        "metadata_max_age_ms": 60_000,
        "retry_backoff_ms": 250,  # aiokafka's 100 floods the log while the broker is away (#496)
    }
    return options | login_options(settings)


def login_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return those of the keyword arguments that open the connection and log in.

    Raises:
        ConfigurationError: the file of certificates cannot be read.
    """
    options: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password.get_secret_value()
    return options


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ssl_cafile)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"KAFKA_SSL_CAFILE: {settings.ssl_cafile}: {error}") from error


def on_broker(settings: KafkaSettings, name: str) -> str:
    """Return a topic's or group's name as the broker knows it."""
    return settings.topic_prefix + name


def logical(settings: KafkaSettings, name: str) -> str:
    """Return a name of the broker without the prefix."""
    return name.removeprefix(settings.topic_prefix)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Translate aiokafka's errors into `BrokerAway`.

    Raises:
        BrokerAway: any error of aiokafka, the network or a time limit inside the block.
    """
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerAway(f"{what}: {in_words(error)}") from error


def in_words(error: BaseException) -> str:
    """Return what an error says; aiokafka's say their own name, and a time limit says nothing."""
    said, kind = str(error), type(error).__name__
    if isinstance(error, TimeoutError) and not said:
        return "no answer in time"
    return said if said.startswith(kind) else f"{kind}: {said}"


def is_cancelled() -> bool:
    """Return whether somebody cancels the running task; aiokafka raises `CancelledError` too."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
