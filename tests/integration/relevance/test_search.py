"""Search and statistics on a real database, compared with brute force."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from consumers.best_images import BestImages
from consumers.upkeep.repair import BestImagesRepair
from core.relevance.ranking import best_n, recency
from core.storage.archive import following, ownership, statistics
from core.storage.best import noted
from core.storage.finding import search
from core.storage.finding.search import Match, Sought, Visible
from core.storage.pool import Pool
from ingress.reading.language import TextReader
from ingress.reading.search import ImageSearch, find
from tests.integration.relevance.archive import (
    LABELS,
    define_labels,
    image_id,
    random_scores,
    store,
    stored_images,
    tagged,
    upkeep,
)

SEED = 20260501
EVERYBODY = Visible()
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


async def walk(
    pool: Pool, reader: TextReader, wanted: ImageSearch, limit: int
) -> list[tuple[UUID, object]]:
    """Return all pages of a search."""
    found: list[tuple[UUID, object]] = []
    while True:
        page = await find(pool, reader, wanted, limit)
        found += [(image.image_id, score) for image, score in page.images]
        if page.next is None:
            return found
        wanted = ImageSearch(
            visible=wanted.visible,
            text=wanted.text,
            tag=wanted.tag,
            since=wanted.since,
            until=wanted.until,
            after=page.next,
        )


@pytest.fixture
def reader(pool: Pool) -> TextReader:
    return TextReader(pool, "")


@pytest.mark.parametrize("size", [1, 2, 4])
async def test_pages_of_matches_equal_the_ranking_by_brute_force(pool: Pool, size: int) -> None:
    ids = await define_labels(pool)
    await fill(pool, 200)
    images = await stored_images(pool)
    wanted = random.Random(SEED).sample(ids, size)

    found: list[Match] = []
    after = None
    while page := await search.matches(pool, Sought(tuple(wanted)), after, 7):
        found += page
        after = page[-1]

    expected = best_n(images, wanted, len(images))
    scored = [match for match in found if match.score > 0]
    assert [(m.score, m.ts, m.number) for m in scored] == [tuple(rank) for rank in expected]


async def test_a_cursor_stays_right_while_photos_arrive_and_go(
    pool: Pool, reader: TextReader
) -> None:
    await define_labels(pool)
    await fill(pool, 120)
    wanted = ImageSearch(EVERYBODY, text="label 0, label 1")
    before = [one for one, _ in await walk(pool, reader, wanted, 500)]

    first = await find(pool, reader, wanted, 20)
    await fill(pool, 60, first=200)
    await pool.execute("UPDATE images SET status = 'deleted' WHERE image_id = $1", before[30])
    rest = await walk(
        pool, reader, ImageSearch(EVERYBODY, text="label 0, label 1", after=first.next), 20
    )

    seen = [image.image_id for image, _ in first.images] + [one for one, _ in rest]
    assert len(seen) == len(set(seen))
    old = set(before)
    assert [one for one in seen if one in old] == [one for one in before if one != before[30]]


async def test_a_text_a_tag_and_dates_narrow_together(pool: Pool, reader: TextReader) -> None:
    ids = dict(zip(LABELS, await define_labels(pool), strict=True))
    await fill(pool, 150)
    since, until = datetime(2020, 2, 1, tzinfo=UTC), datetime(2020, 4, 1, tzinfo=UTC)

    found = await walk(
        pool, reader, ImageSearch(EVERYBODY, "label 2", "label 5", since=since, until=until), 10
    )

    first, last = recency(None, since, since), recency(None, until, until)
    images = [
        image
        for image in await stored_images(pool)
        if ids["label 5"] in dict(image.scores) and first <= image.ts < last
    ]
    expected = best_n(images, [ids["label 2"]], 500)
    assert [score for _, score in found] == [rank.score for rank in expected]
    assert 1 < len(found) < 60


async def test_dates_alone_give_the_last_taken_first(pool: Pool, reader: TextReader) -> None:
    await define_labels(pool)
    await fill(pool, 50)
    wanted = ImageSearch(
        EVERYBODY,
        since=datetime(2020, 1, 6, tzinfo=UTC),
        until=datetime(2020, 1, 26, tzinfo=UTC),
    )

    found = await walk(pool, reader, wanted, 6)

    assert [one for one, _ in found] == [image_id(number) for number in range(24, 4, -1)]


async def test_other_owners_images_are_passed_over_and_the_pages_go_on(
    pool: Pool, reader: TextReader
) -> None:
    await define_labels(pool)
    await fill(pool, 100)
    await pool.execute("UPDATE images SET open_to_all = false")
    mine = [image_id(3), image_id(70)]
    async with pool.transaction() as tx:
        for one in mine:
            await ownership.join(tx, one, "ann")

    found = await walk(
        pool, reader, ImageSearch(Visible(owner="ann"), since=datetime.min.replace(tzinfo=UTC)), 2
    )

    assert [one for one, _ in found] == mine[::-1]


async def test_a_text_that_names_nothing_and_an_unknown_tag_find_nothing(
    reader: TextReader, pool: Pool
) -> None:
    await define_labels(pool)
    await fill(pool, 5)

    assert (await find(pool, reader, ImageSearch(EVERYBODY, text="quantum soup"), 10)).images == ()
    assert (await find(pool, reader, ImageSearch(EVERYBODY, tag="soup"), 10)).images == ()
    assert (await find(pool, reader, ImageSearch(EVERYBODY, "label 1", "soup"), 10)).images == ()


async def test_a_new_label_is_understood_at_once(reader: TextReader, pool: Pool) -> None:
    await define_labels(pool)
    assert not (await reader.understand("lighthouses")).matched

    await pool.execute("INSERT INTO labels (id, name) VALUES (100, 'lighthouse')")

    (matched,) = (await reader.understand("lighthouses")).matched
    assert (matched.label.name, matched.words) == ("lighthouse", ("lighthouses",))


async def assert_counts_are_right(pool: Pool) -> None:
    """Check that totals and unfolded changes add up to a full count."""
    counted = {
        row["name"]: (row["n"], row["s"])
        for row in await pool.fetch(
            "SELECT l.name, count(*) AS n, sum(score) AS s FROM image_tags t "
            "JOIN labels l ON l.id = t.label_id GROUP BY 1"
        )
    }
    days = await pool.fetch("SELECT exif_datetime::date::text AS d FROM tagged_images ORDER BY 1")
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


async def test_no_search_reads_the_whole_archive(pool: Pool) -> None:
    """At 20,000 images the planner would already choose a full scan if it were cheaper."""
    await define_labels(pool)
    async with pool.transaction() as tx:
        await tx.execute(
            "INSERT INTO images (image_id, uri, path, status) SELECT md5(n::text)::uuid, "
            "'file:p/' || n, 'p/' || n, 'tagged' FROM generate_series(1, 20000) n"
        )
        await tx.execute(
            "INSERT INTO tagged_images (image_path, tags, exif_datetime, image_id, sha256, width, "
            "height, model, preprocessing, top_k) SELECT 'p/' || n, jsonb_build_array("
            "jsonb_build_object('tag', 'label ' || n % 8, 'score', 0.5), "
            "jsonb_build_object('tag', 'label ' || (n % 8 + 1) % 8, 'score', 0.25)), "
            "timestamp '2020-01-01' + n * interval '1 hour', md5(n::text)::uuid, '\\x00', 1, 1, "
            "'m', 'p', 4 FROM generate_series(1, 20000) n"
        )
    while await noted.exist(pool):
        async with pool.transaction() as tx:
            await following.follow_noted(tx)
    for table in ("images", "tagged_images", "image_tags", "totals"):
        await pool.execute(f"VACUUM ANALYZE {table}")

    async with pool.connection() as connection:
        plans = await search.plans(connection)

    scans = [(name, plan) for name, plan in plans if "Seq Scan" in plan]
    assert [name for name, _ in scans if "several" not in name] == []
    for name, plan in plans:
        if "several" not in name:
            assert "Rows Removed" not in plan, f"{name}:\n{plan}"
    assert len(plans) == 6
