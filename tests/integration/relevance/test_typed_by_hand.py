"""SQL typed by hand: refused in the wrong shape, answered rightly at once, followed soon."""

from dataclasses import replace
from datetime import datetime
from itertools import combinations

import pytest

from consumers.best_images import BestImages
from consumers.query.answering import LabelQuery
from consumers.query.archive import StoredArchive
from consumers.upkeep.repair import BestImagesRepair
from core.errors import RecordRefused
from core.relevance.ranking import best, best_n
from core.storage import labels
from core.storage.archive import image_tags, keeping, statistics
from core.storage.best import noted, ranking
from core.storage.finding import image_pages
from core.storage.finding.filters import ImageFilter
from core.storage.finding.orders import Match, Order
from core.storage.pool import Pool
from schemas.query import QueryOptions
from tests.integration.relevance.archive import (
    LABELS,
    define_labels,
    image_id,
    look_up,
    store,
    stored_images,
    tagged,
    tags_text,
    upkeep,
)

_ITS_ROWS = "FROM tagged_images t WHERE image_tags.image_id = t.id AND t.image_id = $1"
CHANGES = {
    "better tags": "UPDATE tagged_images SET tags = $2::jsonb WHERE image_id = $1",
    "a newer time": "UPDATE tagged_images SET exif_datetime = '2024-01-01' WHERE image_id = $1",
    "gone from tagged_images": "DELETE FROM tagged_images WHERE image_id = $1",
    "gone from images": "DELETE FROM images WHERE image_id = $1",
    "missing": "UPDATE images SET status = 'missing' WHERE image_id = $1",
    "excluded": "UPDATE images SET excluded = true WHERE image_id = $1",
    "its rows deleted": f"DELETE FROM image_tags USING {_ITS_ROWS[5:]}",
    "its rows changed": f"UPDATE image_tags SET score = 999999 {_ITS_ROWS}",
}


async def fill(pool: Pool) -> list[int]:
    """Twelve images; number 3 is the best for `label 1` and `label 2`."""
    ids = await define_labels(pool)
    exif = datetime(2020, 1, 1)  # noqa: DTZ001 - as EXIF
    best_images = BestImages(is_softmax=True)
    for number in range(12):
        scores = {"label 1": 300_000 + number, "label 2": 200_000, f"label {number % 5}": 250_000}
        if number == 3:
            scores = {"label 1": 600_000, "label 2": 300_000}
        await store(pool, best_images, [tagged(number, scores, exif)])
    await settle(pool)
    return ids


async def settle(pool: Pool) -> None:
    repairer = BestImagesRepair(pool, is_softmax=True)
    while await upkeep(pool, repairer):
        pass


async def assert_right(pool: Pool, ids: list[int]) -> None:
    """Every way to ask gives what brute force over people's view of the archive gives."""
    images = await stored_images(pool)
    numbers = {
        row["id"]: row["image_id"] for row in await pool.fetch("SELECT * FROM tagged_images")
    }
    archive = StoredArchive(pool, timeout_s=30)
    for wanted in (list(some) for size in (1, 2, 3) for some in combinations(ids, size)):
        expected = best(images, wanted)
        looked = await look_up(pool, wanted)
        assert not looked.is_known or looked.rank == expected
        sought = LabelQuery(label_ids=tuple(wanted), options=QueryOptions(), min_score=1)
        [found] = await archive.best_all([sought])
        assert isinstance(found, list)
        assert [(one.image_id, one.score) for one in found] == (
            [] if expected is None else [(numbers[expected.image_id], expected.score)]
        )
        exact = await ranking.best(pool, wanted, ranking.Filters(top_n=4))
        top = best_n(images, wanted, 4)
        assert [one.score for one in exact] == [rank.score for rank in top]
        named = ImageFilter(named=tuple(wanted))
        page = await image_pages.page(pool, named, Order.SCORE, 4)
        assert [one.place for one in page] == [Match(*rank) for rank in top]


async def assert_counts_right(pool: Pool) -> None:
    counted = {one.tag: one.images for one in await statistics.tags(pool)}
    names = {one.id: one.name for one in (await labels.everything(pool)).labels}
    expected: dict[str, int] = {}
    for image in await stored_images(pool):
        for label_id, _ in image.scores:
            expected[names[label_id]] = expected.get(names[label_id], 0) + 1
    assert counted == expected


@pytest.mark.parametrize("change", CHANGES)
async def test_a_query_right_after_a_change_is_right_and_upkeep_follows(
    pool: Pool, change: str
) -> None:
    ids = await fill(pool)
    statement = CHANGES[change]
    tags = [tags_text({"label 4": 900_000, "label 1": 10_000})] if "$2" in statement else []

    await pool.execute(statement, image_id(3), *tags)

    await assert_right(pool, ids)
    await settle(pool)
    assert not await noted.exist(pool)
    await assert_right(pool, ids)
    await assert_counts_right(pool)
    assert (await look_up(pool, ids[:2])).is_known
    assert sorted(
        map(tuple, await pool.fetch("SELECT image_id, label_id, score, ts FROM image_tags"))
    ) == sorted(
        (image.image_id, label_id, score, image.ts)
        for image in await stored_images(pool)
        for label_id, score in image.scores
    )


async def test_queries_that_a_change_does_not_touch_are_answered_by_the_table(pool: Pool) -> None:
    ids = await fill(pool)

    await pool.execute(
        "UPDATE tagged_images SET tags = $2::jsonb WHERE image_id = $1",
        image_id(3),
        tags_text({"label 1": 1}),
    )

    by_name = await labels.known(pool, LABELS)
    assert (await look_up(pool, [by_name["label 4"]])).is_known
    assert not (await look_up(pool, [by_name["label 1"]])).is_known
    assert not (await look_up(pool, [by_name["label 2"], by_name["label 4"]])).is_known
    await assert_right(pool, ids)


async def test_a_query_right_after_a_commit_finds_a_tag_that_nobody_knew(pool: Pool) -> None:
    ids = await fill(pool)
    before = await labels.state(pool)
    for number in (5, 6):
        await pool.execute(
            "UPDATE tagged_images SET tags = $2::jsonb WHERE image_id = $1",
            image_id(number),
            tags_text({"grandma": 700_000 + number, "label 1": 100_000}),
        )

    [grandma] = (await labels.known(pool, ["grandma"])).values()
    assert await labels.state(pool) == (before[0], grandma), "whoever knows the labels looks again"
    await assert_right(pool, [*ids[:3], grandma])
    await settle(pool)
    await assert_right(pool, [*ids[:3], grandma])
    assert (await look_up(pool, [grandma])).rank is not None


@pytest.mark.parametrize(
    "tags",
    [
        "{}",
        '[{"tag": "cat"}]',
        '[{"tag": 1, "score": 0.5}]',
        '[{"tag": "cat", "score": 2}]',
        '[{"tag": "cat", "score": 0.5}, {"tag": "cat", "score": 0.1}]',
        '["cat"]',
        '[{"tag": " ", "score": 0.5}]',
        f'[{{"tag": "{"x" * 201}", "score": 0.5}}]',
    ],
)
async def test_tags_of_the_wrong_shape_are_refused(pool: Pool, tags: str) -> None:
    ids = await fill(pool)

    with pytest.raises(RecordRefused, match=r"tagged_images\.tags of image"):
        await pool.execute("UPDATE tagged_images SET tags = $1::jsonb", tags)

    assert not await noted.exist(pool)
    await assert_right(pool, ids)


async def test_a_row_that_is_typed_in_is_an_answer(pool: Pool) -> None:
    ids = await fill(pool)

    async with pool.transaction() as tx:
        await tx.execute(
            "INSERT INTO images (image_id, uri, path, status) VALUES ($1, 'file:x', 'x', 'tagged')",
            image_id(99),
        )
        await tx.execute(
            "INSERT INTO tagged_images (image_id, image_path, tags, sha256, width, height, model, "
            "preprocessing, top_k) VALUES ($1, 'x', $2::jsonb, '', 1, 1, 'm', 'p', 4)",
            image_id(99),
            tags_text({"label 1": 999_999}),
        )

    await assert_right(pool, ids)
    assert (await ranking.best(pool, ids[1:2], ranking.Filters()))[0].image_id == image_id(99)
    await settle(pool)
    await assert_right(pool, ids)


async def test_upkeep_rounds_a_score_as_the_query_before_it_did(pool: Pool) -> None:
    ids = await fill(pool)
    tags = '[{"tag": "label 1", "score": 0.9234565}, {"tag": "label 2", "score": 0.0000005}]'
    await pool.execute(
        "UPDATE tagged_images SET tags = $2::jsonb WHERE image_id = $1", image_id(3), tags
    )
    before = await ranking.best(pool, ids[1:3], ranking.Filters())

    await settle(pool)

    assert await ranking.best(pool, ids[1:3], ranking.Filters()) == before
    assert before[0].score == 923_458


async def test_a_name_as_long_as_they_come_is_followed(pool: Pool) -> None:
    await fill(pool)
    name = "".join(chr(0x4E00 + 97 * number) for number in range(200))
    await pool.execute(
        "UPDATE tagged_images SET tags = $2::jsonb WHERE image_id = $1",
        image_id(3),
        tags_text({name: 500_000}),
    )

    await settle(pool)

    [label_id] = (await labels.known(pool, [name])).values()
    assert (await ranking.best(pool, [label_id], ranking.Filters()))[0].image_id == image_id(3)


async def test_our_own_writing_leaves_no_note(pool: Pool) -> None:
    await fill(pool)

    await store(pool, BestImages(is_softmax=True), [tagged(3, {"label 1": 1})])

    assert not await noted.exist(pool)
    assert await pool.fetchval("SELECT count(*) FROM combo_work WHERE image_id IS NOT NULL") == 0


@pytest.mark.parametrize(
    "exif", [None, datetime(2020, 1, 1, 12, 30, 59, 999_999), datetime(1920, 1, 1),  # noqa: DTZ001
             datetime(1999, 12, 31, 23, 59, 59, 1), datetime(2999, 1, 1)],  # noqa: DTZ001
)  # fmt: skip
async def test_newest_is_the_same_in_sql_and_in_python(pool: Pool, exif: datetime | None) -> None:
    await define_labels(pool)
    await store(pool, BestImages(is_softmax=True), [tagged(1, {"label 1": 1}, exif)])

    [written] = await pool.fetch("SELECT image_id, ts FROM image_tags")

    [image] = await stored_images(pool)
    assert (written["image_id"], written["ts"]) == (image.image_id, image.ts)


async def test_a_refused_transaction_of_ours_leaves_the_triggers_on_for_the_next_one(
    pool: Pool,
) -> None:
    await fill(pool)
    change = "UPDATE tagged_images SET exif_datetime = now() WHERE image_id = $1"
    pids, nul = [], replace(tagged(3, {"label 1": 1}), path="\0")

    async def tag() -> None:
        async with pool.transaction() as tx:
            pids.append(await tx.fetchval("SELECT pg_backend_pid()"))
            await image_tags.replace(tx, [nul], await labels.known(tx, LABELS))

    with pytest.raises(RecordRefused):
        await tag()
    async with pool.transaction() as tx:
        pids.append(await tx.fetchval("SELECT pg_backend_pid()"))
        await tx.execute(change, image_id(3))
        await tx.execute("SAVEPOINT half")
        await keeping.keep(tx)
        await tx.execute("ROLLBACK TO half")
        await tx.execute(change, image_id(4))

    assert pids[0] == pids[1], "the pool has one connection in use, and gives it again"
    noted_ones = await pool.fetch(
        "SELECT t.image_id FROM noted_images n JOIN tagged_images t ON t.id = n.image_id"
    )
    assert {row["image_id"] for row in noted_ones} == {image_id(3), image_id(4)}
