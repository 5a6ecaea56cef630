"""The benchmark of several tagging processes on one PostgreSQL."""

import asyncio
from itertools import islice

import pytest
from pydantic import SecretStr

from benchmarks import locks
from benchmarks.harness.archives import Kind
from benchmarks.harness.writing.growth import grow
from benchmarks.harness.writing.photos import BATCH, Share
from benchmarks.harness.writing.together import define_labels, write_together
from benchmarks.harness.writing.waits import Doing, WaitSampler, doing
from benchmarks.harness.writing.writer import APPLICATION, Acknowledging, Told, open_writer
from core.settings import DatabaseSettings
from core.storage.best import combos
from core.storage.pool import open_pool
from standalone.postgres.server import EmbeddedPostgres
from tests.locks import until_blocked
from tests.servers import at_database, drop_database

KIND = Kind(14, 4)


async def test_processes_together_write_every_photo_once_and_leave_nothing(
    database_url: str,
) -> None:
    ran = await write_together(database_url, KIND, 2, 6)

    assert [ran.processes, len(ran.batches)] == [2, 6]
    async with open_pool(DatabaseSettings(url=SecretStr(database_url))) as pool:
        counted = await pool.fetchrow(
            "SELECT (SELECT count(*) FROM tagged_images) AS photos,"
            " (SELECT count(*) FROM image_tags) AS tags,"
            " (SELECT count(*) FROM outbox) AS left_over,"
            " (SELECT sum(next_offset) FROM progress) AS passed"
        )
    assert counted is not None
    assert dict(counted) == {
        "photos": 6 * BATCH,
        "tags": 6 * BATCH * KIND.per_image,
        "left_over": 0,
        "passed": 6 * BATCH,
    }
    assert ran.locking > 0  # a table that fills: its first batches change best images
    assert ran.took_ms(0.5) > ran.held_ms(0.5) > 0
    assert ran.looks > 0
    assert sum(ran.shares.values()) == pytest.approx(1)


async def test_a_batch_that_waits_for_the_best_images_is_seen_to_wait_for_them(
    database_url: str,
) -> None:
    await define_labels(database_url, KIND)
    sampler, stop = WaitSampler(database_url, APPLICATION), asyncio.Event()
    told = Told(database_url, Share(0, 1, 1), KIND)
    async with (
        open_pool(DatabaseSettings(url=SecretStr(database_url))) as pool,
        open_writer(told, Acknowledging()) as (writer, batches),
    ):
        sampling = asyncio.create_task(sampler.run(stop))
        async with pool.transaction() as tx:
            await combos.lock_rows(tx)
            writing = asyncio.create_task(writer.write(next(batches)))
            await until_blocked(pool, writing)
            async with asyncio.timeout(20):
                while not sampler.seen[Doing.BEST_IMAGES]:
                    await asyncio.sleep(0.005)
        timed = await writing
        stop.set()
        await sampling
    assert sampler.events["Lock/advisory"] == sampler.seen[Doing.BEST_IMAGES]
    assert timed.waited is not None
    assert 0 < timed.waited < timed.took


@pytest.mark.parametrize(
    ("state", "kind", "event", "expected"),
    [
        ("idle", "Client", "ClientRead", None),
        (None, None, None, None),
        ("idle in transaction", "Client", "ClientRead", Doing.CLIENT),
        ("active", "Client", "ClientRead", Doing.CLIENT),
        ("active", None, None, Doing.RUNNING),
        ("active", "Lock", "advisory", Doing.BEST_IMAGES),
        ("active", "Lock", "transactionid", Doing.OTHER_LOCKS),
        ("active", "LWLock", "BufferContent", Doing.OTHER_LOCKS),
        ("active", "LWLock", "WALWrite", Doing.WAL_AND_IO),
        ("active", "IO", "WalSync", Doing.WAL_AND_IO),
    ],
)
def test_what_a_session_does_is_told_by_its_wait_event(
    state: str | None, kind: str | None, event: str | None, expected: Doing | None
) -> None:
    assert doing(state, kind, event) is expected


def test_the_more_photos_there_are_the_fewer_batches_change_a_best_image() -> None:
    # Up to 1,000 photos and up to 3,200: some 20 ms of work, whatever the machine does beside it.
    first, second = islice(grow(KIND, 120), 2)

    assert first.locking == 1
    assert 0 < second.changed < first.changed
    assert second.rows > first.rows


async def test_the_benchmark_prints_its_tables_and_its_goal(
    postgres_server: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", "")  # the benchmark sets it, in its own process
    archive = locks.Archive(KIND, 2 * BATCH)
    try:
        await locks.prepare(postgres_server, archive)
        found = await locks.measure(
            postgres_server.url, archive, processes=(1, 2), batches=2, repetitions=1
        )
        locks.print_tables(archive, found)
        locks.print_goal(archive, found)
    finally:
        drop_database(postgres_server.url, archive.name)

    assert [[run.processes for run in runs] for runs in found] == [[1], [2]]
    said = capsys.readouterr().out
    assert "goal best-images lock's share of a batch, 2 processes, 14 labels" in said
    async with open_pool(DatabaseSettings(url=SecretStr(postgres_server.url))) as pool:
        left = await pool.fetchval("SELECT count(*) FROM pg_database WHERE datname LIKE 'locks_%'")
    assert left == 0
    assert at_database(postgres_server.url, archive.name).endswith("/locks_14_128")
