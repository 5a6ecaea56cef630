"""No callback URL makes a socket connect to an inside address.

Policy, resolver, client and connector run together. The test checks the addresses that sockets
connect to (`tests.fakes.dialling`), not the results of the guard.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address

from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from core.egress.addresses import parse_networks
from core.egress.client import GuardedClient
from core.egress.guard import TargetGuard
from core.egress.targets import TargetPolicy
from core.errors import TargetForbidden, TargetUnreachable
from tests.examples import examples
from tests.fakes.dialling import IPAddress, is_inside, watched_dialling
from tests.fakes.resolver import ScriptedResolver

POLICY = TargetPolicy(schemes=frozenset({"http", "https"}), ports=(range(1, 65536),))
NAME = "name.example"
INSIDE = (
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200",
    "168.63.129.16", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.0.192", "198.18.0.1",
)  # fmt: skip
OUTSIDE = ("93.184.215.14", "8.8.8.8", "1.1.1.1", "203.1.113.7")
SEARCH = settings(
    max_examples=3000, deadline=None, database=None, derandomize=True,
    phases=[Phase.generate], suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hostile:
    """A URL, and the answers of successive lookups of its names."""

    url: str
    answers: tuple[tuple[str, ...], ...]


def wrapped(inner: IPv4Address) -> tuple[IPv6Address, ...]:
    """Return an IPv4 address in all the forms that IPv6 has for it."""
    number = int(inner)
    return tuple(
        IPv6Address(value)
        for value in (
            0xFFFF << 32 | number,  # mapped
            number,  # compatible
            0x64FF9B << 96 | number,  # NAT64
            0x2002 << 112 | number << 80,  # 6to4
            0x20010000 << 96 | number << 64,  # Teredo, as its server
            0x20010000 << 96 | (number ^ 0xFFFFFFFF),  # Teredo, as its client
        )
    )


v4 = st.sampled_from(INSIDE + OUTSIDE).map(IPv4Address) | st.integers(0, 2**32 - 1).map(IPv4Address)
v6 = (
    v4.flatmap(lambda inner: st.sampled_from(wrapped(inner)))
    | st.ip_addresses(v=6)
    | st.sampled_from(["::1", "fe80::1", "fc00::1", *["fec0::1"] * 3, "2606:4700::1111"]).map(
        IPv6Address
    )
)
addresses = v4 | v6


def spellings(address: IPAddress) -> Sequence[str]:
    """Return the spellings in which people and attackers write an address in a URL."""
    if isinstance(address, IPv6Address):
        exploded, short = address.exploded, str(address)
        return (f"[{short}]", f"[{exploded}]", f"[{short.upper()}]", f"[{short}%25eth0]", short)
    parts, number = str(address).split("."), int(address)
    return (
        str(address),
        f"{address}.",
        str(number),
        hex(number),
        f"{number:#o}".replace("0o", "0"),
        ".".join(hex(int(part)) for part in parts),
        ".".join(f"0{int(part):o}" for part in parts),
        f"{parts[0]}.{int(address) & 0xFFFFFF}",
        str(address).replace(".", "\u3002"),
        str(address).translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)}),
        "".join(f"%{byte:02x}" for byte in str(address).encode()),
    )


# Made once: a strategy that is made at each draw costs more than the draw.
HOSTS = st.just(NAME) | addresses.flatmap(lambda one: st.sampled_from(spellings(one)))
STARTS = st.sampled_from(["http://", "https://", "http://a@", "http://a:b@", "http:\\\\"])
PORTS = st.sampled_from(["", ":80", ":443", ":8080", ":", ":080"])
PATHS = st.sampled_from(["", "/", "/hook?x=1#y", "/..//a", "@8.8.8.8/", "#@127.0.0.1/"])
INSERTIONS = st.sampled_from([0, 0, 0, 1, 2])
DIFFERENCES = st.sampled_from(list("@#?/\\[]:.%\t\0 \u3002\u00ad"))
ANSWERS = st.lists(
    st.lists(addresses.map(str), min_size=1, max_size=3).map(tuple), min_size=1, max_size=2
)


@st.composite
def hostile(draw: st.DrawFn) -> Hostile:
    """Return a URL with an address or a name, and with characters on which parsers differ."""
    host = draw(HOSTS)
    url = draw(STARTS) + host + draw(PORTS) + draw(PATHS)
    for _ in range(draw(INSERTIONS)):
        at = draw(st.integers(0, len(url)))
        url = url[:at] + draw(DIFFERENCES) + url[at:]
    return Hostile(url, tuple(draw(ANSWERS)))


@cache
def tls() -> ssl.SSLContext:
    return ssl.create_default_context()


async def dialled(policy: TargetPolicy, hostile: Hostile) -> list[IPAddress]:
    """Return the addresses that sockets connected to for this callback."""
    resolver = ScriptedResolver({NAME: hostile.answers})
    with watched_dialling() as seen:
        async with GuardedClient(TargetGuard(policy, resolver), ssl_context=tls()) as client:
            for _ in range(2):  # a name may resolve differently the second time
                try:
                    await client.post(hostile.url, content=b"{}", headers={}, timeout_s=5, body_s=2)
                except (TargetForbidden, TargetUnreachable):
                    continue
    return seen


@given(hostile())
@settings(max_examples=examples(150, 5000), deadline=None)
async def test_no_socket_is_told_to_connect_inside(case: Hostile) -> None:
    seen = await dialled(POLICY, case)

    assert [str(address) for address in seen if is_inside(address)] == []


def test_the_search_reaches_sockets_and_finds_holes_that_are_planted() -> None:
    """Otherwise the test above could pass because no connection is ever attempted."""
    holes = parse_networks(["169.254.169.254/32", "64:ff9b::/96", "2002::/16", "fec0::/10"])
    holed = TargetPolicy(POLICY.schemes, POLICY.ports, allowed_networks=holes)
    missing = {str(hole) for hole in holes} | {"outside"}

    def finds_the_last(case: Hostile) -> bool:
        for address in asyncio.run(dialled(holed, case)):
            missing.difference_update(str(hole) for hole in holes if address in hole)
            if not is_inside(address):
                missing.discard("outside")
        return not missing

    find(hostile(), finds_the_last, settings=SEARCH)

    assert missing == set()
