"""The resolver: one lookup at a time per host, bounded, remembered briefly."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence

import pytest

from core.egress.addresses import parse_address
from core.egress.guard import TargetGuard
from core.egress.resolver import (
    CONTROL_NAME,
    MAX_LOOKUPS,
    MAX_PER_DOMAIN,
    STALE_S,
    HostResolver,
    Resolver,
)
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


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_an_old_answer_is_served_once_more_while_a_new_one_is_fetched() -> None:
    clock, lookup = Clock(), CountingLookup(["1.1.1.1"], ["8.8.8.8"])
    resolver = HostResolver(lookup=lookup, ttl_s=30, clock=clock)

    first = await resolver.addresses("a.example")
    clock.now_s = 29.9
    assert await resolver.addresses("a.example") == first
    assert len(lookup.asked) == 1
    clock.now_s = 30.0
    assert await resolver.addresses("a.example") == first
    await until(lambda: not resolver._running)
    assert await resolver.addresses("a.example") == (parse_address("8.8.8.8"),)
    assert lookup.asked == ["a.example", "a.example"]


async def test_an_answer_beyond_the_bound_is_not_served_any_more() -> None:
    clock, lookup = Clock(), CountingLookup(["1.1.1.1"], ["8.8.8.8"])
    resolver = HostResolver(lookup=lookup, clock=clock)
    await resolver.addresses("a.example")

    clock.now_s = STALE_S

    assert await resolver.addresses("a.example") == (parse_address("8.8.8.8"),)


async def test_the_last_good_answer_outlives_an_outage_but_not_a_denial() -> None:
    clock, lookup = Clock(), CountingLookup(["1.1.1.1"], socket.gaierror(socket.EAI_AGAIN, "later"))
    resolver = HostResolver(lookup=lookup, ttl_s=30, negative_ttl_s=5, clock=clock)
    good = await resolver.addresses("a.example")

    for number in range(3):
        clock.now_s = 31.0 + 6 * number
        assert await resolver.addresses("a.example") == good
        await until(lambda: not resolver._running)
        assert len(lookup.asked) == 2 + number
    lookup.outcomes = [socket.gaierror(socket.EAI_NONAME, "no such name")]
    clock.now_s = 60.0
    await resolver.addresses("a.example")  # still served, and asked for again
    await until(lambda: not resolver._running)

    assert len(await failures(resolver, ["a.example"])) == 1
    assert clock.now_s < STALE_S


class TarpitLookup:
    """A lookup in which names under `hang` get no answer while the tarpit is open."""

    def __init__(self, *, control: bool = True) -> None:
        self.go, self.control = threading.Event(), control
        self.hanging: list[str] = []

    def __call__(self, host: str) -> Sequence[str]:
        if "hang" in host or (host == CONTROL_NAME and not self.control):
            self.hanging.append(host)
            self.go.wait(30)
        if host == CONTROL_NAME:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return ["1.1.1.1"]


async def failures(resolver: Resolver, hosts: Sequence[str]) -> list[TargetUnreachable]:
    found = await asyncio.gather(*(resolver.addresses(h) for h in hosts), return_exceptions=True)
    return [one for one in found if isinstance(one, TargetUnreachable)]


async def test_a_domain_full_of_hanging_names_takes_its_own_share_and_is_charged() -> None:
    lookup = TarpitLookup()
    async with HostResolver(lookup=lookup, timeout_s=1.0) as resolver:
        bad = asyncio.create_task(failures(resolver, [f"h{n}.hang.example" for n in range(80)]))
        await until(lambda: len(lookup.hanging) >= MAX_PER_DOMAIN)

        assert await resolver.addresses("good.example") == (parse_address("1.1.1.1"),)
        failed = await bad
        lookup.go.set()

    assert len(lookup.hanging) == MAX_PER_DOMAIN
    assert [error.infra for error in failed] == [False] * 80


async def test_hanging_names_in_all_slots_are_charged_and_known_names_go_on() -> None:
    clock, lookup = Clock(), TarpitLookup()
    async with HostResolver(lookup=lookup, timeout_s=1.0, clock=clock) as resolver:
        good = await resolver.addresses("good.example")
        names = [f"hang{n}.example" for n in range(MAX_LOOKUPS + 8)]
        failed = await failures(resolver, names)
        held = len(lookup.hanging)

        clock.now_s = 100.0  # the good answer is stale, and no slot is free for a lookup
        assert await resolver.addresses("good.example") == good
        unknown = await failures(resolver, ["unknown.example"])
        lookup.go.set()

    assert held == MAX_LOOKUPS
    assert [error.infra for error in failed] == [False] * len(names)
    assert [error.infra for error in unknown] == [False], "having no slot proves no outage of ours"


async def test_an_outage_of_the_resolver_is_ours_whatever_fills_the_slots() -> None:
    lookup = TarpitLookup(control=False)
    async with HostResolver(lookup=lookup, timeout_s=0.1) as resolver:
        failed = await failures(resolver, [f"hang{n}.example" for n in range(MAX_LOOKUPS + 8)])
        lookup.go.set()

    assert [error.infra for error in failed] == [True] * (MAX_LOOKUPS + 8)


async def test_names_that_wait_for_a_slot_in_vain_do_not_pile_up() -> None:
    clock, lookup = Clock(), TarpitLookup()
    async with HostResolver(lookup=lookup, timeout_s=0.1, clock=clock) as resolver:
        for turn in range(3):
            await failures(resolver, [f"t{turn}-{n}.hang.example" for n in range(20)])
        await asyncio.sleep(0.15)

        assert (
            len([task for task in asyncio.all_tasks() if task.get_name().startswith("resolve")])
            == MAX_PER_DOMAIN
        )
        lookup.go.set()


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
        lookup=lookup, timeout_s=0.5, negative_ttl_s=1, clock=clock
    ) as resolver:
        for moment in (0.0, 2.0, 4.0):  # asked repeatedly, it still uses one thread
            clock.now_s = moment
            with pytest.raises(TargetUnreachable) as caught:
                await resolver.addresses("hangs.example")
            assert not caught.value.infra  # the resolver answers for other names
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
