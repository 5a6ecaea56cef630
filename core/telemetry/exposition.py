"""Serving `/metrics` beside the work, and never in its way."""

import asyncio
import errno

import structlog
from prometheus_client import start_http_server

from core.errors import ConfigurationError
from core.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

#: How often a taken port is tried again.
RETRY_S = 5.0


def expose(metrics: Metrics, *, host: str, port: int, retry_s: float = RETRY_S) -> None:
    """Serve `/metrics` from a daemon thread until the process ends. Needs a running loop.

    A taken port stops nobody's work: the log says so, and it is tried again until it is free. A
    predecessor that is suspended and not ended holds it, or whoever was started in the same moment.

    Args:
        metrics: what to serve.
        host: address to listen on.
        port: TCP port; 0 serves nothing.
        retry_s: seconds between two tries at a taken port.

    Raises:
        ConfigurationError: the address is none that could be listened on.
    """
    if port and not _is_open(metrics, host, port):
        log.error("metrics_port_taken", setting="TELEMETRY_METRICS_PORT", host=host, port=port)
        _try_later(metrics, host, port, retry_s)


def _try_later(metrics: Metrics, host: str, port: int, retry_s: float) -> None:
    def again() -> None:
        if _is_open(metrics, host, port):
            log.info("metrics_served", host=host, port=port)
        else:
            _try_later(metrics, host, port, retry_s)

    asyncio.get_running_loop().call_later(retry_s, again)


def _is_open(metrics: Metrics, host: str, port: int) -> bool:
    try:
        start_http_server(port, addr=host, registry=metrics.registry)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise ConfigurationError(
            f"TELEMETRY_METRICS_HOST, TELEMETRY_METRICS_PORT: {host}:{port}: {error.strerror}"
        ) from error
    return True
