"""Clocks that jump by an hour, and a second tagging process that starts under load."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.settings import KafkaSettings
from tests.faults.harness.archive_to_kill import ArchiveToKill, archive_to_kill
from tests.faults.harness.ledger import Batch

DONE_S = 30.0
#: For tests that count POSTs: long limits, so that a slow moment of the machine changes nothing.
PATIENT = {"DELIVERY_EXCHANGE_TIMEOUT_S": "15"}  # a lease of 30 s
#: PostgreSQL's clock jumps by an hour: all stored times become older by that much, those of the
#: lanes too, and at one moment: a lane's time must not be taken from a webhook half way.
JUMP = """
LOCK TABLE lanes, deliveries, outbox IN EXCLUSIVE MODE;
UPDATE lanes SET due_at = due_at - interval '{0}';
UPDATE deliveries SET next_at = next_at - interval '{0}',
    lease_until = lease_until - interval '{0}';
UPDATE outbox SET created_at = created_at - interval '{0}';
"""
AHEAD, BACK = JUMP.format("1 hour"), JUMP.format("-1 hour")


@pytest.fixture
async def archive(
    kafka: KafkaSettings, database_url: str, tmp_path: Path
) -> AsyncIterator[ArchiveToKill]:
    """Open an archive of its own; no life is started."""
    async with archive_to_kill(kafka, database_url, tmp_path / "lives.log") as opened:
        yield opened


async def fed(archive: ArchiveToKill) -> Batch:
    """Send a batch; check that it was processed completely."""
    batch = await archive.ledger.feed()
    await archive.ledger.follow_up(batch)
    return batch


async def owners_in(archive: ArchiveToKill) -> set[str]:
    """Return the instances that own partitions."""
    rows = await archive.ledger.database.fetch("SELECT DISTINCT owner FROM progress")
    return {row["owner"].partition("/")[0] for row in rows} - {""}


@pytest.mark.parametrize("shift_s", [3600, pytest.param(-3600, marks=pytest.mark.slow)])
async def test_a_process_whose_clock_is_an_hour_off_retries_on_time(
    archive: ArchiveToKill, shift_s: int
) -> None:
    archive.ledger.path = "/flaky/1"  # 503 first: what is due again is due by PostgreSQL's clock
    archive.start(environment={"CRASHING_CLOCK_SHIFT_S": str(shift_s), **PATIENT})
    batch = await fed(archive)

    assert await archive.ledger.done(batch, DONE_S), await archive.ledger.undone(batch)

    archive.ledger.excused |= {webhook for _, webhook in archive.ledger.posts()}  # the 503s
    verdict = await archive.ledger.judge(batch, archive.consumer)
    assert not verdict.lost
    assert not verdict.twice
    assert verdict.posts == 1, "one retry, no storm"


async def test_a_database_whose_clock_jumps_ahead_repeats_no_effect(
    archive: ArchiveToKill,
) -> None:
    archive.ledger.path = "/slow/0.6"
    archive.start()
    batch = await fed(archive)
    for _ in range(3):  # leases end while their POST is in flight
        await asyncio.sleep(0.4)
        await archive.ledger.database.execute(AHEAD)

    assert await archive.ledger.done(batch, DONE_S), await archive.ledger.undone(batch)

    archive.ledger.excused |= {webhook for _, webhook in archive.ledger.posts()}  # leases ran out
    verdict = await archive.ledger.judge(batch, archive.consumer)
    assert not verdict.lost
    assert not verdict.twice


async def test_a_database_whose_clock_jumps_back_holds_up_only_what_was_due_by_the_old_one(
    archive: ArchiveToKill,
) -> None:
    archive.ledger.path = "/flaky/1"  # 503 first: due again after the jump
    archive.start(environment={"DELIVERY_SCHEDULE_S": "0,6,6", **PATIENT})
    early = await fed(archive)
    async with asyncio.timeout(DONE_S):
        while not await waiting_for_a_retry(archive):
            await asyncio.sleep(0.02)
    await archive.ledger.database.execute(BACK)
    archive.ledger.path = "/ok"

    late = await fed(archive)
    async with asyncio.timeout(DONE_S):
        while await open_or_leased(archive, late):  # recorded too: an hour ends every lease
            await asyncio.sleep(0.05)
    assert await waiting_for_a_retry(archive), "held up until its hour comes, and not lost"
    await archive.ledger.database.execute(AHEAD)  # an hour passes
    for batch in (early, late):
        assert await archive.ledger.done(batch, DONE_S), await archive.ledger.undone(batch)

    assert await archive.ledger._counts(early) == early.expected
    assert await archive.ledger._counts(late) == late.expected
    posts = archive.ledger.posts()
    assert posts.total() == len(early.queries + late.queries) + 1, "the 503 alone comes again"


async def open_or_leased(archive: ArchiveToKill, batch: Batch) -> bool:
    """Return whether a webhook of the batch is not delivered or any webhook is being sent."""
    sql = """
    SELECT count(*) FILTER (WHERE state = 'delivered' AND query_id::text = ANY($1)) < $2
        OR count(*) FILTER (WHERE state = 'leased') > 0
    FROM deliveries
    """
    wanted = list(batch.queries)
    return bool(await archive.ledger.database.fetchval(sql, wanted, len(wanted)))


async def waiting_for_a_retry(archive: ArchiveToKill) -> bool:
    """Return whether a webhook failed and is due later."""
    sql = "SELECT count(*) FROM deliveries WHERE state = 'due' AND attempt > 0"
    return bool(await archive.ledger.database.fetchval(sql))


async def test_a_second_process_that_comes_under_load_repeats_and_loses_nothing(
    archive: ArchiveToKill,
) -> None:
    archive.start(environment=PATIENT)
    batches = [await fed(archive) for _ in range(6)]
    archive.start(environment={"CONSUMER_INSTANCE": "second", **PATIENT})
    batches += [await fed(archive) for _ in range(6)]

    for batch in batches:
        assert await archive.ledger.done(batch, DONE_S), await archive.ledger.undone(batch)

    # The work may be done before the second has loaded; it still gets its share of partitions.
    async with asyncio.timeout(DONE_S):
        while len(await owners_in(archive)) < 2:
            await asyncio.sleep(0.2)
    posts = archive.ledger.posts()
    assert set(posts.values()) == {1}
    counted = [await archive.ledger._counts(batch) for batch in batches]
    assert counted == [batch.expected for batch in batches]
