"""Behind PgBouncer in transaction mode: killed, stopped and woken, everything is done exactly once.

The tests are those of `test_runtime_deaths` and cells of the crash matrix, with the members' and
the lives' database behind a pooler.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from core.settings import DatabaseSettings, KafkaSettings
from tests.counting import set_up
from tests.faults.harness.archive_to_kill import ArchiveToKill, archive_to_kill
from tests.faults.harness.lives import Aim
from tests.faults.test_crash_matrix import check, run
from tests.faults.test_runtime_deaths import (
    bench,
    test_a_zombie_stopped_inside_its_transaction_holds_nobody_up_for_long,
    test_a_zombie_that_wakes_up_before_its_transaction_is_rejected_by_the_guard,
    test_kills_at_random_moments_leave_every_effect_exactly_once,
)
from tests.pgbouncer import running_pgbouncer
from tests.servers import fresh_database

__all__ = [  # collected here once more, with the fixtures of this module
    "bench",
    "test_a_zombie_stopped_inside_its_transaction_holds_nobody_up_for_long",
    "test_a_zombie_that_wakes_up_before_its_transaction_is_rejected_by_the_guard",
    "test_kills_at_random_moments_leave_every_effect_exactly_once",
]

#: Around the one transaction that must be whole, and a webhook's two.
POINTS = (
    "prepare.done",
    "commit.guarded",
    "commit.outboxed",
    "commit.done",
    "attempt.begun",
)


@pytest.fixture
async def database(database_url: str, kafka: KafkaSettings) -> AsyncIterator[DatabaseSettings]:
    """Create a database with the table of effects behind a pooler, and the topics."""
    with running_pgbouncer(database_url) as pooler_url:
        settings = DatabaseSettings(url=SecretStr(database_url), pooler_url=SecretStr(pooler_url))
        await set_up(kafka, settings)
        yield settings


@pytest.fixture(scope="module")
def pooled(postgres_url: str, database_template: str) -> Iterator[tuple[str, str]]:
    """Yield a database's URL and the one of its pooler."""
    for url in fresh_database(postgres_url, f"TEMPLATE {database_template}"):
        with running_pgbouncer(url) as pooler_url:
            yield url, pooler_url


@pytest.fixture(scope="module")
async def archive(
    kafka_bootstrap: str, pooled: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ArchiveToKill]:
    """Open an archive whose processes reach PostgreSQL through a pooler alone."""
    kafka = KafkaSettings(
        bootstrap_servers=kafka_bootstrap,
        topic_prefix=f"pooled{datetime.now(UTC):%H%M%S}.",
        session_timeout_ms=6000,
    )
    log = tmp_path_factory.mktemp("pooled") / "lives.log"
    async with archive_to_kill(kafka, pooled[0], log, pooler_url=pooled[1]) as opened:
        yield opened


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_behind_a_pooler_loses_nothing_and_does_nothing_twice(
    archive: ArchiveToKill, point: str
) -> None:
    row = await run(archive, Aim(point))

    assert row.reached, f"nobody came to {point}"
    check(row, archive.lives.log)
