"""Killed at every named step: nothing is lost, nothing is done twice (docs/guarantees.md).

The fast part kills at the first hit of each step; the long part by role, at the first and a later
hit, and writes the table of docs/guarantees.md.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.failpoints import POINTS
from core.settings import KafkaSettings
from schemas.topics import Lane
from tests.faults.harness.archive_to_kill import ArchiveToKill, archive_to_kill
from tests.faults.harness.lives import Aim
from tests.faults.harness.matrix import Row, Table, aims
from tests.servers import fresh_database

#: Steps that need an earlier death: of a life with a lease, or by a record that may kill.
AFTER_A_DEATH_AT = {"lease.expired": "attempt.begun", "prepare.attempted": "prepare.begun"}
ISOLATING = {"CRASHING_ISOLATE_AFTER": "1"}


@pytest.fixture(scope="module")
async def archive(
    kafka_bootstrap: str,
    postgres_url: str,
    database_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[ArchiveToKill]:
    """Open one archive for the whole matrix; each run begins with what the previous one left."""
    kafka = KafkaSettings(
        bootstrap_servers=kafka_bootstrap,
        topic_prefix=f"matrix{datetime.now(UTC):%H%M%S}.",
        session_timeout_ms=6000,
    )
    log = tmp_path_factory.mktemp("matrix") / "lives.log"
    for url in fresh_database(postgres_url, f"TEMPLATE {database_template}"):
        async with archive_to_kill(kafka, url, log) as opened:
            yield opened


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    """Collect the results; `make test-faults` writes them into docs/guarantees.md."""
    rows = Table()
    yield rows
    rows.write()


async def run(archive: ArchiveToKill, aim: Aim) -> Row:
    """Die at the step, restart, return the verdict."""
    if aim.at in AFTER_A_DEATH_AT:
        batch, _ = await archive.die(Aim(AFTER_A_DEATH_AT[aim.at], group=aim.group))
        archive.start(aim, environment=ISOLATING)
        reached = await archive.reached(batch)
    else:
        batch, reached = await archive.die(aim)
    verdict = await archive.recover(batch)
    return Row(aim, reached, verdict, whole=await archive.at_the_end())


def check(row: Row, log: Path) -> None:
    """Check the invariants."""
    told = f"{row}\n{log.read_text(errors='replace')[-6000:]}"
    assert not row.verdict.lost, told
    assert not row.verdict.twice, told
    assert row.whole, told


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_at_this_step_loses_nothing_and_does_nothing_twice(
    archive: ArchiveToKill, table: Table, point: str
) -> None:
    row = await run(archive, Aim(point))
    table.add(row)

    assert row.reached, f"nobody came to {point}"
    check(row, archive.lives.log)


@pytest.mark.parametrize("point", ["prepare.done", "commit.outboxed", "commit.done"])
async def test_nor_does_a_kill_while_the_bulk_lane_is_there(
    archive: ArchiveToKill, point: str
) -> None:
    row = await run(archive, Aim(point, group=Lane.BULK.group))

    assert row.reached, f"the bulk lane did not come to {point}"
    check(row, archive.lives.log)


@pytest.mark.slow
@pytest.mark.parametrize("aim", aims(), ids=str)
async def test_nor_by_any_role_at_the_first_or_a_later_hit(
    archive: ArchiveToKill, table: Table, aim: Aim
) -> None:
    row = await run(archive, aim)
    table.add(row)

    check(row, archive.lives.log)
