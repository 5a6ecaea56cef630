"""Directory jobs: one runner at a time, nothing counted twice."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from core.settings import DatabaseSettings
from core.storage.folders import jobs
from core.storage.folders.jobs import DirectoryOptions, Step
from core.storage.pool import Pool, open_pool

OPTIONS = DirectoryOptions(labels=("кот", "dog"), top_k=2, extensions=(".jpg",))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(DatabaseSettings(url=SecretStr(database_url))) as opened:
        yield opened


async def make(pool: Pool, *, owner: str | None = None) -> UUID:
    job_id = uuid4()
    await jobs.create(
        pool, job_id=job_id, root="main", directory="2024", options=OPTIONS, owner=owner
    )
    return job_id


async def test_a_job_is_leased_by_one_runner_and_kept_by_its_steps(pool: Pool) -> None:
    job_id = await make(pool)
    first, second = uuid4(), uuid4()

    job = await jobs.lease(pool, first, 60)

    assert job is not None
    assert (job.job_id, job.options, job.position) == (job_id, OPTIONS, b"")
    assert await jobs.lease(pool, second, 60) is None
    assert not await jobs.advance(pool, job_id, second, Step(b"x", 1, {}), 60)
    assert await jobs.advance(pool, job_id, first, Step(b"2024/\xff.jpg", 3, {"raw": 2}), 60)
    assert await jobs.advance(pool, job_id, first, Step(b"2024/b", 1, {"raw": 1, "video": 1}), 60)
    assert await jobs.finish(pool, job_id, first)
    done = await jobs.get(pool, job_id)
    assert done is not None
    assert (done.state, done.announced, done.total, done.skipped) == ("done", 4, 4, 4)
    assert done.skips == {"raw": 3, "video": 1}
    assert done.position == b"2024/b"


async def test_a_job_whose_runner_died_is_taken_over_where_it_stood(pool: Pool) -> None:
    job_id = await make(pool)
    dead, heir = uuid4(), uuid4()
    await jobs.lease(pool, dead, 60)
    await jobs.advance(pool, job_id, dead, Step(b"2024/m.jpg", 5, {}), -1)  # ran out

    job = await jobs.lease(pool, heir, 60)

    assert job is not None
    assert (job.position, job.announced) == (b"2024/m.jpg", 5)
    assert not await jobs.advance(pool, job_id, dead, Step(b"2024/z.jpg", 5, {}), 60)
    assert not await jobs.finish(pool, job_id, dead)


async def test_a_released_job_is_there_at_once(pool: Pool) -> None:
    job_id = await make(pool)
    token = uuid4()
    await jobs.lease(pool, token, 60)
    await jobs.release(pool, job_id, token)

    again = await jobs.lease(pool, uuid4(), 60)

    assert again is not None
    assert again.job_id == job_id


async def test_a_cancelled_job_stops_its_runner_and_is_not_taken_again(pool: Pool) -> None:
    job_id = await make(pool)
    token = uuid4()
    await jobs.lease(pool, token, 60)

    assert await jobs.cancel(pool, job_id)

    assert not await jobs.advance(pool, job_id, token, Step(b"x", 1, {}), 60)
    assert await jobs.lease(pool, uuid4(), 60) is None
    assert not await jobs.cancel(pool, job_id)


async def test_jobs_are_listed_newest_first_page_by_page_and_by_owner(pool: Pool) -> None:
    made = [await make(pool, owner=owner) for owner in ("ann", "bob", "ann")]

    first = await jobs.recent(pool, limit=2)
    last = first[-1]
    rest = await jobs.recent(pool, limit=2, before=(last.created_at, last.job_id))

    assert [job.job_id for job in first + rest] == made[::-1]
    assert [job.job_id for job in await jobs.recent(pool, owner="ann")] == [made[2], made[0]]
