"""Owners of images in PostgreSQL: whose counts, whose pages, and who comes last."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.storage import labels
from core.storage.archive import (
    curation,
    following,
    image_deletion,
    image_tags,
    images,
    ordering,
    ownership,
    statistics,
)
from core.storage.archive.image_tags import TaggedImage
from core.storage.archive.images import FailedImage
from core.storage.finding import duplicates, image_pages, same_photos
from core.storage.finding.filters import ImageFilter
from core.storage.finding.orders import Order, PagePlace
from core.storage.folders import jobs
from core.storage.folders.jobs import DirectoryOptions
from core.storage.pool import Pool
from core.tags import TagScore
from tests.integration.storage.test_image_tags import store, tagged

OWNERS = ("ann", "bob", "cy")
IMAGES = 6
STEPS = 60
TAGS = ("cat", "dog", "beach")
SINCE, UNTIL = datetime(1970, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)
TYPED = (
    "UPDATE images SET open_to_all = NOT open_to_all WHERE image_id = $1 AND status <> 'deleted'",
    "UPDATE images SET status = 'missing' WHERE image_id = $1 AND status <> 'deleted'",
    "DELETE FROM images WHERE image_id = $1",
    "DELETE FROM tagged_images WHERE image_id = $1",
    "DELETE FROM image_tags WHERE image_id IN (SELECT id FROM tagged_images WHERE image_id = $1)",
    "UPDATE tagged_images SET exif_datetime = '2021-01-01', camera = 'Zorki' WHERE image_id = $1",
    """UPDATE tagged_images SET tags = '[{"tag": "dog", "score": 0.5}]' WHERE image_id = $1""",
    "DELETE FROM image_owners WHERE image_id = $1",
    "UPDATE image_owners SET owner = owner || '!' WHERE image_id = $1",
)
ANY_PLACE = datetime(1, 1, 1), datetime(9999, 1, 1)  # noqa: DTZ001 - as EXIF


async def accept(pool: Pool, image: TaggedImage, owner: str | None) -> None:
    async with pool.transaction() as tx:
        await images.accept(
            tx, image_id=image.image_id, uri=image.uri, path=image.path, owner=owner
        )


async def owners_of(pool: Pool, image_id: UUID) -> list[str]:
    rows = await pool.fetch(
        "SELECT owner FROM image_owners WHERE image_id = $1 ORDER BY owner", image_id
    )
    return [row["owner"] for row in rows]


async def leave(pool: Pool, image_id: UUID, owner: str) -> image_deletion.Departure | None:
    async with pool.transaction() as tx:
        return await image_deletion.leave(tx, image_id, owner)


@dataclass
class Story:
    """What can happen to images, drawn at random."""

    pool: Pool
    chance: random.Random

    def image(self) -> TaggedImage:
        number = self.chance.randrange(IMAGES)
        names = self.chance.sample(TAGS, self.chance.randrange(4))
        made = tagged(number, *((name, self.chance.randrange(1, 10**6)) for name in names))
        camera = self.chance.choice([None, "Leica", "Nikon"])
        exif = datetime(2020, 1, self.chance.randrange(1, 4))  # noqa: DTZ001 - as EXIF
        tags = replace(
            made.tags,
            camera=camera,
            exif_datetime=exif,
            perceptual_hash=number + 1,
            width=self.chance.choice([300, 400, 4000]),
        )
        return replace(made, tags=tags)

    def owner(self) -> str | None:
        return self.chance.choice([*OWNERS, None])

    async def arrive(self) -> None:
        await accept(self.pool, self.image(), self.owner())

    async def tag(self) -> None:
        chosen = {(one := self.image()).image_id: one for _ in range(3)}
        await store(self.pool, *(replace(one, owner=self.owner()) for one in chosen.values()))

    async def fail(self) -> None:
        one, owner = self.image(), self.owner()
        reason = self.chance.choice(["decoder_died", "image_unreadable"])
        failed = FailedImage(one.image_id, one.uri, one.path, owner, None, reason, "")
        async with self.pool.transaction() as tx:
            await images.record_failures(tx, [failed])

    async def leave(self) -> None:
        await leave(self.pool, self.image().image_id, self.chance.choice(OWNERS))

    async def delete(self) -> None:
        async with self.pool.transaction() as tx:
            await image_deletion.delete(tx, self.image().image_id)

    async def curate(self) -> None:
        image_id = self.image().image_id
        async with self.pool.transaction() as tx:
            if self.chance.random() < 0.5:
                await curation.exclude(tx, image_id, excluded=self.chance.random() < 0.5)
            else:
                await curation.set_tags(tx, image_id, [TagScore(self.chance.choice(TAGS), 400_000)])

    async def type_sql(self) -> None:
        statement = self.chance.choice(TYPED)
        await self.pool.execute(statement, self.image().image_id)

    async def step(self) -> str:
        steps: list[Callable[[], Awaitable[None]]] = [
            self.arrive, self.tag, self.fail, self.leave, self.delete, self.curate, self.type_sql,
        ]  # fmt: skip
        chosen = self.chance.choices(steps, weights=(4, 4, 1, 3, 1, 2, 2))[0]
        await chosen()
        async with self.pool.transaction() as tx:
            await following.follow_noted(tx)
        if self.chance.random() < 0.2:
            await statistics.fold(self.pool)
        return chosen.__name__


@dataclass(frozen=True)
class Seen:
    """What somebody sees, by brute force."""

    rows: list[dict[str, Any]]

    def of(self, column: str, *, has_tags: bool = False) -> dict[str, int]:
        rows = [row for row in self.rows if row["number"] is not None or not has_tags]
        return dict(Counter(row[column] for row in rows if row[column] is not None))


async def brute_force(pool: Pool, owner: str | None) -> Seen:
    """The rule in words: an administrator sees all; else what is open, and one's own."""
    rows = await pool.fetch(
        "SELECT i.*, t.id AS number, t.camera, t.sha256 AS tagged_sha256,"
        " t.perceptual_hash AS hash,"
        " CASE WHEN i.status <> 'deleted' THEN day_of(i.taken_at) END AS day,"
        " month_taken(t.exif_datetime, t.created_at) AS month,"
        " ratio_of(t.width, t.height) AS ratio,"
        " (SELECT array_agg(owner) FROM image_owners o WHERE o.image_id = i.image_id) AS owners"
        " FROM images i LEFT JOIN tagged_images t USING (image_id)"
    )
    return Seen(
        [
            dict(row)
            for row in rows
            if owner is None or row["open_to_all"] or owner in (row["owners"] or ())
        ]
    )


async def assert_all_readers_agree(pool: Pool, owner: str | None) -> None:
    seen = await brute_force(pool, owner)
    assert await statistics.counts(pool, "status", owner=owner) == seen.of("status")
    assert await statistics.counts(pool, "day", owner=owner) == seen.of("day")
    assert await statistics.counts(pool, "ratio", owner=owner) == seen.of("month", has_tags=True)
    for month, mean in (await statistics.means(pool, "ratio", owner=owner)).items():
        ratios = [row["ratio"] for row in seen.rows if row["number"] and row["month"] == month]
        assert mean == sum(ratios) / len(ratios)
    assert await statistics.cameras(pool, 9, owner=owner) == seen.of("camera", has_tags=True)
    numbers = [row["number"] for row in seen.rows if row["number"] is not None]
    tags = await pool.fetch(
        "SELECT l.name, count(*) AS images, round(avg(score) / 1e6, 6)::float8 AS mean"
        " FROM image_tags t JOIN labels l ON l.id = t.label_id"
        " WHERE image_id = ANY($1::int8[]) GROUP BY l.name",
        numbers,
    )
    counted = await statistics.tags(pool, owner=owner)
    assert {one.tag: one.images for one in counted} == {it["name"]: it["images"] for it in tags}
    for one in counted:
        mean = next(row["mean"] for row in tags if row["name"] == one.tag)
        assert one.mean_confidence == pytest.approx(mean, abs=2e-6)
    await assert_pages_agree(pool, owner, seen)


async def assert_pages_agree(pool: Pool, owner: str | None, seen: Seen) -> None:
    there = [row for row in seen.rows if row["status"] != "deleted"]
    expected = [
        row["image_id"]
        for row in sorted(there, key=lambda row: (row["arrived_at"], row["image_id"]))[::-1]
    ]
    paged: list[UUID] = []
    after: PagePlace | None = None
    wanted = ImageFilter(owner=owner)
    while page := await image_pages.page(pool, wanted, Order.ARRIVAL, 2, after):
        paged += [one.image.image_id for one in page]
        after = page[-1].place
    assert paged == expected
    dated = await image_pages.page(pool, wanted, Order.TAKEN, 99)
    assert {one.image.image_id for one in dated} == set(expected)
    single = [row["image_id"] for row in await pool.fetch("SELECT image_id FROM images")]
    found = [one for one in single if await images.visible_status(pool, one, owner)]
    assert set(found) == set(expected)
    failed = {one.reason: one.images for one in await statistics.failures(
        pool, SINCE, UNTIL, owner=owner
    )}  # fmt: skip
    reasons = await pool.fetch(
        "SELECT reason, count(*) FROM failures WHERE image_id = ANY($1) GROUP BY 1",
        [row["image_id"] for row in seen.rows],
    )
    assert failed == {row["reason"]: row["count"] for row in reasons}
    hashes = await same_photos.hashes(pool, owner=owner, limit=99)
    hashed = [row for row in there if row["hash"] is not None and row["status"] != "missing"]
    assert len(hashes.ids) == 8 * len({row["tagged_sha256"] for row in hashed})


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_everybody_counts_and_sees_what_is_theirs(
    pool: Pool, seed: int
) -> None:
    story = Story(pool, random.Random(seed))
    told: list[str] = []
    for _ in range(STEPS):
        told.append(await story.step())
        for owner in (None, *OWNERS, "ann!", "stranger"):
            try:
                await assert_all_readers_agree(pool, owner)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, {owner}, after {told}") from error


async def test_of_two_owners_who_leave_at_once_the_second_takes_the_image_along(
    pool: Pool,
) -> None:
    image = tagged(1, ("cat", 900_000))
    for owner in ("ann", "bob"):
        await accept(pool, image, owner)
    await store(pool, image)

    async with pool.transaction() as first:
        departed = await image_deletion.leave(first, image.image_id, "ann")
        second = asyncio.create_task(leave(pool, image.image_id, "bob"))
        await until_waiting(pool)
        assert not second.done()

    last = await second
    assert departed is not None
    assert last is not None
    assert (departed.remains, last.remains) == (True, False)
    assert await images.status(pool, image.image_id) is None
    assert await pool.fetchval("SELECT count(*) FROM tagged_images") == 0
    assert await statistics.tags(pool) == []


@pytest.mark.parametrize("comes_first", ["upload", "deletion"])
async def test_an_upload_beside_the_last_deletion_is_not_lost(pool: Pool, comes_first: str) -> None:
    image = tagged(1)
    await accept(pool, image, "ann")

    async with pool.transaction() as tx:
        if comes_first == "upload":
            await images.accept(tx, image_id=image.image_id, uri=image.uri, path="b", owner="bob")
            other: asyncio.Task[Any] = asyncio.create_task(leave(pool, image.image_id, "ann"))
        else:
            await image_deletion.leave(tx, image.image_id, "ann")
            other = asyncio.create_task(accept(pool, image, "bob"))
        await until_waiting(pool)
    await other

    assert await owners_of(pool, image.image_id) == ["bob"]
    for owner in (None, *OWNERS):
        await assert_all_readers_agree(pool, owner)


async def test_who_joins_while_an_image_is_tagged_is_counted_once(pool: Pool) -> None:
    image = tagged(1, ("cat", 900_000), ("dog", 10_000))
    await accept(pool, image, "ann")
    await store(pool, image)

    async with pool.transaction() as tx:
        await ordering.latest(tx, [image.image_id])  # the tagging role locks its images so
        joining = asyncio.create_task(accept(pool, image, "bob"))
        await until_waiting(pool)
        names = await labels.ensure(tx, ["dog"])
        await image_tags.replace(tx, [tagged(1, ("dog", 800_000))], names)
    await joining

    for owner in (None, *OWNERS):
        await assert_all_readers_agree(pool, owner)


async def test_sql_typed_while_somebody_joins_is_counted_once(pool: Pool) -> None:
    image = tagged(1, ("cat", 900_000))
    await accept(pool, image, "ann")
    await store(pool, image)

    async with pool.transaction() as tx:
        await tx.execute("UPDATE tagged_images SET exif_datetime = '2021-01-01', camera = 'Zorki'")
        joining = asyncio.create_task(accept(pool, image, "bob"))
        await until_waiting(pool)
    await joining

    assert await statistics.cameras(pool, 9, owner="bob") == {"Zorki": 1}
    async with pool.transaction() as tx:
        await following.follow_noted(tx)  # dates follow, as tags do
    assert await statistics.counts(pool, "day", owner="bob") == {"2021-01-01": 1}


async def test_an_owner_typed_while_a_new_image_is_tagged_is_counted_once(pool: Pool) -> None:
    image = tagged(1, ("cat", 900_000))
    await accept(pool, image, "ann")
    typed = "INSERT INTO image_owners SELECT image_id, 'bob', arrived_at, taken_at FROM images"

    async with pool.transaction() as tx:
        await image_tags.replace(tx, [image], await labels.ensure(tx, ["cat"]))
        joining = asyncio.create_task(pool.execute(typed))
        while not (joining.done() or await is_waiting(pool)):
            await asyncio.sleep(0.01)
    await joining

    for owner in (None, *OWNERS):
        await assert_all_readers_agree(pool, owner)


async def test_a_record_names_an_owner_only_for_a_new_image_or_the_owners_job(pool: Pool) -> None:
    bobs, job_id = tagged(1), uuid4()
    await accept(pool, bobs, "bob")
    await jobs.create(
        pool, job_id=job_id, root="p", directory="", options=DirectoryOptions(), owner="ann"
    )

    await store(pool, replace(tagged(2), owner="cy"))
    await store(pool, replace(bobs, owner="cy"))
    await store(pool, replace(bobs, owner="cy", job_id=job_id))
    forged = await owners_of(pool, bobs.image_id)
    await store(pool, replace(bobs, owner="ann", job_id=job_id))

    assert forged == ["bob"]
    assert await owners_of(pool, bobs.image_id) == ["ann", "bob"]
    assert await owners_of(pool, tagged(2).image_id) == ["cy"]


async def test_arrivals_without_an_owner_open_nothing_that_is_somebodys(pool: Pool) -> None:
    image = tagged(1, ("cat", 900_000))
    await accept(pool, image, "ann")

    await accept(pool, image, None)
    await store(pool, image)
    async with pool.transaction() as tx:
        await images.record_failures(
            tx, [FailedImage(image.image_id, image.uri, image.path, None, None, "gone", "")]
        )

    assert await images.visible_status(pool, image.image_id, "bob") is None
    assert await images.visible_status(pool, image.image_id, "ann") is not None


async def test_pairs_of_tags_and_similar_images_are_counted_among_what_is_seen(pool: Pool) -> None:
    for number, owner in enumerate(("ann", "bob", None)):
        image = tagged(number, ("cat", 900_000), ("dog", 90_000), content=b"same")
        await accept(pool, image, owner)
        await store(pool, image)

    for owner, expected in (("ann", 2), ("cy", 1), (None, 3)):
        [pair] = await statistics.pairs(pool, 9, owner=owner)
        groups = await duplicates.identical(pool, owner=owner, after=b"", limit=9)
        like = await duplicates.alike(pool, tagged(2).image_id, owner=owner, limit=9)
        assert pair.images == expected
        assert [len(group.image_ids) for group in groups] == ([expected] if expected > 1 else [])
        assert len(like.images) == expected - 1


async def test_a_page_of_a_few_images_among_many_is_read_by_an_index(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO images (image_id, uri, path, status, open_to_all, arrived_at)"
        " SELECT md5(n::text)::uuid, n::text, n::text, 'tagged', false, now() - n * interval '1 s'"
        " FROM generate_series(1, 20000) AS n"
    )
    await pool.execute(
        "INSERT INTO image_owners (image_id, owner, arrived_at, taken_at) SELECT image_id,"
        " CASE WHEN path::int % 5000 = 0 THEN 'ann' ELSE 'bob' END, arrived_at, taken_at"
        " FROM images"
    )
    await pool.execute("ANALYZE images, image_owners")

    read = {}
    for owner in ("ann", "bob", None):
        before = await rows_read(pool)
        found = await image_pages.page(pool, ImageFilter(owner=owner), Order.ARRIVAL, 4)
        assert len(found) == 4
        read[owner] = await rows_read(pool) - before

    assert max(read.values()) < 200, read


async def rows_read(pool: Pool) -> int:
    async with pool.connection() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        return int(
            await connection.fetchval(
                "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))"
                " FROM pg_stat_user_tables WHERE relname IN ('images', 'image_owners')"
            )
        )


async def until_waiting(pool: Pool) -> None:
    """Wait until somebody waits for a lock."""
    async with asyncio.timeout(60):
        while not await is_waiting(pool):
            await asyncio.sleep(0.01)


async def is_waiting(pool: Pool) -> bool:
    return bool(await pool.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))


async def test_ownership_stands_in_one_rule(pool: Pool) -> None:
    image = tagged(1)
    await accept(pool, image, "ann")

    assert await ownership.rights(pool, image.image_id, "ann") == ownership.Rights(
        may_see=True, is_owner=True
    )
    assert await ownership.rights(pool, image.image_id, "bob") == ownership.Rights(
        may_see=False, is_owner=False
    )
    assert await ownership.rights(pool, uuid4(), "ann") is None
