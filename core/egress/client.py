"""The guarded HTTP client, for all requests to URLs from outside.

httpx requests on aiohttp's connections: 0.17 ms of CPU per POST of 1 kB, guard included, where
httpx's own pool takes 2 to 3 ms and degrades with connections. No redirects, cookies, content
coding, or proxies from the environment. A POST has one deadline up to the answer's status line,
and a short time more for the rest of it; a download has one deadline. Answers are cut as they
stream.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Self

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from core.egress.answering import (
    ExactRequest,
    ReadableResponse,
    RequestTrace,
    exact_url,
    trace_of_request,
)
from core.egress.connector import GuardedConnector
from core.egress.exchange import Download, Exchange, Reading
from core.egress.failures import FailureKind, unreachable
from core.egress.guard import TargetGuard
from core.egress.proxying import parse_proxy
from core.egress.requesting import DEFAULT_HEADERS, OutgoingCall, request_of
from core.egress.resolver import HostResolver
from core.egress.targets import Target, TargetPolicy
from core.egress.tls import default_ssl_context
from core.errors import TargetForbidden, TargetUnreachable
from core.settings import EgressSettings

# A kept connection may die in the moment it is used again; that is no failure of the target. A
# download is asked for again. A POST is not: its receiver may have read it, and whoever sends it
# counts it as an attempt (`TargetUnreachable.on_kept`).
STALE_RETRIES = {"GET": 2, "POST": 0}
_NETWORK_ERRORS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError)
MAX_TARGETS = 4096  # checked and parsed URLs in the cache, a few kB each


@dataclass(frozen=True, slots=True)
class EgressLimits:
    """Bounds of one client; `proxy` is the operator's own, for all requests."""

    connect_timeout_s: float = 5.0  # a handshake across the world takes less than one
    response_max_bytes: int = 16 * 1024  # only the status and the first words are kept
    per_host_connections: int = 8
    max_open_connections: int = (
        512  # beyond it they are closed after use: idle ones grow with hosts
    )
    max_connection_age_s: float = 300.0  # then closed after use, so that changes of DNS take effect
    proxy: str = ""
    ca_file: Path | None = None  # roots to trust beside the system's

    @classmethod
    def from_settings(cls, settings: EgressSettings) -> "EgressLimits":
        """Return the bounds that the settings describe."""
        return cls(
            per_host_connections=settings.per_host_connections,
            proxy=settings.proxy.get_secret_value(),
            ca_file=settings.ca_file,
        )


class GuardedClient:
    """Sends requests to addresses that the policy allows. An async context manager for many tasks.

    With an egress proxy the client connects to the proxy alone, which resolves the names: the
    policy still judges each URL and address literal, the addresses of names are the proxy's part.

    Args:
        guard: decides which addresses may be connected to.
        limits: bounds; the number of requests at a time is the caller's.
        ssl_context: trusted roots; None: the system's and certifi's.

    Raises:
        ConfigurationError: the proxy's address cannot be used; on entering, the file of roots.
    """

    def __init__(
        self,
        guard: TargetGuard,
        limits: EgressLimits | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._guard = guard
        self._limits = limits or EgressLimits()
        self._ssl_context = ssl_context
        self._proxy = parse_proxy(self._limits.proxy)
        self._transport: httpx.AsyncBaseTransport | None = None
        # Callbacks come back, and the policy is fixed; an error is not remembered.
        self._target = lru_cache(MAX_TARGETS)(guard.policy.check_url)
        self._url = lru_cache(MAX_TARGETS)(httpx.URL)
        self._exact_url = lru_cache(MAX_TARGETS)(exact_url)

    async def __aenter__(self) -> Self:
        """Open the pool."""
        context = self._ssl_context or default_ssl_context(self._limits.ca_file)
        session = aiohttp.ClientSession(
            connector=GuardedConnector(
                self._dial_guard(),
                ssl_context=context,
                per_host=self._limits.per_host_connections,
                max_open=self._limits.max_open_connections,
                max_age_s=self._limits.max_connection_age_s,
            ),
            headers=DEFAULT_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=ExactRequest,
            response_class=ReadableResponse,
            trust_env=False,
            auto_decompress=False,
        )
        # The transport without httpx's client around it: what would store cookies, follow
        # redirects or read .netrc is not there, nor its 0.1 ms a request.
        self._transport = AiohttpTransport(
            client=session, verify=context, trust_env=False, proxy=self._proxy
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def check(self, url: str) -> Target:
        """Return the target of a URL that may be called, without calling it: for the submission.

        Raises:
            TargetForbidden: the URL or an address of its host breaks a rule.
            TargetUnreachable: the name cannot be resolved now, which is no reason to refuse it.
        """
        if self._proxy is not None:
            return self._guard.policy.check_url(url)
        return await self._guard.check(url)

    async def post(
        self,
        url: str,
        *,
        content: bytes,
        headers: Mapping[str, str],
        timeout_s: float,
        body_s: float,
    ) -> Exchange:
        """Post once and return the answer, whatever its status.

        An answer counts from its status line on, since the receiver has decided by then: one whose
        headers or body are late, broken or endless is returned with `body_complete` false.

        Args:
            url: where to.
            content: the body of the request.
            headers: beside the client's own.
            timeout_s: from the start to the end of the answer's status line.
            body_s: how long its headers and its body are read after that, the body up to
                `response_max_bytes`.

        Raises:
            TargetForbidden: the guard refuses the URL or an address of its host.
            TargetUnreachable: no status arrived; `kind` says why. The target may have the request.
        """
        started = time.monotonic()
        target = self._target(url)
        reading = Reading(self._limits.response_max_bytes)
        trace = self._trace(target)
        call = OutgoingCall("POST", target, timeout_s, body_s, headers, content)
        try:
            await self._perform(call, trace, reading)
        except TargetUnreachable as error:
            if reading.status is None:
                error.times_ms, error.on_kept = trace.times_ms(), _is_stale(error, trace)
                raise
        return reading.exchange(
            took_ms=(time.monotonic() - started) * 1000,
            remote_address=trace.remote_address,
            times_ms=trace.times_ms(),
        )

    async def get(self, url: str, *, max_bytes: int, timeout_s: float) -> Download:
        """Return a resource of at most `max_bytes`; a redirect is an answer like any other.

        Raises:
            TargetForbidden: the guard refuses the URL or an address of its host.
            TargetUnreachable: no answer, or one that broke off; `kind` says why.
        """
        target = self._guard.policy.check_url(url)
        if target.is_inbox:
            raise TargetForbidden(f"{target.host}: the receiver in the box takes webhooks alone")
        reading = Reading(max_bytes)
        await self._perform(OutgoingCall("GET", target, timeout_s), self._trace(target), reading)
        return reading.download()

    async def _perform(self, call: OutgoingCall, trace: RequestTrace, reading: Reading) -> None:
        token = trace_of_request.set(trace)
        try:
            async with asyncio.timeout(call.timeout_s) as deadline:
                for _ in range(STALE_RETRIES[call.method]):
                    if await self._answered(call, trace, reading, deadline):
                        return
                await self._attempt(call, trace, reading, deadline)
        except TimeoutError as error:
            message = f"{call.target.host}: no complete answer within {call.timeout_s:g} s"
            raise TargetUnreachable(message, kind=FailureKind.TIMEOUT) from error
        finally:
            trace_of_request.reset(token)

    async def _answered(
        self, call: OutgoingCall, trace: RequestTrace, reading: Reading, deadline: asyncio.Timeout
    ) -> bool:
        """Return False where a stale kept connection was at fault: the request is repeated."""
        try:
            await self._attempt(call, trace, reading, deadline)
        except TargetUnreachable as error:
            if _is_stale(error, trace) and reading.status is None:
                return False
            raise
        return True

    async def _attempt(
        self, call: OutgoingCall, trace: RequestTrace, reading: Reading, deadline: asyncio.Timeout
    ) -> None:
        if self._transport is None:
            raise RuntimeError("the client is used outside its context")
        trace.reused, trace.status = False, None
        trace.marks.clear()
        if call.body_s is not None:
            trace.heard = partial(_shorten, deadline, call.body_s)
        try:
            response = await self._transport.handle_async_request(self._request(call))
            try:
                await reading.take(response)
            finally:
                await response.aclose()
        except (*_NETWORK_ERRORS, ValueError) as error:
            raise _failure(call.target.host, trace, error) from error
        finally:
            trace.heard = _nothing
            if reading.status is None:
                reading.status = trace.status

    def _request(self, call: OutgoingCall) -> httpx.Request:
        url = self._url(call.target.url)
        return request_of(call, url, connect_timeout_s=self._limits.connect_timeout_s)

    def _trace(self, target: Target) -> RequestTrace:
        host = self._proxy.url.host if self._proxy is not None else target.host
        exact, is_plain = self._exact_url(target.url), target.scheme == "http"
        return RequestTrace(host, exact, is_plain=is_plain, to_inbox=target.is_inbox)

    def _dial_guard(self) -> TargetGuard:
        if self._proxy is None:
            return self._guard
        only_the_proxy = TargetPolicy(allowed_hosts=frozenset({self._proxy.url.host}))
        return TargetGuard(only_the_proxy, self._guard.resolver)


@asynccontextmanager
async def open_client(
    settings: EgressSettings, own_ports: frozenset[int] = frozenset(), inbox: str = ""
) -> AsyncIterator[GuardedClient]:
    """Yield a guarded client as the settings describe it, with its resolver.

    Args:
        settings: the operator's rules.
        own_ports: where the archive itself listens on this machine.
        inbox: what addresses of the receiver in the box begin with; empty: there is none.

    Raises:
        ConfigurationError: a setting cannot be used; names the variable.
    """
    policy = TargetPolicy.from_settings(settings, own_ports, inbox)
    limits = EgressLimits.from_settings(settings)
    async with (
        HostResolver() as resolver,
        GuardedClient(TargetGuard(policy, resolver), limits) as client,
    ):
        yield client


def _failure(
    host: str, trace: RequestTrace, error: Exception
) -> TargetForbidden | TargetUnreachable:
    if trace.forbidden is not None:
        return trace.forbidden
    if trace.status is None and not isinstance(error, _NETWORK_ERRORS):
        # A library cannot encode the URL or a header. `check_url` refuses the known cases; the
        # others must not crash the caller. Where there is a status, it could not read the answer.
        return TargetForbidden(f"{host}: cannot be asked: {error}")
    return unreachable(host, error)


def _is_stale(error: TargetUnreachable, trace: RequestTrace) -> bool:
    return error.kind == FailureKind.RESET and trace.reused


def _shorten(deadline: asyncio.Timeout, left_s: float) -> None:
    """End the reading so soon, unless it is ending already."""
    if not deadline.expired():
        deadline.reschedule(asyncio.get_running_loop().time() + left_s)


def _nothing() -> None:
    """Hear no more."""
