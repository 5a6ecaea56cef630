"""The platform's resolver behind ours."""

from core.egress.addresses import parse_networks
from core.egress.resolver import HostResolver


async def test_the_platform_resolves_this_machines_own_name() -> None:
    async with HostResolver() as resolver:
        found = await resolver.addresses("localhost")

    loopback = parse_networks(["127.0.0.0/8", "::1"])
    assert found
    assert all(any(address in network for network in loopback) for address in found)
