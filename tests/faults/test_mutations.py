"""Each mechanism behind the guarantees is removed: the invariants must fail without it.

The same run with nothing removed is the control. docs/guarantees.md has the list.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.settings import KafkaSettings
from tests.faults.harness.archive_to_kill import ArchiveToKill, archive_to_kill
from tests.faults.harness.ledger import Batch, Verdict
from tests.faults.harness.lives import Aim
from tests.faults.harness.mutations import MUTATIONS

SOON_S = 12.0  # lost effects never occur, so waiting longer is useless


@pytest.fixture
async def archive(
    kafka: KafkaSettings, database_url: str, tmp_path: Path
) -> AsyncIterator[ArchiveToKill]:
    """Open an archive of its own, since a mutation may leave it broken."""
    async with archive_to_kill(kafka, database_url, tmp_path / "lives.log") as opened:
        yield opened


async def _killed(archive: ArchiveToKill, aim: Aim, mutation: str) -> Verdict:
    batch, reached = await archive.die(aim, mutation=mutation)
    assert reached, aim
    # One record at a time, because the roles detect repeats within a batch.
    alone = {"CONSUMER_BATCH_MAX_RECORDS": "1"}
    return await archive.recover(batch, within_s=SOON_S, mutation=mutation, environment=alone)


async def _woken(archive: ArchiveToKill, aim: Aim, mutation: str, *, instance: str) -> Verdict:
    """Stop a life at a step, let another finish its work, resume it; return the verdict."""
    zombie = archive.start(aim, mutation=mutation)
    batch = await archive.ledger.feed()
    await archive.ledger.follow_up(batch)
    await _until_stopped(zombie)
    heir = archive.start(mutation=mutation, environment={"CONSUMER_INSTANCE": instance})
    assert await archive.ledger.done(batch, 40)
    archive.ledger.excused |= {webhook for _, webhook in archive.ledger.posts()}  # a lease ran out
    os.kill(zombie, signal.SIGCONT)
    await asyncio.sleep(4)
    assert await _settled(archive, batch)
    archive.lives.kill(zombie)
    archive.lives.kill(heir)
    return await archive.ledger.judge(batch, archive.consumer)


async def _settled(archive: ArchiveToKill, batch: Batch) -> bool:
    return await archive.ledger.done(batch, 15)


async def _until_stopped(pid: int) -> None:
    for _ in range(600):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return
        await asyncio.sleep(0.05)
    raise AssertionError("nobody came to the step")


@pytest.mark.slow  # tests/simulation takes it out too, within `make test`
async def test_without_one_transaction_a_kill_after_the_move_loses_records(
    archive: ArchiveToKill,
) -> None:
    assert (await _killed(archive, Aim("commit.guarded"), "one_transaction")).lost


@pytest.mark.slow  # tests/simulation takes it out too, within `make test`
async def test_without_the_outbox_a_kill_after_the_commit_loses_events(
    archive: ArchiveToKill,
) -> None:
    assert (await _killed(archive, Aim("commit.done"), "outbox")).lost


@pytest.mark.slow  # tests/simulation takes it out too, within `make test`
async def test_without_the_sweeper_nobody_publishes_what_a_crash_left(
    archive: ArchiveToKill,
) -> None:
    assert (await _killed(archive, Aim("commit.done"), "sweeper")).lost


async def test_without_the_first_answer_winning_a_repeated_query_is_answered_twice(
    archive: ArchiveToKill,
) -> None:
    assert (await _killed(archive, Aim("parked.committed"), "first_answer")).twice


async def test_without_the_unique_key_a_repeated_callback_becomes_two_webhooks(
    archive: ArchiveToKill,
) -> None:
    aim = Aim("dispatch.published", group="query")
    assert (await _killed(archive, aim, "unique_delivery")).twice


@pytest.mark.parametrize("mutation", ["", "guard"])
async def test_a_zombie_with_plans_in_hand_writes_them_only_without_the_guard(
    archive: ArchiveToKill, mutation: str
) -> None:
    aim = Aim("prepare.done", group="tagging", signal=signal.SIGSTOP)
    verdict = await _woken(archive, aim, mutation, instance="heir")

    assert not verdict.lost
    assert bool(verdict.twice) == bool(mutation), verdict


@pytest.mark.parametrize("mutation", ["", "lease_token"])
async def test_a_zombie_with_an_old_lease_undoes_a_delivery_only_without_the_token(
    archive: ArchiveToKill, mutation: str
) -> None:
    # The target answered 503, so the webhook is due again; meanwhile another life delivered it.
    archive.ledger.path = "/flaky/1"
    aim = Aim("attempt.answered", signal=signal.SIGSTOP)
    verdict = await _woken(archive, aim, mutation, instance="heir")

    assert not verdict.lost
    assert bool(verdict.twice) == bool(mutation), verdict


@pytest.mark.slow  # tests/integration/tagging/test_slow_lane.py holds the claim in `make test`
@pytest.mark.parametrize("mutation", ["", "claim"])
async def test_a_zombie_with_a_parked_image_in_hand_writes_it_only_without_its_claim(
    archive: ArchiveToKill, mutation: str
) -> None:
    aim = Aim("slow.prepared", signal=signal.SIGSTOP)
    verdict = await _woken(archive, aim, mutation, instance="heir")

    assert not verdict.lost
    assert bool(verdict.twice) == bool(mutation), verdict


def test_every_mutation_has_a_test_that_fails_with_it() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in MUTATIONS if f'"{name}"' not in text] == []
