"""`job_id` in a direct record: the images of a producer's own job are counted."""

from uuid import UUID

from core.storage.archive import images
from core.storage.folders import jobs
from core.storage.folders.jobs import DirectoryOptions
from core.storage.pool import Pool
from tests.integration.tagging.archive import Archive, arrival

ONE, OTHER = UUID(int=1), UUID(int=2)


async def test_a_producers_job_is_there_with_the_first_record_and_counts_them(
    archive: Archive, pool: Pool
) -> None:
    for number in (1, 2, 3):
        await archive.tag(arrival(number, job_id=ONE))
    await archive.tag(arrival(4, job_id=OTHER))
    await archive.tag(arrival(5))

    job = await jobs.get(pool, ONE)
    assert job is not None
    assert (job.owner, job.state, job.announced, job.total) == (None, "done", 3, None)
    assert await images.job_counts(pool, ONE) == {"tagged": 3}
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 2


async def test_a_record_does_not_touch_the_job_of_a_directory(archive: Archive, pool: Pool) -> None:
    await jobs.create(
        pool, job_id=ONE, owner="alice", root="p", directory="", options=DirectoryOptions()
    )

    await archive.tag(arrival(1, job_id=ONE))

    job = await jobs.get(pool, ONE)
    assert job is not None
    assert (job.owner, job.state, job.announced) == ("alice", "waiting", 0)


async def test_nobody_runs_a_producers_job(archive: Archive, pool: Pool) -> None:
    await archive.tag(arrival(1, job_id=ONE))

    assert await jobs.lease(pool, OTHER, 60.0) is None
