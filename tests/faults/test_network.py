"""Network faults before the broker and the database: effects occur exactly once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import pytest

from core.messaging.kafka.producer import Publisher
from core.messaging.limits import ClientLimits, LoopLimits
from core.messaging.loop import run_role
from core.settings import ConsumerSettings, DatabaseSettings, KafkaSettings
from tests.counting import OUT, Bench, CountingRole, eventually, open_bench, produce, record_of
from tests.faults.harness.proxy import CutAnswer, CutCommit, Faults, Proxy
from tests.faults.test_runtime_deaths import all_passed, passed
from tests.integration.messaging.test_loop import read_all
from tests.measured import Measured

COUNT = 1500
PRODUCE, OFFSET_COMMIT = 0, 8
SETTINGS = ConsumerSettings(instance="a", batch_max_records=20)
LIMITS = LoopLimits(advisory_commit_interval_s=0.2)
#: Waits that end within a test.
WAITS = ClientLimits(request_timeout_ms=5000, rebalance_timeout_ms=4000, publish_timeout_s=2.0)


@pytest.fixture
async def broker_proxy(kafka: KafkaSettings) -> AsyncIterator[Proxy]:
    """Start a proxy before the session's broker."""
    async with Proxy(int(kafka.bootstrap_servers.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture
async def database_proxy(database: DatabaseSettings) -> AsyncIterator[Proxy]:
    """Start a proxy before the session's PostgreSQL."""
    async with Proxy(urlsplit(database.url.get_secret_value()).port or 5432) as proxy:
        yield proxy


def through(kafka: KafkaSettings, proxy: Proxy) -> KafkaSettings:
    """Return settings of the broker behind the proxy."""
    return kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{proxy.port}"})


async def run_with(
    kafka: KafkaSettings,
    database: DatabaseSettings,
    direct: KafkaSettings,
    trouble: Callable[[Bench], object],
) -> int:
    """Run a member with a fault from halfway on; return how many events came twice."""
    role = CountingRole(prepare_s=0.02, emit=True)
    async with open_bench(
        kafka, database, role=role, consumer=SETTINGS, limits=LIMITS, waits=WAITS
    ) as bench:
        async with Publisher(direct, bench.parts.metrics, client_id="feed") as feed:
            await produce(feed, [record_of(n) for n in range(COUNT)])
        stop = asyncio.Event()
        member = asyncio.create_task(run_role(bench.parts, stop))

        async def halfway() -> bool:
            return await passed(bench) >= COUNT // 5

        await eventually(halfway)
        result = trouble(bench)
        if asyncio.iscoroutine(result):
            await result
        assert not member.done(), "an outage must not end the process"
        await all_passed(bench, COUNT, within_s=90)

        async def outbox_empty() -> bool:
            return await bench.outbox.count(bound=10_000) == 0

        await eventually(outbox_empty, within_s=30)
        stop.set()
        async with asyncio.timeout(60):
            await member
        assert await bench.effects() == Counter(range(COUNT))
        told = await read_all(direct, OUT.name, COUNT)
        assert {int(record.key) for record in told} == set(range(COUNT))
        return len(told) - COUNT


@pytest.mark.parametrize("api", [PRODUCE, OFFSET_COMMIT], ids=["produce", "offset_commit"])
async def test_an_acknowledgement_cut_in_the_middle_loses_and_repeats_no_effect(
    kafka: KafkaSettings,
    database: DatabaseSettings,
    broker_proxy: Proxy,
    measured: Measured,
    api: int,
) -> None:
    def trouble(_: Bench) -> None:
        broker_proxy.faults.cut = CutAnswer(api, times=3)

    again = await run_with(through(kafka, broker_proxy), database, kafka, trouble)

    measured(f"{broker_proxy.cuts} answers cut, {again} events twice on the wire")
    assert broker_proxy.cuts == 3


async def test_a_commit_of_the_database_whose_answer_is_cut_is_not_done_again(
    kafka: KafkaSettings, database: DatabaseSettings, database_proxy: Proxy
) -> None:
    def trouble(_: Bench) -> None:
        database_proxy.faults.cut = CutCommit(times=3)

    await run_with(kafka, at_port(database, database_proxy), kafka, trouble)

    assert database_proxy.cuts == 3


def at_port(database: DatabaseSettings, proxy: Proxy) -> DatabaseSettings:
    """Return the database's URL through the proxy."""
    url = database.url.get_secret_value()
    there = f":{urlsplit(url).port}/"
    return DatabaseSettings(url=url.replace(there, f":{proxy.port}/"), command_timeout_s=3)


@pytest.mark.parametrize("name", ["latency", "black_hole", "refused", "half_close"])
@pytest.mark.parametrize("side", ["broker", "database"])
async def test_a_bad_network_costs_time_only(
    kafka: KafkaSettings,
    database: DatabaseSettings,
    broker_proxy: Proxy,
    database_proxy: Proxy,
    side: str,
    name: str,
) -> None:
    proxy = broker_proxy if side == "broker" else database_proxy
    troubles = {
        "latency": lambda: slow(proxy),
        "black_hole": lambda: swallow(proxy),
        "refused": lambda: refuse(proxy),
        "half_close": lambda: say_goodbye(proxy),
    }
    seen_kafka = through(kafka, proxy) if side == "broker" else kafka
    seen_database = at_port(database, proxy) if side == "database" else database

    await run_with(seen_kafka, seen_database, kafka, lambda _: troubles[name]())


async def slow(proxy: Proxy) -> None:
    """Delay data by 50 ms in each direction for two seconds."""
    proxy.faults = Faults(latency_s=0.05)
    await asyncio.sleep(2)
    proxy.heal()


async def swallow(proxy: Proxy) -> None:
    """Let no data pass for longer than the requests' limits, without closing connections."""
    proxy.faults = Faults(black_hole=True)
    await asyncio.sleep(7)
    proxy.heal()


async def refuse(proxy: Proxy) -> None:
    """Reset all connections, and new ones for two seconds."""
    proxy.faults = Faults(refuse=True)
    proxy.cut_all()
    await asyncio.sleep(2)
    proxy.heal()


async def say_goodbye(proxy: Proxy) -> None:
    """Close the server's direction of every connection, three times."""
    for _ in range(3):
        proxy.half_close()
        await asyncio.sleep(0.5)
