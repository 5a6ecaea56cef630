"""Statistics on a real database, compared with brute force."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from consumers.best_images import BestImages
from consumers.upkeep.repair import BestImagesRepair
from core.storage.archive import statistics
from core.storage.pool import Pool
from tests.integration.relevance.archive import (
    define_labels,
    image_id,
    random_scores,
    store,
    tagged,
    upkeep,
)

SEED = 20260501
_MANY_IMAGES = """
WITH image AS (
    INSERT INTO images (image_id, uri, path, status)
    SELECT gen_random_uuid(), 'file:' || n, n, 'tagged' FROM generate_series(1, $1::int4) AS n
    RETURNING image_id, path
)
INSERT INTO tagged_images (image_id, image_path, tags, sha256, width, height, model, preprocessing,
                           top_k, updated_at)
SELECT image_id, path, '[]', '', 1, 1, 'fake-1', 'exact-1', 4, '2026-05-01 11:00+00' FROM image
"""


async def fill(pool: Pool, count: int, *, first: int = 0) -> None:
    """Store images taken one per day, the first on 2020-01-01."""
    chance, best = random.Random(SEED + first), BestImages(is_softmax=True)
    batch = [
        tagged(
            number,
            random_scores(chance),
            datetime(2020, 1, 1) + timedelta(days=number),  # noqa: DTZ001 - as EXIF
        )
        for number in range(first, first + count)
    ]
    for start in range(0, count, 64):
        await store(pool, best, batch[start : start + 64])


async def assert_counts_are_right(pool: Pool) -> None:
    """Check that totals and unfolded changes add up to a full count."""
    counted = {
        row["name"]: (row["n"], row["s"])
        for row in await pool.fetch(
            "SELECT l.name, count(*) AS n, sum(score) AS s FROM image_tags t "
            "JOIN labels l ON l.id = t.label_id GROUP BY 1"
        )
    }
    days = await pool.fetch("SELECT day_of(taken_at) AS d FROM images WHERE status <> 'deleted'")
    statuses = await pool.fetch("SELECT status, count(*) FROM images GROUP BY 1")
    cameras = await pool.fetch(
        "SELECT camera, count(*) FROM tagged_images WHERE camera IS NOT NULL"
        " GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    async with pool.connection() as connection:
        by_camera = await statistics.cameras(connection, 100)
        tags = await statistics.tags(connection)
        by_day = await statistics.counts(connection, "day")
        by_status = await statistics.counts(connection, "status")
    assert {tag.tag: tag.images for tag in tags} == {name: n for name, (n, _) in counted.items()}
    for tag in tags:
        n, total = counted[tag.tag]
        assert tag.mean_confidence == pytest.approx(total / n / 1e6, abs=1e-6)
    assert sum(by_day.values()) == len(days)
    assert set(by_day) == {row["d"] for row in days}
    assert by_status == dict(map(tuple, statuses))
    assert list(by_camera.items()) == list(map(tuple, cameras))


async def test_counts_follow_every_change_folded_or_not(pool: Pool) -> None:
    await define_labels(pool)
    await fill(pool, 100)
    await assert_counts_are_right(pool)

    await fill(pool, 50)  # again
    await pool.execute("UPDATE images SET status = 'missing' WHERE image_id = $1", image_id(1))
    await pool.execute("DELETE FROM images WHERE image_id = $1", image_id(2))
    await pool.execute("UPDATE image_tags SET score = 5 WHERE image_id < 9")
    await pool.execute(
        "UPDATE tagged_images SET exif_datetime = '2001-02-03' WHERE image_id = $1", image_id(3)
    )
    await pool.execute("UPDATE tagged_images SET camera = 'Kodak' WHERE id % 5 = 0")
    await pool.execute("UPDATE tagged_images SET camera = NULL WHERE id % 7 = 0")
    await assert_counts_are_right(pool)

    repairer = BestImagesRepair(pool, is_softmax=True)
    while await upkeep(pool, repairer):
        pass
    await statistics.fold(pool)
    assert await pool.fetchval("SELECT count(*) FROM total_changes") == 0
    await assert_counts_are_right(pool)

    await pool.execute("TRUNCATE tagged_images CASCADE")
    await assert_counts_are_right(pool)


async def test_a_large_batch_changed_by_hand_is_counted_in_time(pool: Pool) -> None:
    many = 20_000
    async with pool.transaction() as tx:
        await tx.execute("SET LOCAL statement_timeout = '10s'")
        await tx.execute(_MANY_IMAGES, many)
        await tx.execute("UPDATE tagged_images SET width = 2")
        again = datetime(2026, 5, 1, 12, tzinfo=UTC)
        await tx.execute("UPDATE tagged_images SET updated_at = $1 WHERE id % 2 = 0", again)
        counted = await tx.fetch(
            "SELECT key, sum(images)::int8 FROM total_changes WHERE kind = 'hour' GROUP BY key"
        )

    assert sorted(map(tuple, counted)) == [("2026-05-01T11", many), ("2026-05-01T12", many // 2)]


async def test_of_many_cameras_the_commonest_are_given(pool: Pool) -> None:
    await define_labels(pool)
    await fill(pool, 9)  # three of four images have one: two are Leicas
    async with pool.connection() as connection:
        assert await statistics.cameras(connection, 1) == {"Leica M3": 5}


async def test_pairs_are_counted_among_the_newest_images(pool: Pool) -> None:
    await define_labels(pool)
    best = BestImages(is_softmax=True)
    first = {"label 1": 500_000, "label 2": 400_000}
    await store(pool, best, [tagged(n, first) for n in range(3)])
    await store(pool, best, [tagged(9, {"label 1": 1, "label 3": 1, "label 2": 1})])

    async with pool.connection() as connection:
        pairs = await statistics.pairs(connection, 10)
        with_three = await statistics.pairs(connection, 10, "label 3")

    assert [(pair.tags, pair.images) for pair in pairs] == [
        (("label 1", "label 2"), 4),
        (("label 1", "label 3"), 1),
        (("label 2", "label 3"), 1),
    ]
    assert len(with_three) == 2
