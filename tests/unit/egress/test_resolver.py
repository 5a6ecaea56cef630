"""The resolver: one lookup at a time per host, bounded, remembered briefly."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence

import pytest

from core.egress.addresses import parse_address
from core.egress.guard import TargetGuard
from core.egress.resolver import CONTROL_NAME, MAX_LOOKUPS, HostResolver, Resolver
from core.egress.targets import TargetPolicy
from core.errors import TargetForbidden, TargetUnreachable
from tests.fakes.resolver import ScriptedResolver

ADDRESSES = ("93.184.215.14", "2606:2800:21f::1")


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class CountingLookup:
    def __init__(self, *outcomes: Sequence[str] | OSError) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[str] = []

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, OSError):
            raise outcome
        return outcome


def _real() -> Resolver:
    def lookup(host: str) -> Sequence[str]:
        if host != "known.example":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return ADDRESSES

    return HostResolver(lookup=lookup)


def _fake() -> Resolver:
    return ScriptedResolver({"known.example": [ADDRESSES]})


@pytest.mark.parametrize("make", [_real, _fake])
async def test_all_addresses_of_a_host_come_in_order(make: Callable[[], Resolver]) -> None:
    found = await make().addresses("known.example")

    assert found == tuple(parse_address(text) for text in ADDRESSES)


@pytest.mark.parametrize("make", [_real, _fake])
async def test_an_unknown_name_is_the_targets_fault(make: Callable[[], Resolver]) -> None:
    with pytest.raises(TargetUnreachable) as caught:
        await make().addresses("unknown.example")

    assert (caught.value.kind, caught.value.infra) == ("dns", False)


@pytest.mark.parametrize("code", [socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM])
async def test_a_resolver_that_fails_is_our_fault(code: int) -> None:
    resolver = HostResolver(lookup=CountingLookup(socket.gaierror(code, "try again")))

    with pytest.raises(TargetUnreachable) as caught:
        await resolver.addresses("a.example")

    assert (caught.value.kind, caught.value.infra) == ("dns", True)


async def test_a_domain_with_dead_name_servers_is_not_taken_for_an_outage_of_ours() -> None:
    def lookup(host: str) -> Sequence[str]:
        code = socket.EAI_NONAME if host == CONTROL_NAME else socket.EAI_AGAIN
        raise socket.gaierror(code, "no")

    with pytest.raises(TargetUnreachable) as caught:
        await HostResolver(lookup=lookup).addresses("broken.example")

    assert (caught.value.kind, caught.value.infra) == ("dns", False)


async def test_a_resolver_that_never_answers_is_our_fault() -> None:
    go = threading.Event()

    def lookup(host: str) -> Sequence[str]:
        go.wait(10)
        return []

    async with HostResolver(lookup=lookup, timeout_s=0.02) as resolver:
        with pytest.raises(TargetUnreachable) as caught:
            await resolver.addresses("a.example")
        go.set()

    assert caught.value.infra


async def test_an_empty_answer_is_no_such_name() -> None:
    resolver = HostResolver(lookup=CountingLookup([]))

    with pytest.raises(TargetUnreachable) as caught:
        await resolver.addresses("a.example")

    assert not caught.value.infra


async def test_an_answer_is_remembered_until_it_is_old() -> None:
    clock, lookup = Clock(), CountingLookup(["1.1.1.1"], ["8.8.8.8"])
    resolver = HostResolver(lookup=lookup, ttl_s=30, clock=clock)

    first = await resolver.addresses("a.example")
    clock.now_s = 29.9
    assert await resolver.addresses("a.example") == first
    clock.now_s = 30.0
    assert await resolver.addresses("a.example") != first
    assert lookup.asked == ["a.example", "a.example"]


async def test_a_failure_is_remembered_more_briefly() -> None:
    clock = Clock()
    lookup = CountingLookup(socket.gaierror(socket.EAI_NONAME, "no"), ["1.1.1.1"])
    resolver = HostResolver(lookup=lookup, negative_ttl_s=5, clock=clock)

    for _ in range(3):
        with pytest.raises(TargetUnreachable):
            await resolver.addresses("a.example")
    assert len(lookup.asked) == 1
    clock.now_s = 5.0
    assert await resolver.addresses("a.example")


async def test_repeated_addresses_are_given_once() -> None:
    resolver = HostResolver(lookup=CountingLookup(["1.1.1.1", "1.1.1.1", "fe80::1%eth0"]))

    assert await resolver.addresses("a.example") == (
        parse_address("1.1.1.1"),
        parse_address("fe80::1"),
    )


async def test_waiters_of_one_host_share_one_lookup_and_outlive_each_other() -> None:
    go, asked = threading.Event(), []

    def lookup(host: str) -> Sequence[str]:
        asked.append(host)
        go.wait(10)
        return ["1.1.1.1"]

    resolver = HostResolver(lookup=lookup)
    waiters = [asyncio.create_task(resolver.addresses("a.example")) for _ in range(5)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    go.set()
    results = await asyncio.gather(*waiters, return_exceptions=True)

    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [(parse_address("1.1.1.1"),)] * 4
    assert asked == ["a.example"]


async def test_a_hanging_name_server_costs_its_own_host_only() -> None:
    go, asked = threading.Event(), []

    def lookup(host: str) -> Sequence[str]:
        asked.append(host)
        if host == "hangs.example":
            go.wait(10)
        return ["1.1.1.1"]

    clock = Clock()
    async with HostResolver(
        lookup=lookup, timeout_s=0.02, negative_ttl_s=1, clock=clock
    ) as resolver:
        for moment in (0.0, 2.0, 4.0):  # asked again and again, it still holds one thread
            clock.now_s = moment
            with pytest.raises(TargetUnreachable) as caught:
                await resolver.addresses("hangs.example")
            assert not caught.value.infra  # the resolver answers for others
        assert await resolver.addresses("works.example")
        go.set()

    assert asked == ["hangs.example", CONTROL_NAME, "works.example"]


async def test_the_number_of_lookups_at_a_time_is_bounded() -> None:
    asked, go = threading.Semaphore(0), threading.Event()

    def lookup(host: str) -> Sequence[str]:
        asked.release()
        go.wait(10)
        return ["1.1.1.1"]

    resolver = HostResolver(lookup=lookup)
    waiters = [
        asyncio.create_task(resolver.addresses(f"h{number}.example"))
        for number in range(2 * MAX_LOOKUPS)
    ]
    for _ in range(MAX_LOOKUPS):
        assert await asyncio.to_thread(asked.acquire, timeout=10)
    assert not await asyncio.to_thread(asked.acquire, timeout=0.1)  # none beyond the bound
    go.set()

    assert len(await asyncio.gather(*waiters)) == 2 * MAX_LOOKUPS


async def test_the_guard_blocks_a_name_with_one_bad_address_at_submission() -> None:
    resolver = ScriptedResolver({"mixed.example": [("8.8.8.8", "fd00::1")]})
    guard = TargetGuard(TargetPolicy(), resolver)

    with pytest.raises(TargetForbidden, match=r"mixed\.example: fd00::1"):
        await guard.check("https://mixed.example/hook")


async def test_the_guard_asks_the_resolver_for_names_only() -> None:
    resolver = ScriptedResolver({"good.example": [("8.8.8.8",)]})
    guard = TargetGuard(TargetPolicy(), resolver)

    await guard.check("https://good.example/")
    await guard.check("https://8.8.8.8/")

    assert resolver.asked == ["good.example"]
