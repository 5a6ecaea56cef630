"""Something outside is away for longer than a process waits: that costs restarts, and no record."""

import asyncio
from collections import Counter

import pytest

from core.messaging.loop import run_role
from core.messaging.watching.watchdog import Stalled
from core.settings import ConsumerSettings, DatabaseSettings, KafkaSettings
from tests.counting import GROUP, TOPIC, Bench, CountingRole, open_bench, produce, record_of
from tests.integration.messaging.test_loop import finished, run_until

LIVES = 3
LIMIT_S = 60


async def owners(bench: Bench) -> set[tuple[str, int, int]]:
    """Return who owns partitions with records, the deaths they are charged with, and attempts."""
    rows = await bench.pool.fetch(
        "SELECT owner, crashes, attempted_offset FROM progress WHERE grp = $1", GROUP
    )
    return {(row["owner"], row["crashes"], row["attempted_offset"]) for row in rows}


async def test_no_record_is_charged_with_the_end_of_a_process_that_waited_for_an_outage(
    kafka: KafkaSettings, database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.messaging.watching.watchdog.PATIENCE", 2)
    settings = ConsumerSettings(instance="a", stall_limit_s=1.5)
    role = CountingRole(away=10**9)
    async with open_bench(kafka, database, role=role, consumer=settings) as bench:
        await produce(
            bench.publisher, [record_of(number) for number in range(2 * TOPIC.partitions)]
        )
        for _ in range(LIVES):
            with pytest.raises(Stalled) as ended:
                async with asyncio.timeout(LIMIT_S):
                    await run_role(bench.parts, asyncio.Event())
            assert ended.value.waits_for == "not now"
            assert await owners(bench) == {("", 0, -1)}

        role.away = 0
        await run_until(bench, finished(bench, 2 * TOPIC.partitions))

        assert await bench.effects() == Counter(range(2 * TOPIC.partitions))
        assert await bench.dead_letters() == {}
