"""The table of best images: its limit, its holes, its repair and its rebuild."""

import random
from itertools import combinations

from prometheus_client import CollectorRegistry

from consumers.best_images import BestImages
from consumers.upkeep.main import open_upkeep
from consumers.upkeep.repair import BestImagesRepair
from core.relevance.ranking import best, best_n
from core.storage import leases
from core.storage.best import combo_repair, ranking
from core.storage.pool import Pool
from core.telemetry.metrics import Metrics
from tests.integration.relevance.archive import (
    LABELS,
    define_labels,
    image_id,
    look_up,
    random_scores,
    store,
    stored_images,
    tagged,
    upkeep,
)

SEED = 20260501


async def settle(pool: Pool, *, is_softmax: bool = True) -> int:
    """Repair until there is nothing to do; return the number of steps."""
    repairer, steps = BestImagesRepair(pool, is_softmax=is_softmax), 0
    while await upkeep(pool, repairer):
        steps += 1
    return steps


async def assert_answers(pool: Pool, label_ids: list[int], sizes: tuple[int, ...]) -> None:
    """Check that the table answers every query of these sizes, correctly."""
    images = await stored_images(pool)
    for wanted in (list(some) for size in sizes for some in combinations(label_ids, size)):
        looked = await look_up(pool, wanted)
        assert looked.is_known
        assert looked.rank == best(images, wanted)


async def fill(pool: Pool, numbers: range, most: int = 4) -> None:
    chance = random.Random(SEED)
    await store(pool, BestImages(True), [tagged(n, random_scores(chance, most)) for n in numbers])


async def test_an_image_with_many_labels_lowers_the_limit_and_nothing_becomes_wrong(
    pool: Pool,
) -> None:
    ids = await define_labels(pool)
    await fill(pool, range(40))
    await assert_answers(pool, ids, (1, 2, 3, 4))

    await store(pool, BestImages(True), [tagged(99, dict.fromkeys(LABELS, 900_000))])

    assert await pool.fetchval("SELECT max_size FROM combo_state") == 3
    assert not (await look_up(pool, ids[:4])).is_known
    await assert_answers(pool, ids, (1, 2, 3))


async def test_scores_that_are_no_softmax_keep_pairs_only(pool: Pool) -> None:
    ids = await define_labels(pool)

    await store(pool, BestImages(False), [tagged(1, dict.fromkeys(LABELS[:6], 900_000))])

    assert await pool.fetchval("SELECT max_size FROM combo_state") == 2
    await assert_answers(pool, ids, (1, 2))


async def test_scores_that_flood_the_table_are_noticed(pool: Pool) -> None:
    await define_labels(pool)
    best_images = BestImages(True)
    best_images._seen, best_images._passed = 10_000, 2_100
    assert best_images.is_flooded

    await store(pool, best_images, [tagged(1, dict.fromkeys(LABELS[:6], 900_000))])

    assert await pool.fetchval("SELECT max_size FROM combo_state") == 2


async def test_tagging_again_with_the_same_result_makes_no_hole(pool: Pool) -> None:
    await define_labels(pool)
    await fill(pool, range(60))
    before = await pool.fetch("SELECT * FROM combo_best ORDER BY key")

    await fill(pool, range(60))

    assert await pool.fetch("SELECT * FROM combo_best ORDER BY key") == before
    assert await settle(pool) <= 1  # only the counts


async def test_holes_are_filled_and_the_table_answers_again(pool: Pool) -> None:
    ids = await define_labels(pool)
    await fill(pool, range(80))
    winners = await pool.fetch(
        "SELECT DISTINCT t.image_id FROM combo_best b JOIN tagged_images t ON t.id = b.image_id"
    )
    for row in winners[::2]:
        await pool.execute("UPDATE images SET status = 'deleted' WHERE image_id = $1", *row)
    chance = random.Random(SEED)
    numbers = [number for number in range(80) if (image_id(number),) in map(tuple, winners[1::2])]
    await store(pool, BestImages(True), [tagged(n, random_scores(chance)) for n in numbers])
    assert await pool.fetchval("SELECT count(*) FROM combo_best WHERE image_id IS NULL") > 0

    await settle(pool)

    assert await pool.fetchval("SELECT count(*) FROM combo_best WHERE image_id IS NULL") == 0
    assert await pool.fetchval("SELECT count(*) FROM combo_work") == 0
    await assert_answers(pool, ids, (1, 2, 3, 4))


async def test_an_archive_that_was_there_before_the_table_is_taken_in(pool: Pool) -> None:
    ids = await define_labels(pool)
    await fill(pool, range(90))
    await pool.execute("DELETE FROM combo_best")
    await pool.execute("UPDATE combo_state SET ready = false, rebuilt_to = 0")
    assert not (await look_up(pool, ids[:1])).is_known

    await settle(pool)

    await assert_answers(pool, ids, (1, 2, 3, 4))


async def test_emptying_the_tags_empties_the_answers(pool: Pool) -> None:
    ids = await define_labels(pool)
    await fill(pool, range(30))

    await pool.execute("TRUNCATE tagged_images CASCADE")

    assert not (await look_up(pool, ids[:1])).is_known
    await settle(pool)
    await assert_answers(pool, ids, (1, 2))
    assert await pool.fetchval("SELECT count(*) FROM combo_best") == 0


async def test_emptied_rows_are_written_anew_from_the_tags(pool: Pool) -> None:
    ids = await define_labels(pool)
    await fill(pool, range(30))
    before = await pool.fetch("SELECT * FROM image_tags ORDER BY image_id, label_id")

    await pool.execute("TRUNCATE image_tags")

    images = await stored_images(pool)
    found = await ranking.best(pool, ids[:2], ranking.Filters(top_n=5))
    assert [one.score for one in found] == [one.score for one in best_n(images, ids[:2], 5)]
    await settle(pool)
    assert await pool.fetch("SELECT * FROM image_tags ORDER BY image_id, label_id") == before
    await assert_answers(pool, ids, (1, 2))


async def test_too_much_work_becomes_a_rebuild(pool: Pool) -> None:
    ids = await define_labels(pool)
    await fill(pool, range(30))
    await pool.execute(
        "INSERT INTO combo_work (image_id, label_ids) "
        "SELECT 1, ARRAY[1]::int2[] FROM generate_series(1, 50001)"
    )

    steps = await settle(pool)

    assert steps < 20
    await assert_answers(pool, ids, (1, 2))


async def test_one_repairs_at_a_time(pool: Pool) -> None:
    await define_labels(pool)
    await fill(pool, range(10))
    await combo_repair.forget(pool)
    upkeep = open_upkeep(pool, Metrics(CollectorRegistry()))
    repair = next(chore for chore in upkeep.chores if chore.name == "best_images")
    assert await leases.take(pool, "best_images", "another", 60)

    assert not await upkeep.step(repair)

    await leases.release(pool, "best_images", "another")
    assert await upkeep.step(repair)
