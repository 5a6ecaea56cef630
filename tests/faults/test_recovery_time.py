"""The delay after a kill, in the victim's partitions and in those of the other member.

It prints figures and writes them into docs/guarantees.md; it asserts only that nothing was lost.
"""

import asyncio
import os
import platform
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any

import pytest

from core.settings import DatabaseSettings, KafkaSettings
from tests.counting import GROUP, Bench, eventually, open_bench, produce, record_of
from tests.documents import between
from tests.faults.harness.matrix import FILLED_BY, GUARANTEES
from tests.faults.harness.members import Members
from tests.faults.test_runtime_deaths import all_passed

KILLS = 20
PER_SECOND = 300
SETTLED_S = 1.5
_FIRST_AFTER = """
SELECT part, (SELECT min(at) FROM effects e WHERE e.part = p.part AND e.at > $1) AS at
FROM progress p
"""
_STALL = """
SELECT max(extract(epoch FROM pause)) FROM (
    SELECT at, at - lag(at) OVER (PARTITION BY part ORDER BY at) AS pause FROM effects
    WHERE part = ANY($1) AND at > $2::timestamptz - interval '1 s'
) AS pauses WHERE at > $2
"""


@dataclass(slots=True)
class Felt:
    """Delays in seconds, one per kill."""

    victims: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def line(self, name: str) -> str:
        """Return a row of the table."""
        cells = [median(self.victims), max(self.victims), median(self.others), max(self.others)]
        told = " | ".join(f"{cell:.2f}" for cell in cells)
        return f"| {name} | {len(self.victims)} | {told} |"


@pytest.fixture
def kafka(kafka_bootstrap: str, topics_prefix: str) -> KafkaSettings:
    """Return settings as in production, with a session of 10 s."""
    return KafkaSettings(bootstrap_servers=kafka_bootstrap, topic_prefix=topics_prefix)


@pytest.fixture
async def bench(kafka: KafkaSettings, database: DatabaseSettings) -> AsyncIterator[Bench]:
    """Open the parts to produce and to query; they do not join the group."""
    async with open_bench(kafka, database) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.timeout(1500)
async def test_how_long_a_kill_is_felt_with_and_without_eviction(
    bench: Bench, members: Members
) -> None:
    await bench.pool.execute("CREATE INDEX ON effects (part, at)")
    for instance in "ab":
        members.start(instance)
    await eventually(lambda: _both_own(bench), within_s=60)
    done = asyncio.Event()
    feeding = asyncio.create_task(_feed(bench, done))
    felt = {}
    for name, evicted in (("with", True), ("without", False)):
        felt[name] = await _kill_often(bench, members, evicted=evicted)
    done.set()
    count = await feeding
    await all_passed(bench, count)

    _write([one.line(f"{name} eviction") for name, one in felt.items()])
    assert await bench.effects() == Counter(range(count))


async def _kill_often(bench: Bench, members: Members, *, evicted: bool) -> Felt:
    felt = Felt()
    for _ in range(int(os.environ.get("RECOVERY_KILLS", KILLS))):
        await eventually(lambda: _both_own(bench), within_s=60)
        await asyncio.sleep(SETTLED_S)
        owned = await _owned(bench)
        members.kill("a")
        killed_at = await bench.pool.fetchval("SELECT clock_timestamp()")
        if not evicted:
            await bench.pool.execute("DELETE FROM members WHERE grp = $1", GROUP)
        members.start("a")

        async def moves(parts: Sequence[int] = owned["a"], since: Any = killed_at) -> bool:
            rows = await bench.pool.fetch(_FIRST_AFTER, since)
            return set(parts) <= {row["part"] for row in rows if row["at"] is not None}

        await eventually(moves, within_s=60)
        rows = await bench.pool.fetch(_FIRST_AFTER, killed_at)
        back = max(row["at"] for row in rows if row["part"] in owned["a"])
        await asyncio.sleep(SETTLED_S)
        felt.victims.append((back - killed_at).total_seconds())
        felt.others.append(float(await bench.pool.fetchval(_STALL, owned["b"], killed_at)))
    return felt


async def _owned(bench: Bench) -> dict[str, list[int]]:
    rows = await bench.pool.fetch("SELECT part, owner FROM progress WHERE grp = $1", GROUP)
    return {
        instance: [row["part"] for row in rows if row["owner"].startswith(f"{instance}/")]
        for instance in "ab"
    }


async def _both_own(bench: Bench) -> bool:
    owned = await _owned(bench)
    return len(owned["a"]) == len(owned["b"]) == 3


async def _feed(bench: Bench, done: asyncio.Event) -> int:
    """Produce steadily; return how many records."""
    count, step = 0, PER_SECOND // 20
    while not done.is_set():
        await produce(bench.publisher, [record_of(n) for n in range(count, count + step)])
        count += step
        await asyncio.sleep(0.05)
    return count


def _write(rows: Sequence[str]) -> None:
    lines = [
        f"Two members, {PER_SECOND} records a second, session 10 s; one is killed by SIGKILL and",
        f"started again at once. Measured on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores,",
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}. Seconds, the start of",
        "the new process included. Goals with eviction: victim's p50 ≤ 2, others' stall ≤ 0.5.",
        "",
        "| | kills | victim p50 | victim worst | others' stall p50 | others' stall worst |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
    print("\n".join(lines))  # noqa: T201  # the figures are the purpose
    if not os.environ.get("WRITE_GUARANTEES"):
        return
    text = GUARANTEES.read_text(encoding="utf-8")
    filled = between(text, "recovery", "\n".join(lines), by=FILLED_BY)
    GUARANTEES.write_text(filled, encoding="utf-8")
