"""The IP addresses that requests may go to: an explicit table, applied inside IPv6 as well.

The table is the union of what svix and smokescreen deny, of the IANA special-purpose registries,
and of addresses that only cloud providers know as special. `ipaddress.is_global` is no
substitute: Python 3.11 calls 224.0.0.1, fec0::1, 5f00::1, NAT64- and 6to4-wrapped 169.254.169.254
and Azure's 168.63.129.16 global. Pure: no lookups, no I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from core.errors import TargetForbidden

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class DeniedNetwork:
    """A range that no request may reach, and why."""

    network: IPNetwork
    why: str


@dataclass(frozen=True, slots=True)
class Carried:
    """An IPv4 address that an IPv6 address carries, and by which scheme."""

    address: IPv4Address
    scheme: str


def _table(*rows: tuple[str, str]) -> tuple[DeniedNetwork, ...]:
    return tuple(DeniedNetwork(ip_network(network), why) for network, why in rows)


# The order matters only for the message: narrower ranges come first.
DENIED: tuple[DeniedNetwork, ...] = _table(
    ("0.0.0.0/8", "this network (RFC 1122); Linux connects 0.0.0.0 to itself"),
    ("10.0.0.0/8", "private (RFC 1918)"),
    ("100.100.100.200/32", "instance metadata (Alibaba)"),
    ("100.64.0.0/10", "carrier-grade NAT (RFC 6598)"),
    ("127.0.0.0/8", "loopback (RFC 1122)"),
    ("168.63.129.16/32", "platform services (Azure); looks public, is not inside Azure"),
    ("169.254.169.254/32", "instance metadata (AWS, GCP, Azure and others)"),
    ("169.254.0.0/16", "link-local (RFC 3927)"),
    ("172.16.0.0/12", "private (RFC 1918)"),
    ("192.0.0.0/24", "IETF protocol assignments (RFC 6890); instance metadata (Oracle)"),
    ("192.0.2.0/24", "documentation (RFC 5737)"),
    ("192.88.99.0/24", "6to4 relay anycast (RFC 7526)"),
    ("192.168.0.0/16", "private (RFC 1918)"),
    ("198.18.0.0/15", "benchmarking (RFC 2544)"),
    ("198.51.100.0/24", "documentation (RFC 5737)"),
    ("203.0.113.0/24", "documentation (RFC 5737)"),
    ("224.0.0.0/4", "multicast (RFC 5771)"),
    ("255.255.255.255/32", "broadcast (RFC 919)"),
    ("240.0.0.0/4", "reserved (RFC 1112)"),
    ("::/128", "unspecified (RFC 4291); Linux connects it to itself"),
    ("::1/128", "loopback (RFC 4291)"),
    ("::/96", "IPv4-compatible (RFC 4291, withdrawn)"),
    ("::ffff:0:0:0/96", "IPv4-translated (RFC 2765, withdrawn)"),
    ("64:ff9b:1::/48", "local-use NAT64 (RFC 8215)"),
    ("100::/64", "discard (RFC 6666)"),
    ("100:0:0:1::/64", "dummy prefix (RFC 9780)"),
    ("2001::/32", "Teredo (RFC 4380)"),
    ("2001:2::/48", "benchmarking (RFC 5180)"),
    ("2001::/23", "IETF protocol assignments (RFC 2928)"),
    ("2001:db8::/32", "documentation (RFC 3849)"),
    ("2002::/16", "6to4 (RFC 7526, withdrawn)"),
    ("3fff::/20", "documentation (RFC 9637)"),
    ("5f00::/16", "segment routing (RFC 9602)"),
    ("fd00:ec2::254/128", "instance metadata (AWS)"),
    ("fc00::/7", "unique local (RFC 4193)"),
    ("fe80::/10", "link-local (RFC 4291)"),
    ("fec0::/10", "site-local (RFC 3879, withdrawn)"),
    ("ff00::/8", "multicast (RFC 4291)"),
)

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
# The two wrappings that reach exactly the IPv4 host inside, so that one is judged alone: v4-mapped
# is how IPv6 sockets write IPv4, and behind DNS64 every IPv4-only host has a NAT64 address.
_TRANSPARENT = (_MAPPED, _NAT64)

_LAST_32_BITS = (
    (IPv6Network("::/96"), "IPv4-compatible"),
    (_MAPPED, "IPv4-mapped"),
    (IPv6Network("::ffff:0:0:0/96"), "IPv4-translated"),
    (_NAT64, "NAT64"),
    (IPv6Network("64:ff9b:1::/48"), "local-use NAT64"),
)
# RFC 5214, 6.1: interface identifier 0000:5efe or 0200:5efe, then the IPv4 address.
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


def carried_addresses(address: IPAddress) -> tuple[Carried, ...]:
    """Return the IPv4 addresses inside an IPv6 one; empty for IPv4 and for plain IPv6.

    Teredo carries two: its server, and the client with all bits inverted (RFC 4380, 4).
    """
    if isinstance(address, IPv4Address):
        return ()
    number = int(address)
    if address.teredo is not None:
        server, client = address.teredo
        return Carried(server, "Teredo server"), Carried(client, "Teredo client")
    if address.sixtofour is not None:
        return (Carried(address.sixtofour, "6to4"),)
    for network, scheme in _LAST_32_BITS:
        if address in network and number > 1:  # :: and ::1 carry nothing
            return (Carried(_low_32_bits(number), scheme),)
    if (number >> 32) & 0xFFFF_FFFF in _ISATAP:
        return (Carried(_low_32_bits(number), "ISATAP"),)
    return ()


def check_address(address: IPAddress, allowed_networks: Sequence[IPNetwork] = ()) -> None:
    """Raise unless requests may go to the address.

    An allowed network wins over the table, for the address itself and for the IPv4 address that a
    v4-mapped or NAT64 one stands for; never through the other wrappings.

    Raises:
        TargetForbidden: the address, or one that it carries, is denied; names both and the rule.
    """
    carried = carried_addresses(address)
    if _is_allowed(address, carried, allowed_networks):
        return
    for inner in carried:
        if why := _denial(inner.address):
            raise TargetForbidden(
                f"{address} ({inner.scheme} of {inner.address}) may not be reached: {why}"
            )
    if not _is_transparent(address) and (why := _denial(address)):
        raise TargetForbidden(f"{address} may not be reached: {why}")


def parse_networks(texts: Sequence[str]) -> tuple[IPNetwork, ...]:
    """Parse CIDR ranges and single addresses.

    Raises:
        ValueError: a text is neither, or has bits set beyond its prefix.
    """
    return tuple(ip_network(text) for text in texts)


def parse_address(text: str) -> IPAddress:
    """Return the address in the text of a resolver or socket; an IPv6 zone (`%eth0`) is dropped.

    Raises:
        ValueError: not an address.
    """
    return ip_address(text.partition("%")[0])


def _is_allowed(
    address: IPAddress, carried: Sequence[Carried], allowed_networks: Sequence[IPNetwork]
) -> bool:
    candidates: list[IPAddress] = [address]
    if _is_transparent(address):
        candidates += [inner.address for inner in carried]
    return any(candidate in network for candidate in candidates for network in allowed_networks)


def _is_transparent(address: IPAddress) -> bool:
    return any(address in network for network in _TRANSPARENT)


def _denial(address: IPAddress) -> str | None:
    for row in DENIED:
        if address in row.network:
            return f"{row.why}, {row.network}"
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return f"not global unicast, {_GLOBAL_UNICAST}"
    return None


def _low_32_bits(number: int) -> IPv4Address:
    return IPv4Address(number & 0xFFFF_FFFF)
