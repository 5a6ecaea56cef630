"""Directory jobs: announced whole, resumed after a kill, cancelled at once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from core.blobs.roots import Roots
from core.messaging.ports import Sent
from core.storage.folders import jobs
from core.storage.folders.jobs import DirectoryJob, DirectoryOptions
from core.storage.pool import Pool
from producers.folders.announcing import Announcer
from producers.jobs import JobRunner
from producers.publishing import Patience
from schemas.image import ImageArrived
from schemas.record import Record
from schemas.topics import IMAGES_BULK
from tests.fakes.publisher import MemoryPublisher

NAMES = [f"{i % 7}/{i:03}.jpg" for i in range(100)]
LABELS = ("кот", "dog")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (*NAMES, "0/film.mp4", "6/raw.nef", "z/other.txt"):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "outside.jpg").write_bytes(b"x")
    return tmp_path


def runner(pool: Pool, kafka: MemoryPublisher, root: Path, *, lease_s: float = 60.0) -> JobRunner:
    announcer = Announcer(kafka, "/test", Patience(limit_s=0))
    return JobRunner(pool, Roots({"main": root}), announcer, lease_s, poll_s=0.01, batch=10)


async def make(pool: Pool, directory: str = "album", **options: object) -> UUID:
    job_id = uuid4()
    wishes = DirectoryOptions(labels=LABELS, top_k=1, **options)  # type: ignore[arg-type]
    await jobs.create(
        pool, job_id=job_id, root="main", directory=directory, options=wishes, owner="ann"
    )
    return job_id


async def read(pool: Pool, job_id: UUID) -> DirectoryJob:
    job = await jobs.get(pool, job_id)
    assert job is not None
    return job


async def test_a_job_announces_its_directory_with_its_wishes(
    pool: Pool, kafka: MemoryPublisher, root: Path
) -> None:
    job_id = await make(pool)

    assert await runner(pool, kafka, root).run_next(asyncio.Event())
    assert {record.topic for record in kafka.records} == {IMAGES_BULK.name}

    events = [ImageArrived.model_validate_json(record.value) for record in kafka.records]
    assert Counter(event.uri for event in events) == Counter(
        f"file:main/album/{name}" for name in NAMES
    )
    assert {(e.labels, e.top_k, e.owner, e.job_id) for e in events} == {(LABELS, 1, "ann", job_id)}
    job = await read(pool, job_id)
    assert (job.state, job.total, job.announced) == ("done", 100, 100)
    assert job.skips == {"video": 1, "raw": 1, "unsupported": 1}
    assert not await runner(pool, kafka, root).run_next(asyncio.Event())


async def test_a_killed_runner_s_job_goes_on_where_it_stood(
    pool: Pool, kafka: MemoryPublisher, root: Path
) -> None:
    job_id = await make(pool)
    kafka.delay_s = 0.05
    doomed = asyncio.create_task(runner(pool, kafka, root, lease_s=0.2).run_next(asyncio.Event()))
    while len(kafka.records) < 35:
        await asyncio.sleep(0.005)
    doomed.cancel()  # neither lease nor progress is written, as after a kill
    await asyncio.gather(doomed, return_exceptions=True)
    assert (await read(pool, job_id)).state == "running"
    before = len(kafka.records)

    heir = runner(pool, kafka, root)
    while not await heir.run_next(asyncio.Event()):
        await asyncio.sleep(0.02)

    repeats = Counter(kafka.uris())
    assert set(repeats) == {f"file:main/album/{name}" for name in NAMES}
    assert before < 100
    assert len(kafka.records) <= 110  # at most one batch was announced but not noted
    job = await read(pool, job_id)
    assert (job.state, job.announced, job.skipped) == ("done", 100, 3)


async def test_a_living_runner_keeps_its_job_however_long_a_batch_takes(
    pool: Pool, kafka: MemoryPublisher, root: Path
) -> None:
    job_id = await make(pool)
    kafka.delay_s = 5.0
    running = asyncio.create_task(runner(pool, kafka, root, lease_s=2.0).run_next(asyncio.Event()))
    while not kafka.calls:
        await asyncio.sleep(0.01)

    for _ in range(10):  # twice as long as the lease, but shorter than the batch
        assert await jobs.lease(pool, uuid4(), 60) is None
        await asyncio.sleep(0.4)

    kafka.delay_s = 0.0
    await running
    assert (await read(pool, job_id)).state == "done"
    assert len(kafka.records) == 100


async def test_a_stopped_runner_gives_its_job_back(
    pool: Pool, kafka: MemoryPublisher, root: Path
) -> None:
    job_id = await make(pool)
    stop = asyncio.Event()
    stop.set()

    await runner(pool, kafka, root).run_next(stop)
    job = await read(pool, job_id)
    assert (job.state, job.announced) == ("waiting", 10)

    await runner(pool, kafka, root).run_next(asyncio.Event())
    assert Counter(kafka.uris()).most_common(1)[0][1] == 1
    assert (await read(pool, job_id)).state == "done"


async def test_a_cancelled_job_stops_at_its_next_step(
    pool: Pool, kafka: MemoryPublisher, root: Path
) -> None:
    job_id = await make(pool)
    kafka.delay_s = 0.05
    running = asyncio.create_task(runner(pool, kafka, root).run_next(asyncio.Event()))
    while not kafka.records:
        await asyncio.sleep(0.005)

    assert await jobs.cancel(pool, job_id)
    await running

    assert len(kafka.records) < 100
    assert (await read(pool, job_id)).state == "cancelled"


async def test_while_kafka_is_away_a_job_waits_and_then_goes_on(
    pool: Pool, kafka: MemoryPublisher, root: Path
) -> None:
    job_id = await make(pool)
    kafka.is_away = True
    stop = asyncio.Event()
    running = asyncio.create_task(runner(pool, kafka, root).run_until(stop))
    while kafka.calls < 3:
        await asyncio.sleep(0.01)
    assert (await read(pool, job_id)).announced == 0

    kafka.is_away = False
    while (await read(pool, job_id)).state != "done":
        await asyncio.sleep(0.02)
    stop.set()
    await running
    assert len(kafka.records) == 100


@pytest.mark.parametrize(
    ("directory", "options", "reason"),
    [
        ("nowhere", {}, "image_missing"),
        ("../album", {}, "image_missing"),
        ("album", {"extensions": (".xyz",)}, "extensions_not_supported"),
    ],
)
async def test_a_job_that_cannot_be_done_fails_with_its_reason_and_the_next_runs(
    pool: Pool, kafka: MemoryPublisher, root: Path, directory: str, options: dict[str, object],
    reason: str,
) -> None:  # fmt: skip
    bad, good = await make(pool, directory, **options), await make(pool)
    tried = runner(pool, kafka, root)

    await tried.run_next(asyncio.Event())
    await tried.run_next(asyncio.Event())

    failed = await read(pool, bad)
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.startswith(reason)
    assert (await read(pool, good)).state == "done"


async def test_the_total_is_counted_while_the_job_runs(
    pool: Pool, kafka: MemoryPublisher, root: Path
) -> None:
    job_id = await make(pool)
    kafka.delay_s = 0.1
    running = asyncio.create_task(runner(pool, kafka, root).run_next(asyncio.Event()))

    while (job := await read(pool, job_id)).total is None:
        await asyncio.sleep(0.01)

    assert (job.total, job.state) == (100, "running")
    await running


class HoldingKafka(MemoryPublisher):
    """A broker that holds the job while it takes a batch."""

    hold: Callable[[], Awaitable[object]] | None = None

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        sent = await super().publish(records)
        if self.hold is not None:
            await self.hold()
            self.hold = None
        return sent


async def test_a_held_job_stops_behind_its_batch_and_goes_on_behind_it(
    pool: Pool, root: Path
) -> None:
    job_id, kafka = await make(pool), HoldingKafka()
    kafka.hold = lambda: jobs.pause(pool, job_id)

    assert await runner(pool, kafka, root).run_next(asyncio.Event())
    held = await read(pool, job_id)
    assert not await runner(pool, kafka, root).run_next(asyncio.Event()), "nobody takes it"
    assert await jobs.resume(pool, job_id)
    assert not await jobs.resume(pool, job_id)
    assert await runner(pool, kafka, root).run_next(asyncio.Event())
    done = await read(pool, job_id)

    assert (held.state, held.announced) == ("paused", 10), "what was announced is noted"
    assert (done.state, done.announced) == ("done", len(NAMES))
    assert len(kafka.records) == len(NAMES), "no photo was announced twice"
    assert not await jobs.pause(pool, job_id)


async def test_a_held_job_is_cancelled_like_any_other(pool: Pool) -> None:
    job_id = await make(pool)
    assert await jobs.pause(pool, job_id)

    assert await jobs.cancel(pool, job_id)
    assert (await read(pool, job_id)).state == "cancelled"
