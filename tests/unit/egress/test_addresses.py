"""The address table: denied ranges, IPv4 inside IPv6, an operator's exceptions."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.egress.addresses import DENIED, carried_addresses, check_address, parse_networks
from core.errors import TargetForbidden

DENIED_EXAMPLES = {
    "0.0.0.0": "this network",
    "0.1.2.3": "this network",
    "10.0.0.1": "private",
    "10.255.255.255": "private",
    "100.64.0.1": "carrier-grade NAT",
    "100.100.100.200": "metadata (Alibaba)",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "Azure",
    "169.254.169.254": "metadata",
    "169.254.0.1": "link-local",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.192": "Oracle",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4 relay",
    "192.168.1.1": "private",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::2": "IPv4-compatible",
    "100::1": "discard",
    "100:0:0:1::1": "dummy",
    "2001:2::1": "benchmarking",
    "2001:10::1": "IETF protocol",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "3fff:fff::1": "documentation",
    "5f00::1": "segment routing",
    "fc00::1": "unique local",
    "fd00:ec2::254": "metadata (AWS)",
    "fdff::1": "unique local",
    "fe80::1": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "4000::1": "not global unicast",
    "1::1": "not global unicast",
}

PUBLIC_EXAMPLES = (
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "128.0.0.1",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
)

# All forms in which an IPv6 address can contain 169.254.169.254.
METADATA_IN_DISGUISE = {
    "::ffff:169.254.169.254": "IPv4-mapped",
    "::169.254.169.254": "IPv4-compatible",
    "::ffff:0:169.254.169.254": "IPv4-translated",
    "64:ff9b::a9fe:a9fe": "NAT64",
    "64:ff9b:1::a9fe:a9fe": "local-use NAT64",
    "2002:a9fe:a9fe::": "6to4",
    "2002:a9fe:a9fe::1": "6to4",
    "2001:0:a9fe:a9fe::": "Teredo server",
    "2001:0:808:808:0:0:5601:5601": "Teredo client",
    "2606:4700::5efe:a9fe:a9fe": "ISATAP",
    "2606:4700::200:5efe:a9fe:a9fe": "ISATAP",
    "fe80::5efe:a9fe:a9fe": "ISATAP",
}


@pytest.mark.parametrize(("text", "why"), DENIED_EXAMPLES.items())
def test_a_denied_address_is_named_with_its_rule(text: str, why: str) -> None:
    with pytest.raises(TargetForbidden) as caught:
        check_address(ip_address(text))

    assert text in str(caught.value)
    assert why in str(caught.value)
    assert caught.value.reason == "target_forbidden"


@pytest.mark.parametrize("text", PUBLIC_EXAMPLES)
def test_a_public_address_passes(text: str) -> None:
    check_address(ip_address(text))


@pytest.mark.parametrize(("text", "scheme"), METADATA_IN_DISGUISE.items())
def test_a_wrapped_metadata_address_is_found_in_every_disguise(text: str, scheme: str) -> None:
    with pytest.raises(TargetForbidden, match=rf"{scheme} of 169\.254\.169\.254.*metadata"):
        check_address(ip_address(text))


@pytest.mark.parametrize("text", ["::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_a_transparent_wrapping_of_a_public_address_passes(text: str) -> None:
    # Behind DNS64 every IPv4-only receiver has such an address.
    check_address(ip_address(text))


@pytest.mark.parametrize(
    "text", ["2002:808:808::1", "2001:0:808:808::", "::8.8.8.8", "64:ff9b:1::808:808"]
)
def test_other_wrappings_are_refused_even_around_a_public_address(text: str) -> None:
    with pytest.raises(TargetForbidden):
        check_address(ip_address(text))


def test_teredo_carries_its_server_and_its_inverted_client() -> None:
    carried = carried_addresses(IPv6Address("2001:0:4136:e378:8000:63bf:3fff:fdd2"))

    assert [str(inner.address) for inner in carried] == ["65.54.227.120", "192.0.2.45"]


def test_an_allowed_network_wins_over_the_table_also_for_its_mapped_form() -> None:
    allowed = parse_networks(["10.1.0.0/16", "fd12::/32"])

    check_address(ip_address("10.1.2.3"), allowed)
    check_address(ip_address("::ffff:10.1.2.3"), allowed)
    check_address(ip_address("64:ff9b::a01:203"), allowed)
    check_address(ip_address("fd12::5"), allowed)


@pytest.mark.parametrize("text", ["10.2.0.1", "2002:a01:203::", "2001:0:a01:203::", "fd13::1"])
def test_an_allowed_network_allows_nothing_beside_it(text: str) -> None:
    with pytest.raises(TargetForbidden):
        check_address(ip_address(text), parse_networks(["10.1.0.0/16", "fd12::/32"]))


@given(st.sampled_from([row for row in DENIED if row.network.version == 4]), st.data())
def test_every_address_of_a_denied_ipv4_range_is_denied_bare_and_wrapped(
    row: object, data: st.DataObject
) -> None:
    network = getattr(row, "network")  # noqa: B009
    first, last = int(network[0]), int(network[-1])
    inner = IPv4Address(data.draw(st.integers(first, last)))
    number = int(inner)
    disguises = (
        inner,
        IPv6Address(0xFFFF_0000_0000 | number),
        IPv6Address((0x0064_FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
        IPv6Address((0x2001 << 112) | (number << 64)),
        IPv6Address((0x2001 << 112) | (number ^ 0xFFFF_FFFF)),
        IPv6Address((0x2606_4700 << 96) | (0x5EFE << 32) | number),
    )
    for disguise in disguises:
        with pytest.raises(TargetForbidden):
            check_address(disguise)


@given(st.ip_addresses(v=6))
def test_nothing_outside_global_unicast_passes_but_mapped_and_nat64(address: IPv6Address) -> None:
    wrapped = address.ipv4_mapped is not None or int(address) >> 32 == 0x0064_FF9B << 64
    if address not in parse_networks(["2000::/3"])[0] and not wrapped:
        with pytest.raises(TargetForbidden):
            check_address(address)
