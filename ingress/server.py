"""Serving with uvicorn, and an orderly stop."""

import asyncio
import resource
import signal
import socket
from contextlib import AbstractContextManager, nullcontext
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from core.errors import ConfigurationError
from core.settings import IngressSettings
from core.starting import taken_over
from ingress.dependencies import Readiness
from ingress.http.idling import IdleConnections
from ingress.http.limits import WireLimits
from ingress.protocol import BoundedProtocol
from ingress.routes.operating import health

KEEP_ALIVE_S = 5
DRAIN_TIMEOUT_S = 20  # for requests under way at the end; orchestrators kill after 30 s
BACKLOG = 2048
OTHER_DESCRIPTORS = 100  # of the database, Kafka, files that are being read


class Server(uvicorn.Server):
    """Stops in steps: not ready, a delay for load balancers, no new connections, drain, end."""

    def __init__(
        self,
        config: uvicorn.Config,
        readiness: Readiness,
        *,
        limits: WireLimits,
        stop_delay_s: float,
    ) -> None:
        super().__init__(config)
        self._readiness = readiness
        self._limits = limits
        self._idle: IdleConnections[BoundedProtocol] = IdleConnections()
        self._stop_delay_s = stop_delay_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. uvicorn's own would give a client a minute for its TLS handshake."""
        loop = asyncio.get_running_loop()
        timeout_s = self._limits.header_timeout_s if self.config.ssl else None
        self.servers = [
            await loop.create_server(
                self._protocol,
                sock=one,
                ssl=self.config.ssl,
                backlog=self.config.backlog,
                ssl_handshake_timeout=timeout_s,
                ssl_shutdown_timeout=timeout_s,
            )
            for one in sockets or ()
        ]
        self.started = True

    def _protocol(self) -> BoundedProtocol:
        return BoundedProtocol(
            config=self.config,
            server_state=self.server_state,
            app_state={},
            limits=self._limits,
            idle=self._idle,
        )

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leave the signals to `stop_on_signals`.

        uvicorn would raise them again at the end of `serve`: a SIGTERM would then end the process
        before outbox and pool are closed.
        """
        return nullcontext()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop at the first signal; abort pending requests at the second."""
        if not self._readiness.is_ready or self._stop_delay_s == 0:
            self._readiness.is_ready = False
            super().handle_exit(sig, frame)
            return
        self._readiness.is_ready = False
        loop = asyncio.get_running_loop()
        loop.call_later(self._stop_delay_s, super().handle_exit, sig, frame)


def limits_of(settings: IngressSettings) -> WireLimits:
    """Return the bounds of a connection: two by settings, the rest constants."""
    return WireLimits(
        header_timeout_s=settings.header_timeout_s,
        connections=settings.max_connections,
        probes=frozenset(one.path.encode() for one in health.OPERATIONS if one.is_probe),
    )


def make_server(
    app: ASGIApp,
    settings: IngressSettings,
    readiness: Readiness,
    limits: WireLimits | None = None,
) -> Server:
    """Return a server for the application, not yet listening.

    Raises:
        ConfigurationError: the certificate or its key cannot be used.
    """
    settings.check_certificate()
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_config=None,  # structlog has the root logger; the access log is the envelope's
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
        ssl_certfile=settings.ssl_certfile,
        ssl_keyfile=settings.ssl_keyfile,
    )
    config.load()
    return Server(
        config,
        readiness,
        limits=limits or limits_of(settings),
        stop_delay_s=settings.stop_delay_s,
    )


def allow_descriptors(connections: int) -> None:
    """Raise this process's soft limit of open files, often 1,024, so that connections fit in."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def stop_on_signals(server: Server) -> None:
    """Let SIGTERM and SIGINT stop the server in order; call it in the running loop."""
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, server.handle_exit, sig, None)


def listen(settings: IngressSettings, inherited: int | None = None) -> socket.socket:
    """Return a listening socket.

    Args:
        settings: say where.
        inherited: the descriptor of a socket that listens there already; None: it is made here.

    Raises:
        ConfigurationError: the address cannot be used; uvicorn would exit without saying why.
    """
    if inherited is not None:
        return taken_over(inherited)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server(
            (settings.host, settings.port), family=family, backlog=BACKLOG, reuse_port=False
        )
    except OSError as error:
        raise ConfigurationError(
            f"INGRESS_HOST, INGRESS_PORT: {settings.host}:{settings.port}: {error.strerror}"
        ) from error
