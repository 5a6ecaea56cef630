"""Serve `/metrics` and `/livez` without ever stopping the process's work."""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import make_wsgi_app

from core.errors import ConfigurationError
from core.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

#: How often a taken port is tried again.
RETRY_S = 5.0
#: Errors that waiting does not cure: another machine's address, a port below 1024.
_HOPELESS = {errno.EADDRNOTAVAIL, errno.EACCES}

Answer = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    """Answers each request in a thread: one slow scrape keeps no probe waiting."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    """Logs nothing: probes come every few seconds."""

    timeout = 10  # a client that sends nothing holds a thread no longer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
        """Log nothing."""


def expose(metrics: Metrics, *, host: str, port: int, retry_s: float = RETRY_S) -> None:
    """Serve `/metrics` and `/livez` from daemon threads until the process ends.

    Needs a running loop. If the port is taken it is logged and tried again until it is free. A
    suspended predecessor may hold it, or a process that was started at the same moment.

    Args:
        metrics: what to serve; `/livez` answers 503 while a part of the process stands still.
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


def expose_on(metrics: Metrics, listening: socket.socket) -> None:
    """Serve as `expose` does, on a socket that listens already."""
    kind = _kind(listening.family)
    address: tuple[str, int] = listening.getsockname()[:2]
    server = kind(address, _Silent, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.server_name, server.server_port = address
    server.setup_environ()
    server.set_app(answering(metrics))
    _serve(server)


def answering(metrics: Metrics) -> Answer:
    """Return what answers requests: `/livez`, and the metrics to all others."""
    scraped = make_wsgi_app(metrics.registry)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != "/livez":
            body: Iterable[bytes] = scraped(environ, start_response)
            return body
        stuck = metrics.signs.stuck()
        status = "503 Service Unavailable" if stuck else "200 OK"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return ["".join(f"{line}\n" for line in stuck or ["ok"]).encode()]

    return answer


def _try_later(metrics: Metrics, host: str, port: int, retry_s: float) -> None:
    def again() -> None:
        if _try_to_serve(metrics, host, port):
            _try_later(metrics, host, port, retry_s)
        else:
            log.info("metrics_served", host=host, port=port)

    asyncio.get_running_loop().call_later(retry_s, again)


def _try_to_serve(metrics: Metrics, host: str, port: int) -> OSError | None:
    try:
        start_server(answering(metrics), host, port)
    except OSError as error:
        return error
    return None


def start_server(answer: Answer, host: str, port: int) -> None:
    """Serve from daemon threads.

    Raises:
        OSError: the address cannot be had.
    """
    family, address = _address(host, port)
    _serve(make_server(address, port, answer, _kind(family), handler_class=_Silent))


def _kind(family: int) -> type[_Server]:
    return type("_Server", (_Server,), {"address_family": family})


def _serve(server: WSGIServer) -> None:
    Thread(target=server.serve_forever, daemon=True).start()


def _address(host: str, port: int) -> tuple[int, str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return found[0][0], str(found[0][4][0])
