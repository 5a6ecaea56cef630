"""Hosts of URLs in the one spelling that all later layers see: ASCII, plain addresses. Pure."""

import re
from ipaddress import IPv4Address, IPv6Address

import idna

from core.egress.addresses import IPAddress
from core.errors import TargetForbidden

MAX_HOST_CHARS = 253  # RFC 1035, 2.3.4, without the final dot
A_LABEL = "xn--"  # RFC 5890, 2.3.2.1

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")  # _ : names of Compose services
# WHATWG URL, "ends in a number": then the host is an IPv4 address in some spelling.
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")


def canonical_host(host: str) -> tuple[str, IPAddress | None]:
    """Return a host in the spelling that all later layers see, and its address if it is a literal.

    Raises:
        TargetForbidden: empty, too long, percent-encoded, not a name, an A-label that stands for
            nothing, or an address in an unusual spelling (decimal, octal, hexadecimal, short).
    """
    if ":" in host:
        address = _ipv6_literal(host)
        return f"[{address}]", address
    if len(host) > MAX_HOST_CHARS + 1:  # with a final dot; before the work of encoding it
        raise TargetForbidden(f"the host has {len(host)} characters, more than {MAX_HOST_CHARS}")
    name = _to_ascii(host).removesuffix(".")
    if not name:
        raise TargetForbidden("the URL has no host")
    if len(name) > MAX_HOST_CHARS:
        raise TargetForbidden(f"the host has {len(name)} characters, more than {MAX_HOST_CHARS}")
    labels = name.split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        literal = _ipv4_literal(name)
        return str(literal), literal
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise TargetForbidden(f"{name!r} is not a host name")
    if any(label.startswith(A_LABEL) for label in labels):
        _check_readable(name)
    return name, None


def _to_ascii(host: str) -> str:
    if host.isascii():
        return host.lower()
    try:
        # UTS 46 also maps what looks like digits and dots (U+FF11, U+3002), so the literal
        # check that follows sees what a resolver would see.
        return idna.encode(host, uts46=True).decode("ascii").lower()
    except UnicodeError as error:
        raise TargetForbidden(f"{host!r} is not an international host name: {error}") from error


def _check_readable(name: str) -> None:
    """Raise where a name cannot be decoded.

    The libraries decode a name whole, labels without `xn--` too; httpx 0.28 does so when it
    connects, which is too late to say so.
    """
    try:
        idna.decode(name)
    except UnicodeError as error:  # idna.IDNAError is one; punycode's own escape from it
        raise TargetForbidden(f"{name!r} is not an international host name: {error}") from error


def _ipv6_literal(host: str) -> IPv6Address:
    try:
        return IPv6Address(host)
    except ValueError as error:
        raise TargetForbidden(f"{host!r} is not an IPv6 address") from error


def _ipv4_literal(name: str) -> IPv4Address:
    try:
        return IPv4Address(name)  # strict: four decimal numbers, no leading zeros
    except ValueError as error:
        raise TargetForbidden(
            f"{name!r} is an IPv4 address in an unusual spelling; write it as a.b.c.d"
        ) from error
