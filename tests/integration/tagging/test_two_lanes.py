"""Two arrivals of one image on two topics: the one made later counts, whichever comes first."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import NamedTuple
from uuid import UUID

import pytest

from core.storage.archive import image_deletion, images
from core.storage.archive.ordering import Overtaken
from core.storage.folders import jobs
from core.storage.folders.jobs import DirectoryOptions
from core.storage.pool import Pool
from schemas.image import image_id_of
from schemas.topics import Lane
from tests.integration.tagging.archive import NOW, Archive, arrival
from tests.locks import until_blocked

ONE, OTHER = UUID(int=1), UUID(int=2)
IMAGE = image_id_of("file:p/1.jpg")


class Sent(NamedTuple):
    """An arrival: seconds after NOW, its lane, and the label that it brings."""

    seconds: int
    lane: Lane
    label: str


async def deal_with(archive: Archive, sent: Sent, job_id: UUID | None = None) -> None:
    event = arrival(1, labels=(sent.label,), job_id=job_id)
    await archive.tag(event, lane=sent.lane, at=NOW + timedelta(seconds=sent.seconds))


async def tags(pool: Pool) -> str:
    return str(await pool.fetchval("SELECT tags->0->>'tag' FROM tagged_images"))


@pytest.mark.parametrize(
    "in_order_of_winning",
    [
        (Sent(1, Lane.BULK, "oldest"), Sent(2, Lane.FRESH, "older"), Sent(3, Lane.BULK, "wins")),
        (Sent(1, Lane.FRESH, "oldest"), Sent(2, Lane.BULK, "older"), Sent(3, Lane.FRESH, "wins")),
        (Sent(1, Lane.BULK, "oldest"), Sent(2, Lane.BULK, "older"), Sent(2, Lane.FRESH, "wins")),
    ],
    ids=["last in bulk", "last fresh", "equal times"],
)
async def test_the_arrival_made_last_wins_in_whatever_order_they_come(
    archive: Archive, pool: Pool, in_order_of_winning: tuple[Sent, ...]
) -> None:
    for sents in permutations(in_order_of_winning):
        await pool.execute("TRUNCATE images CASCADE")
        for sent in sents:
            await deal_with(archive, sent)

        assert await tags(pool) == "wins", sents


async def test_a_skipped_arrival_counts_as_done_for_its_job_and_says_nothing(
    archive: Archive, pool: Pool
) -> None:
    await deal_with(archive, Sent(1, Lane.FRESH, "newer"))
    before = await images.status(pool, IMAGE)

    skipped = await archive.tag(arrival(1, job_id=ONE), lane=Lane.BULK)

    assert skipped.emitted == ()
    assert await images.job_counts(pool, ONE) == {"tagged": 1}
    after = await images.status(pool, IMAGE)
    assert before is not None
    assert after is not None
    assert after.updated_at > before.updated_at, "who waits for news looks again"
    assert after.tags == before.tags


async def test_an_arrival_older_than_the_deletion_counts_as_done_for_its_job(
    archive: Archive, pool: Pool
) -> None:
    await deal_with(archive, Sent(1, Lane.FRESH, "gone"))
    async with pool.transaction() as tx:
        await image_deletion.delete(tx, IMAGE)

    await archive.tag(arrival(1, job_id=ONE), lane=Lane.BULK)

    assert await images.status(pool, IMAGE) is None
    assert await images.job_counts(pool, ONE) == {"deleted": 1}


async def test_an_older_arrival_that_fails_leaves_newer_tags_without_a_reason(
    archive: Archive, pool: Pool
) -> None:
    await deal_with(archive, Sent(1, Lane.FRESH, "newer"))
    archive.blobs.contents["file:p/1.jpg"] = b"no picture"

    outcome = await archive.tag(arrival(1), lane=Lane.BULK)

    status = await images.status(pool, IMAGE)
    assert status is not None
    assert (status.status, status.reason) == ("tagged", None)
    assert await pool.fetchval("SELECT count(*) FROM failures") == 0
    assert [one.error.reason for one in outcome.rejected] == ["not_an_image"], "no record is lost"


async def test_an_image_whose_newer_arrival_failed_takes_the_tags_of_an_older_one(
    archive: Archive, pool: Pool
) -> None:
    archive.blobs.contents["file:p/1.jpg"] = b"no picture"
    await deal_with(archive, Sent(1, Lane.FRESH, "failed"))
    del archive.blobs.contents["file:p/1.jpg"]

    await deal_with(archive, Sent(0, Lane.BULK, "older"))

    assert await tags(pool) == "older"


async def test_a_clock_ahead_does_not_shut_out_what_is_made_after_it_was_dealt_with(
    archive: Archive, pool: Pool
) -> None:
    now = datetime.now(UTC)
    ahead = now + timedelta(hours=1)
    await archive.tag(arrival(1, labels=("ahead",)), lane=Lane.BULK, at=ahead)

    assert await pool.fetchval("SELECT event_time FROM images") < ahead
    made = await pool.fetchval("SELECT clock_timestamp()") + timedelta(milliseconds=1)
    await archive.tag(arrival(1, labels=("after it",)), at=made)

    assert await tags(pool) == "after it"


@pytest.mark.parametrize("is_picture", [True, False])
async def test_of_two_lanes_that_add_an_image_at_one_time_the_older_is_done_again(
    archive: Archive, pool: Pool, *, is_picture: bool
) -> None:
    newer = await archive.prepare(arrival(1, labels=("newer",)), at=NOW + timedelta(seconds=1))
    if not is_picture:
        archive.blobs.contents["file:p/1.jpg"] = b"no picture"
    older = await archive.prepare(arrival(1, labels=("older",)), lane=Lane.BULK)

    async def write_older() -> None:
        async with pool.transaction() as tx:
            await archive.role.apply(older, tx)

    async with pool.transaction() as tx:
        await archive.role.apply(newer, tx)
        writing = asyncio.create_task(write_older())  # it knows of no row yet
        await until_blocked(pool, writing)
    with pytest.raises(Overtaken):
        await writing
    await write_older()

    assert await tags(pool) == "newer"
    assert await pool.fetchval("SELECT reason FROM images") is None


async def test_an_arrival_for_two_jobs_is_counted_by_the_one_that_came_last(
    archive: Archive, pool: Pool
) -> None:
    await deal_with(archive, Sent(1, Lane.FRESH, "newer"), ONE)
    await deal_with(archive, Sent(0, Lane.BULK, "older"), OTHER)

    assert await images.job_counts(pool, OTHER) == {"tagged": 1}


async def test_who_had_a_file_tagged_owns_it_though_the_arrival_was_skipped(
    archive: Archive, pool: Pool
) -> None:
    await jobs.create(
        pool, job_id=ONE, root="p", directory="", options=DirectoryOptions(), owner="ann"
    )
    await deal_with(archive, Sent(1, Lane.FRESH, "newer"))

    await archive.tag(arrival(1, job_id=ONE, owner="ann"), lane=Lane.BULK)
    await archive.tag(arrival(1, job_id=ONE, owner="forged"), lane=Lane.BULK)

    owners = await pool.fetch("SELECT owner FROM image_owners WHERE image_id = $1", IMAGE)
    assert [row["owner"] for row in owners] == ["ann"]


@pytest.mark.parametrize("is_known", [False, True])
async def test_who_had_a_file_tagged_owns_it_though_another_arrival_came_in_the_same_batch(
    archive: Archive, pool: Pool, *, is_known: bool
) -> None:
    for job_id, owner in ((ONE, "ann"), (OTHER, "bob")):
        await jobs.create(
            pool, job_id=job_id, root="p", directory="", options=DirectoryOptions(), owner=owner
        )
    if is_known:
        await deal_with(archive, Sent(-1, Lane.FRESH, "before"))

    await archive.tag(
        arrival(1, job_id=ONE, owner="ann"), arrival(1, job_id=OTHER, owner="bob"), lane=Lane.BULK
    )

    owners = await pool.fetch("SELECT owner FROM image_owners WHERE image_id = $1", IMAGE)
    assert {row["owner"] for row in owners} == {"ann", "bob"}
    assert await images.job_counts(pool, OTHER) == {"tagged": 1}, "of the one that counts"


async def test_a_job_counts_an_image_whose_later_arrival_in_the_same_batch_has_none(
    archive: Archive, pool: Pool
) -> None:
    await archive.tag(arrival(1, job_id=ONE), arrival(1), arrival(1), lane=Lane.BULK)

    assert await images.job_counts(pool, ONE) == {"tagged": 1}


async def test_a_job_counts_a_skipped_image_that_another_skipped_arrival_names_without_a_job(
    archive: Archive, pool: Pool
) -> None:
    await deal_with(archive, Sent(1, Lane.FRESH, "newer"))

    await archive.tag(arrival(1, job_id=ONE), arrival(1), lane=Lane.BULK)

    assert await images.job_counts(pool, ONE) == {"tagged": 1}
