"""Translate errors of aiohttp, httpx, OpenSSL and sockets into one kind per failure."""

import errno
import ssl
from collections.abc import Iterator
from enum import StrEnum

import aiohttp

from core.errors import TargetUnreachable


class FailureKind(StrEnum):
    """The kind of a failed exchange; stable, as it is a metric's label and an attempt's outcome."""

    DNS = "dns"
    REFUSED = "refused"
    RESET = "reset"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TLS = "tls"
    PROTOCOL = "protocol"


# First match wins, over the whole chain of causes. The httpx exception on top is of no use:
# httpx-aiohttp 0.2.0 calls every aiohttp.ClientConnectionError, a reset included, ConnectTimeout.
_KINDS: tuple[tuple[tuple[type[BaseException], ...], FailureKind], ...] = (
    ((ssl.SSLError, ssl.CertificateError, aiohttp.ClientSSLError), FailureKind.TLS),
    ((aiohttp.ClientConnectorDNSError,), FailureKind.DNS),
    ((ConnectionRefusedError,), FailureKind.REFUSED),
    (
        (
            ConnectionResetError,
            ConnectionAbortedError,
            BrokenPipeError,
            aiohttp.ServerDisconnectedError,
        ),
        FailureKind.RESET,
    ),
    ((TimeoutError,), FailureKind.TIMEOUT),
    ((aiohttp.ClientResponseError, aiohttp.ClientPayloadError), FailureKind.PROTOCOL),
    ((OSError, aiohttp.ClientConnectionError), FailureKind.UNREACHABLE),
)

# Our own machine lacks a resource; the target is not at fault.
_LOCAL_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def unreachable(host: str, error: BaseException) -> TargetUnreachable:
    """Return a library's error as ours, `infra` where this machine or the proxy is at fault."""
    chain = tuple(_causes(error))
    root = chain[-1]
    return TargetUnreachable(
        f"{host}: {str(root) or type(root).__name__}", kind=_kind(chain), infra=_is_ours(chain)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _kind(chain: tuple[BaseException, ...]) -> FailureKind:
    for types, kind in _KINDS:
        if any(isinstance(link, types) for link in chain):
            return kind
    return FailureKind.PROTOCOL


def _is_ours(chain: tuple[BaseException, ...]) -> bool:
    return any(
        isinstance(link, (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError))
        or (isinstance(link, OSError) and link.errno in _LOCAL_ERRNOS)
        for link in chain
    )
