"""Record every address that a socket of this process is told to connect to.

It is an audit hook, so that no layer of a client can hide a connection from it. While it is active,
no connection is made: each attempt is recorded and refused. It works with asyncio's own event loop;
uvloop connects inside libuv, which audit hooks do not see.
"""

import errno
import ipaddress
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from typing import Any

IPAddress = IPv4Address | IPv6Address
_watching: list[list[IPAddress]] = []
_installed: list[bool] = []


@contextmanager
def watched_dialling() -> Iterator[list[IPAddress]]:
    """Yield the list of addresses, to which each attempt is added."""
    if not _installed:
        sys.addaudithook(_on_event)  # audit hooks cannot be removed
        _installed.append(True)
    dialled: list[IPAddress] = []
    _watching.append(dialled)
    try:
        yield dialled
    finally:
        _watching.remove(dialled)


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _watching and isinstance(arguments[1], tuple):
        _watching[-1].append(ipaddress.ip_address(str(arguments[1][0]).partition("%")[0]))
        raise ConnectionRefusedError(errno.ECONNREFUSED, "connections are watched, not made")


def is_inside(address: IPAddress) -> bool:
    """Return whether an address may be inside a private network, without the guard's table.

    It uses Python's own registries and the few ranges that these wrongly call global, and not
    `core.egress.addresses`: with one list for both, the test would not notice a hole in it.
    """
    if isinstance(address, IPv6Address) and int(address) >> 32 in _STANDS_FOR_IPV4:
        # A connection to one goes to that IPv4 host, so only the IPv4 address counts. Python 3.11
        # calls them all private or reserved.
        return is_inside(IPv4Address(int(address) & 0xFFFFFFFF))
    if not address.is_global or address.is_multicast or address.is_reserved:
        return True
    if any(
        address in network for network in _NOT_REALLY_GLOBAL if network.version == address.version
    ):
        return True
    return isinstance(address, IPv6Address) and any(map(is_inside, _carried(address)))


_STANDS_FOR_IPV4 = frozenset({0xFFFF, 0x64FF9B << 64})  # v4-mapped; NAT64 (RFC 6052)


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    number = int(address)
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if number >> 32 == 0:  # IPv4-compatible
        yield IPv4Address(number & 0xFFFFFFFF)


_NOT_REALLY_GLOBAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "168.63.129.16/32", "192.88.99.0/24", "192.0.0.0/24", "fec0::/10", "5f00::/16",
        "3fff::/20", "64:ff9b:1::/48", "100::/64", "2001::/23",
    )
)  # fmt: skip
