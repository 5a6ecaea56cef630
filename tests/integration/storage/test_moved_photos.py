"""A photo that moves keeps what people decided about it: tags by hand, exclusion, owners."""

import asyncio
import json
from dataclasses import replace
from uuid import UUID

import pytest

from core.storage import labels
from core.storage.archive import curation, image_deletion, image_tags, images
from core.storage.archive.image_tags import TaggedImage
from core.storage.folders import watched_files
from core.storage.folders.watched_files import FileState, WatchedFile
from core.storage.pool import Pool
from core.tags import TagScore
from schemas.image import image_id_of
from tests.integration.storage.test_image_tags import store, tagged
from tests.integration.storage.test_owners import (
    OWNERS,
    accept,
    assert_all_readers_agree,
    is_waiting,
    owners_of,
)

BYTES = b"the photo".ljust(32)


def photo(path: str, score: int = 900_000) -> TaggedImage:
    uri = f"file:p/{path}"
    made = tagged(1, ("cat", score), content=BYTES)
    return replace(made, image_id=image_id_of(uri), uri=uri, path=f"p/{path}")


async def watched(pool: Pool, one: TaggedImage) -> None:
    file = WatchedFile(
        "p", one.path.removeprefix("p/").encode(), 1, 1, 1, 1, one.image_id, FileState.ANNOUNCED
    )
    await watched_files.record(pool, [file])


async def gone(pool: Pool, *ones: TaggedImage) -> None:
    paths = [one.path.removeprefix("p/").encode() for one in ones]
    async with pool.transaction() as tx:
        assert await watched_files.mark_missing(tx, "p", paths) == len(ones)


async def set_tags(pool: Pool, one: TaggedImage, *names: str) -> None:
    async with pool.transaction() as tx:
        await curation.set_tags(
            tx, one.image_id, [TagScore(name, 10**6) for name in names], by="ann"
        )


async def exclude(pool: Pool, one: TaggedImage) -> None:
    async with pool.transaction() as tx:
        await curation.exclude(tx, one.image_id, excluded=True, by="ann")


async def shown(pool: Pool, image_id: UUID) -> tuple[list[str], list[str], bool]:
    """The tags that people see, those that answers come from, and whether it is excluded."""
    row = await pool.fetchrow(
        "SELECT t.tags, i.excluded, (SELECT coalesce(array_agg(l.name ORDER BY l.name), '{}')"
        " FROM current_tags s JOIN labels l ON l.id = s.label_id WHERE s.image_id = t.id) AS listed"
        " FROM tagged_images t JOIN images i USING (image_id) WHERE image_id = $1",
        image_id,
    )
    assert row is not None
    return [tag["tag"] for tag in json.loads(row["tags"])], row["listed"], row["excluded"]


async def moved(pool: Pool, old: TaggedImage, new: TaggedImage, first: str) -> None:
    if first == "old is gone":
        await gone(pool, old)
    await store(pool, new)
    await watched(pool, new)
    if first == "new is found":
        await gone(pool, old)
    for owner in (None, *OWNERS):
        await assert_all_readers_agree(pool, owner)


@pytest.mark.parametrize("first", ["old is gone", "new is found"])
async def test_tags_set_by_hand_go_where_the_photo_goes_and_back(pool: Pool, first: str) -> None:
    old, new = photo("2019/a.jpg"), photo("summer/a.jpg")
    await store(pool, old)
    await watched(pool, old)
    await set_tags(pool, old, "grandma")

    await moved(pool, old, new, first)
    there = await shown(pool, new.image_id)
    decided = await pool.fetchrow("SELECT * FROM images WHERE image_id = $1", new.image_id)
    await set_tags(pool, new, "aunt")
    await moved(pool, new, old, "old is gone")

    assert there == (["grandma"], ["grandma"], False)
    assert decided is not None
    assert (decided["decided_by"], decided["moved_to"]) == ("ann", None)
    assert await shown(pool, old.image_id) == (["aunt"], ["aunt"], False)


@pytest.mark.parametrize("first", ["old is gone", "new is found"])
async def test_an_excluded_photo_stays_excluded_where_it_goes(pool: Pool, first: str) -> None:
    old, new = photo("2019/a.jpg"), photo("summer/b.jpg")
    await store(pool, old)
    await watched(pool, old)
    await exclude(pool, old)

    await moved(pool, old, new, first)

    assert await shown(pool, new.image_id) == (["cat"], [], True)


@pytest.mark.parametrize("first", ["old is gone", "new is found"])
async def test_of_two_copies_the_excluded_one_is_excluded_in_their_new_folder(
    pool: Pool, first: str
) -> None:
    copies = [photo("old/copies/a.jpg"), photo("old/a.jpg")]
    for one in copies:
        await store(pool, one)
        await watched(pool, one)
    await exclude(pool, copies[0])
    new = [photo("new/copies/a.jpg"), photo("new/a.jpg")]

    if first == "old is gone":
        await gone(pool, *copies)
    await store(pool, new[1])
    await store(pool, new[0])
    if first == "new is found":
        await gone(pool, *copies)

    assert [(await shown(pool, one.image_id))[2] for one in new] == [True, False]


@pytest.mark.parametrize("first", ["old is gone", "new is found"])
async def test_a_moved_photo_keeps_its_owners_and_is_shown_to_nobody_else(
    pool: Pool, first: str
) -> None:
    old, new = photo("2019/a.jpg"), photo("summer/a.jpg")
    for owner in ("ann", "bob"):
        await accept(pool, old, owner)
    await store(pool, old)
    await watched(pool, old)

    await moved(pool, old, new, first)

    assert await owners_of(pool, new.image_id) == ["ann", "bob"]
    assert await images.visible_status(pool, new.image_id, "cy") is None


async def test_of_two_copies_that_arrive_at_once_one_gets_what_was_decided(pool: Pool) -> None:
    old, *new = photo("2019/a.jpg"), photo("summer/a.jpg"), photo("winter/a.jpg")
    await store(pool, old)
    await watched(pool, old)
    await exclude(pool, old)
    await gone(pool, old)

    async with pool.transaction() as tx:
        await image_tags.replace(tx, [new[0]], await labels.ensure(tx, ["cat"]))
        other = asyncio.create_task(store(pool, new[1]))
        while not (other.done() or await is_waiting(pool)):
            await asyncio.sleep(0.01)
    await other

    assert [(await shown(pool, one.image_id))[2] for one in new] == [True, False]


@pytest.mark.parametrize("first", ["old is gone", "new is found"])
async def test_a_move_opens_nothing_that_is_somebodys(pool: Pool, first: str) -> None:
    old, new = photo("2019/a.jpg"), photo("summer/a.jpg")
    await store(pool, old)
    await watched(pool, old)
    await exclude(pool, old)
    await accept(pool, new, "ann")

    await moved(pool, old, new, first)

    assert (await shown(pool, new.image_id))[2], "it is excluded there too"
    assert await images.visible_status(pool, new.image_id, "ann") is not None
    assert await images.visible_status(pool, new.image_id, "bob") is None


async def test_who_deleted_an_image_decided_nothing_about_the_one_that_comes_after(
    pool: Pool,
) -> None:
    old, new = photo("2019/a.jpg"), photo("summer/a.jpg")
    for one in (old, new):
        await store(pool, one)
        await watched(pool, one)
    await set_tags(pool, old, "grandma")
    async with pool.transaction() as tx:
        await image_deletion.delete(tx, new.image_id, by="root")

    await accept(pool, new, None)
    await store(pool, new)
    by = "SELECT decided_by FROM images WHERE image_id = $1"
    decided_by = await pool.fetchval(by, new.image_id)
    await gone(pool, old)

    assert decided_by is None
    assert (await shown(pool, new.image_id))[0] == ["grandma"]


async def test_a_copy_that_was_there_gets_nothing_when_the_other_one_goes(pool: Pool) -> None:
    kept, deleted = photo("a.jpg"), photo("copy of a.jpg")
    for one in (kept, deleted):
        await store(pool, one)
        await watched(pool, one)
    await exclude(pool, deleted)

    await gone(pool, deleted)

    assert await shown(pool, kept.image_id) == (["cat"], ["cat"], False)
    await store(pool, kept)  # announced again
    assert await shown(pool, kept.image_id) == (["cat"], ["cat"], False)
