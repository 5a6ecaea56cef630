"""Serve `/metrics` without ever stopping the process's work."""

import asyncio
import errno
import socket

import structlog
from prometheus_client import start_http_server

from core.errors import ConfigurationError
from core.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

#: How often a taken port is tried again.
RETRY_S = 5.0
#: Errors that waiting does not cure: another machine's address, a port below 1024.
_HOPELESS = {errno.EADDRNOTAVAIL, errno.EACCES}


def expose(metrics: Metrics, *, host: str, port: int, retry_s: float = RETRY_S) -> None:
    """Serve `/metrics` from a daemon thread until the process ends. Needs a running loop.

    If the port is taken it is logged and tried again until it is free. A suspended predecessor may
    hold it, or a process that was started at the same moment.

    Args:
        metrics: what to serve.
        host: address to listen on.
        port: TCP port; 0 serves nothing.
        retry_s: seconds between two tries.

    Raises:
        ConfigurationError: the address is none that could be listened on.
    """
    problem = _try_to_serve(metrics, host, port) if port else None
    if problem is None:
        return
    if problem.errno in _HOPELESS or isinstance(problem, socket.gaierror):
        raise ConfigurationError(
            f"TELEMETRY_METRICS_HOST, TELEMETRY_METRICS_PORT: {host}:{port}: {problem.strerror}"
        ) from problem
    log.error("metrics_not_served", host=host, port=port, error=problem.strerror)
    _try_later(metrics, host, port, retry_s)


def _try_later(metrics: Metrics, host: str, port: int, retry_s: float) -> None:
    def again() -> None:
        if _try_to_serve(metrics, host, port):
            _try_later(metrics, host, port, retry_s)
        else:
            log.info("metrics_served", host=host, port=port)

    asyncio.get_running_loop().call_later(retry_s, again)


def _try_to_serve(metrics: Metrics, host: str, port: int) -> OSError | None:
    try:
        start_http_server(port, addr=host, registry=metrics.registry)
    except OSError as error:
        return error
    return None
