"""aiohttp's connector with the guard inside: it opens sockets to checked addresses only.

The resolver hook sees names before a connection is made; the socket hook sees every address,
IP literals too, which skip the resolver (aiohttp 3.14). Name and address are thus one lookup:
what was checked is what is connected to, and TLS and the Host header keep the name.
"""

import asyncio
import errno
import select
import socket
import time
from dataclasses import dataclass
from functools import partial
from ssl import SSLContext
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from core.egress.addresses import parse_address
from core.egress.answering import RequestTrace, StatusReader, trace_of_request
from core.egress.guard import TargetGuard
from core.egress.targets import TargetPolicy
from core.errors import TargetForbidden

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import AddrInfoType, Connection
    from aiohttp.tracing import Trace

KEEP_ALIVE_S = 30.0


@dataclass(frozen=True, slots=True)
class _Judged:
    """An allowed connection: its age, its peer, and the host that it was checked for."""

    opened_at: float
    host: str = ""
    address: str = ""


class GuardedConnector(aiohttp.TCPConnector):
    """Opens connections to checked addresses, with bounds per host, on age and on idle ones."""

    def __init__(
        self,
        guard: TargetGuard,
        *,
        ssl_context: SSLContext,
        per_host: int,
        max_open: int,
        max_age_s: float,
    ) -> None:
        super().__init__(
            ssl=ssl_context,
            resolver=_CheckedResolver(guard),
            use_dns_cache=False,  # the resolver has its own, with single flight and failures
            socket_factory=_socket_factory(guard.policy),
            keepalive_timeout=KEEP_ALIVE_S,
            limit=0,  # callers bound their requests; a total here would couple hosts
            limit_per_host=per_host,
        )
        # What reads the answers on each new connection; aiohttp 3.14 has no public way to say so.
        reader = partial(StatusReader, loop=self._loop)
        self._factory = cast("partial[ResponseHandler]", reader)  # a partial is invariant
        self._policy = guard.policy
        self._max_open = max_open
        self._max_age_s = max_age_s
        self._judged: WeakKeyDictionary[ResponseHandler, _Judged] = WeakKeyDictionary()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: "list[Trace]",
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's signature
    ) -> "Connection":
        """Return a connection whose peer passed the guard; note the peer in the request's trace.

        Raises:
            TargetForbidden: the peer is not an address that the policy allows.
        """
        connection = await super().connect(req, traces, timeout)
        while connection.protocol in self._judged and _has_ended(connection.transport):
            connection.close()
            connection = await super().connect(req, traces, timeout)
        try:
            self._note(connection, trace_of_request.get())
        except BaseException:
            connection.close()
            raise
        return connection

    def _note(self, connection: "Connection", trace: RequestTrace) -> None:
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            return  # closed already; the request will fail
        if isinstance(protocol, StatusReader):
            protocol.trace = trace
        now = time.monotonic()
        judged = self._judged.get(protocol)
        trace.reused = judged is not None
        trace.mark("ready")
        if judged is None or judged.host != trace.host:
            # Otherwise nothing can have changed: a socket keeps its peer, and the policy is fixed.
            opened_at = now if judged is None else judged.opened_at
            judged = self._judge(transport, trace, opened_at)
            self._judged[protocol] = judged
        trace.remote_address = judged.address
        if now - judged.opened_at > self._max_age_s or self._open_count() > self._max_open:
            protocol.force_close()

    def _judge(
        self, transport: asyncio.Transport, trace: RequestTrace, opened_at: float
    ) -> _Judged:
        peer = transport.get_extra_info("peername")
        if peer is None:
            return _Judged(opened_at)
        address = str(peer[0])
        self._policy.check_connection(
            trace.host, parse_address(address), peer[1], to_inbox=trace.to_inbox
        )
        return _Judged(opened_at, trace.host, address)

    def _open_count(self) -> int:
        if len(self._judged) > self._max_open:
            for protocol in [one for one in self._judged if not one.is_connected()]:
                del self._judged[protocol]
        return len(self._judged)


def _has_ended(transport: asyncio.Transport | None) -> bool:
    """Return whether the peer of an idle connection has closed it, or said what nobody asked for.

    The kernel knows before the event loop has read it, which may be busy; what is sent on such a
    connection fails, and nobody knows of a POST that failed so whether it was read.
    """
    peer = None if transport is None else transport.get_extra_info("socket")
    if peer is None or peer.fileno() < 0:
        return True
    look = select.poll()
    look.register(peer.fileno(), select.POLLIN)
    return bool(look.poll(0))


class _CheckedResolver(AbstractResolver):
    def __init__(self, guard: TargetGuard) -> None:
        self._guard = guard

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  # we give all families
    ) -> list[ResolveResult]:
        trace = trace_of_request.get()
        trace.mark("resolving")
        addresses = await self._guard.addresses(host)
        trace.mark("resolved")
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing of its own to close."""


def _socket_factory(policy: TargetPolicy) -> "aiohttp.SocketFactoryType":
    def make_socket(address_info: "AddrInfoType") -> socket.socket:
        family, kind, protocol, _, address = address_info
        trace = trace_of_request.get()
        trace.marks.setdefault("connecting", time.monotonic())
        try:
            peer = parse_address(str(address[0]))
            policy.check_connection(trace.host, peer, int(address[1]), to_inbox=trace.to_inbox)
        except TargetForbidden as error:
            # aiohappyeyeballs 2.7 expects OSError from a factory, and swallows all others.
            trace.forbidden = error
            raise PermissionError(errno.EACCES, str(error)) from error
        return socket.socket(family, kind, protocol)

    return make_socket
