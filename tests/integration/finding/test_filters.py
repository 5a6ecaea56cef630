"""Every filter in every order, compared with a look at each image."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from typing import Any
from uuid import UUID

import pytest

from core.storage.finding import filters, image_pages
from core.storage.finding.filters import ImageFilter
from core.storage.finding.image_pages import Count, PagedImage
from core.storage.finding.orders import Order, PagePlace
from core.storage.pool import Pool
from tests.integration.finding import oracle
from tests.integration.finding.oracle import START

SEED = 20261130


async def values(pool: Pool) -> dict[str, list[Any]]:
    """What each field of a filter is tried with."""
    ids = sorted(await oracle.label_names(pool))
    some_ids = [row["image_id"] for row in await pool.fetch("SELECT image_id FROM images LIMIT 30")]
    return {
        "image_ids": [tuple(some_ids), ()],
        "status": list(filters.STATUSES),
        "reason": ["truncated"],
        "since": [START + timedelta(days=4)],
        "until": [START + timedelta(days=6)],
        "folder": ["photos", "photos/2020", "photos/2020/may", "nowhere"],
        "camera": ["Leica M3", "Box"],
        "excluded": [True, False],
        "hand_tagged": [True, False],
        "has_tags": [True, False],
        "has_date": [True, False],
        "every": [await oracle.asked(pool, *some) for some in (["cat"], ["cat", "dog"], ["cow"])],
        "some": [await oracle.asked(pool, *some) for some in (["dog", "snow"], ["cow"])],
        "without": [("beach",), ("cat", "cow")],
        "named": [(ids[0],), (ids[1], ids[2], ids[3]), ()],
        "min_score": [250_000, 400_000],
    }


async def walk(
    pool: Pool, wanted: ImageFilter, order: Order, limit: int
) -> tuple[list[UUID], list[int | None]]:
    found: list[PagedImage] = []
    after: PagePlace | None = None
    while page := await image_pages.page(pool, wanted, order, limit, after):
        found += page
        after = page[-1].place
    return [one.image.image_id for one in found], [one.score for one in found]


async def assert_right(
    pool: Pool, there: Sequence[Any], wanted: ImageFilter, limit: int, kinds: Sequence[Order]
) -> None:
    names = await oracle.label_names(pool)
    expected = oracle.expected(there, wanted, names)
    for order in kinds:
        if order is Order.SCORE and wanted.ranked is None:
            continue
        is_ascending = order is Order.TAKEN_ASC
        sorted_ = sorted(expected, key=lambda one: one.keys[order], reverse=not is_ascending)
        ids, scores = await walk(pool, wanted, order, limit)
        assert ids == [one.image_id for one in sorted_], (order, wanted)
        assert scores == [one.score for one in sorted_], (order, wanted)
    assert await image_pages.count(pool, wanted) == Count(len(expected), is_exact=True), wanted
    by_id = await image_pages.ids(pool, wanted, 1000)
    assert by_id == sorted(one.image_id for one in expected), wanted


@pytest.fixture(params=[0, image_pages.FEW_IMAGES])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums are made of the images, or looked through."""
    monkeypatch.setattr(image_pages, "FEW_IMAGES", request.param)


async def test_every_filter_finds_what_a_look_at_each_image_finds(pool: Pool, few: None) -> None:
    await oracle.fill(pool, 90, seed=SEED)
    there, chance = await oracle.rows(pool), random.Random(SEED)
    tried = await values(pool)
    plain = [ImageFilter(owner=owner) for owner in (None, "ann", "bob", "eve")]
    single = [
        replace(one, **{name: value})
        for one in plain
        for name, choices in tried.items()
        for value in choices
    ]
    paired = [
        replace(
            chance.choice(plain),
            **{one: chance.choice(tried[one]), other: chance.choice(tried[other])},
        )
        for one, other in combinations(tried, 2)
    ]
    many = [
        replace(
            chance.choice(plain),
            **{name: chance.choice(tried[name]) for name in chance.sample(sorted(tried), 4)},
        )
        for _ in range(60)
    ]
    for wanted in (*plain, *single, *paired, *many):
        await assert_right(pool, there, wanted, chance.choice((3, 100)), tuple(Order))


async def test_images_of_a_tag_are_reached_without_the_wide_rows_between(pool: Pool) -> None:
    """At two million a timeline of a tag would read a gigabyte of `tagged_images` for their ids."""
    async with pool.transaction() as tx:
        for scan in ("seqscan", "bitmapscan", "sort"):
            await tx.execute(f"SET LOCAL enable_{scan} = off")
        rows = await tx.fetch("EXPLAIN SELECT id, image_id FROM tagged_images ORDER BY id")

    assert "Index Only Scan using tagged_images_pkey" in rows[0][0]
