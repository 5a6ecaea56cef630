"""Changes to all images that a filter finds: made, undone, and what is left of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from consumers.best_images import BestImages
from consumers.upkeep.changing import ImageChanging
from consumers.upkeep.repair import BestImagesRepair
from core.storage import labels, retention
from core.storage.archive import curation, image_deletion, image_tags, images, ownership, statistics
from core.storage.best import ranking
from core.storage.deciding import changing, image_changes
from core.storage.deciding.decisions import Decided
from core.storage.deciding.image_changes import ImageChange, NewChange
from core.storage.finding import image_pages
from core.storage.finding.filters import ImageFilter
from core.storage.pool import Pool
from core.storage.scoring import rescoring
from core.tags import TagScore
from tests.integration.finding import oracle
from tests.integration.relevance.archive import look_up, stored_images, upkeep

ALL = {
    "remove_tag": "dog",
    "add_tag": "dog",
    "excluded": True,
    "forget_hand_tags": True,
}
_STATE = """
SELECT i.image_id, i.hand_tags, i.rejected_tags, i.added_tags, i.excluded, i.decided_by,
       i.decided_at, t.id, t.tags, t.model_tags,
       ARRAY(SELECT (label_id, score, ts)::text FROM image_tags s
             WHERE s.image_id = t.id ORDER BY 1)
FROM images i LEFT JOIN tagged_images t USING (image_id) ORDER BY i.image_id
"""


async def state(pool: Pool) -> dict[UUID, tuple[Any, ...]]:
    """All that a change may touch, of each image."""
    return {row[0]: tuple(row)[1:] for row in await pool.fetch(_STATE)}


async def ask(
    pool: Pool,
    change: Mapping[str, Any],
    wanted: ImageFilter | None = None,
    *,
    owner: str = "ann",
    acts_on_all: bool = True,
) -> UUID:
    wanted = wanted or ImageFilter(owner=None if acts_on_all else owner)
    async with pool.transaction() as tx:
        if "add_tag" in change:
            await labels.ensure(tx, [change["add_tag"]])
        made = await image_changes.create(
            tx, NewChange(uuid4(), owner, acts_on_all, {}, wanted, change, 0, is_exact=True)
        )
    assert made is not None
    return made.change_id


async def work(pool: Pool, change_id: UUID) -> ImageChange:
    """Work off all changes; return one of them."""
    runner = ImageChanging(pool, BestImages(is_softmax=True))
    while await runner.step():
        pass
    found = await image_changes.get(pool, change_id)
    assert found is not None
    return found


async def undo(pool: Pool, change_id: UUID) -> ImageChange:
    async with pool.transaction() as tx:
        assert await image_changes.undo(tx, change_id)
    return await work(pool, change_id)


async def assert_followed(pool: Pool) -> None:
    """What queries read, and the counts, say what people see."""
    repairer = BestImagesRepair(pool, is_softmax=True)
    while await upkeep(pool, repairer):
        pass
    names = await oracle.label_names(pool)
    there = await stored_images(pool)
    for label_id in names:
        top = await ranking.best(pool, [label_id], ranking.Filters())
        looked = await look_up(pool, [label_id])
        carriers = [dict(image.scores).get(label_id, 0) for image in there]
        assert (top[0].score if top else 0) == max(carriers, default=0)
        assert looked.is_known
        assert (looked.rank.score if looked.rank else 0) == max(carriers, default=0)
    counted = {one.tag: one.images for one in await statistics.tags(pool)}
    expected: dict[str, int] = {}
    for image in there:
        for label_id, _ in image.scores:
            expected[names[label_id]] = expected.get(names[label_id], 0) + 1
    assert counted == expected


def outcome(row: Mapping[str, Any], change: Mapping[str, Any]) -> Decided:
    """What is decided about an image after a change, one image looked at."""
    was = Decided.of(row)
    kind, value = next(iter(change.items()))
    if kind == "excluded":
        return replace(was, excluded=value)
    if kind == "forget_hand_tags":
        return replace(was, tags=None, rejected=(), added=())
    if kind == "add_tag":
        if was.tags is None:
            return was if value in was.added else replace(was, added=(*was.added, value))
        has_it = value in {tag.tag for tag in was.tags}
        return was if has_it else replace(was, tags=(TagScore(value, 1_000_000), *was.tags))
    is_ours = was.tags is None and value not in was.added and value in row["tags"]
    return replace(was, rejected=(*was.rejected, value)) if is_ours else was


@pytest.mark.parametrize("kind", ALL)
async def test_a_change_does_to_each_image_what_it_says_and_its_undo_takes_all_back(
    pool: Pool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "IMAGES_PER_STEP", 7)
    await oracle.fill(pool, 40, seed=5)
    await work(pool, await ask(pool, {"add_tag": "party"}, ImageFilter(folder="photos/2020")))
    await work(pool, await ask(pool, {"remove_tag": "cat"}, ImageFilter(camera="Leica M3")))
    change = {kind: ALL[kind]}
    await assert_followed(pool)
    before, rows = await state(pool), await oracle.rows(pool)
    due = await image_pages.count(pool, ImageFilter(), also=changing.to_change(change, None))

    change_id = await ask(pool, change)
    done = await work(pool, change_id)

    after = {row["image_id"]: row for row in await oracle.rows(pool)}
    assert done.state == "done"
    expected = {row["image_id"]: outcome(row, change) for row in rows}
    assert {image_id: Decided.of(row) for image_id, row in after.items()} == expected
    assert done.changed == due.images
    assert done.changed == sum(expected[row["image_id"]] != Decided.of(row) for row in rows) > 3
    await assert_followed(pool)

    undone = await undo(pool, change_id)

    assert (undone.state, undone.restored, undone.left_alone) == ("undone", done.changed, 0)
    assert await state(pool) == before
    await assert_followed(pool)


async def test_a_tag_that_was_taken_away_stays_away_and_one_set_by_hand_stays(pool: Pool) -> None:
    await oracle.fill(pool, 0, seed=1)
    model = {"dog": 700_000, "cat": 200_000}
    mine = {name: image_id for name in ("plain", "hand", "added") for image_id in [uuid4()]}
    best = BestImages(is_softmax=True)

    async def tag(image_id: UUID) -> None:
        uri = f"https://x/{image_id}"
        tagged = oracle.tagged(image_id, uri, model, label_version=1)
        async with pool.transaction() as tx:
            label_ids = await labels.known(tx, model)
            await best.begin(tx)
            await best.offer(tx, await image_tags.replace(tx, [tagged], label_ids))

    for image_id in mine.values():
        await tag(image_id)
    async with pool.transaction() as tx:
        await curation.set_tags(tx, mine["hand"], [TagScore("dog", 900_000)], by="ann")
    await work(pool, await ask(pool, {"add_tag": "dog"}, ImageFilter(image_ids=(mine["added"],))))

    done = await work(pool, await ask(pool, {"remove_tag": "dog"}))

    async def shown() -> dict[str, dict[str, int]]:
        found = {row["image_id"]: row["tags"] for row in await oracle.rows(pool)}
        return {name: found[image_id] for name, image_id in mine.items()}

    by_hand = {"hand": {"dog": 900_000}, "added": {"dog": 1_000_000, "cat": 200_000}}
    assert done.changed == 1
    assert await shown() == {"plain": {"cat": 200_000}, **by_hand}

    for image_id in mine.values():  # tagged again
        await tag(image_id)
    assert await shown() == {"plain": {"cat": 200_000}, **by_hand}

    new = (TagScore("dog", 600_000), TagScore("cat", 300_000))
    async with pool.transaction() as tx:  # and scored again
        await labels.define(tx, await labels_of(pool))
        version = await labels.hold_version(tx)
        stale = await rescoring.stale(tx, "fake-1", version, 10)
        assert len(stale) == 3
        await image_tags.lock(tx, [one.image_id for one in stale])
        await rescoring.write(
            tx,
            [(one, new) for one in stale],
            model="fake-1",
            version=version,
            label_ids=await labels.known(tx, model),
        )
    by_hand["added"]["cat"] = 300_000
    assert await shown() == {"plain": {"cat": 300_000}, **by_hand}

    await undo(pool, done.change_id)
    assert await shown() == {"plain": {"dog": 600_000, "cat": 300_000}, **by_hand}


async def labels_of(pool: Pool) -> Any:
    return (await labels.current(pool)).labels


async def test_an_undo_leaves_what_was_changed_since_and_counts_it(pool: Pool) -> None:
    await oracle.fill(pool, 40, seed=2)
    change_id = await ask(pool, {"excluded": True}, ImageFilter(excluded=False))
    done = await work(pool, change_id)
    kept = [row["image_id"] for row in await pool.fetch("SELECT image_id FROM image_change_rows")]
    included, deleted, tagged = kept[:3]
    async with pool.transaction() as tx:
        await curation.exclude(tx, included, excluded=False, by="bob")
        await image_deletion.delete(tx, deleted, by="bob")
        await curation.set_tags(tx, tagged, [TagScore("snow", 1)], by="bob")
        await images.accept(tx, image_id=deleted, uri="https://x/back", path="back")

    undone = await undo(pool, change_id)

    assert (undone.restored, undone.left_alone) == (done.changed - 2, 2)
    rows = {row["image_id"]: row for row in await oracle.rows(pool)}
    assert not any(rows[image_id]["excluded"] for image_id in kept)
    assert rows[tagged]["tags"] == {"snow": 1}
    assert (rows[tagged]["decided_by"], rows[included]["decided_by"]) == ("bob", "bob")
    assert rows[kept[3]]["decided_by"] is None


async def test_what_somebody_set_by_hand_since_is_not_undone(pool: Pool) -> None:
    await oracle.fill(pool, 40, seed=2)
    removed = await work(pool, await ask(pool, {"remove_tag": "cat"}))
    forgot = await work(pool, await ask(pool, {"forget_hand_tags": True}))
    chosen = [
        row["image_id"]
        for row in await pool.fetch("SELECT DISTINCT image_id FROM image_change_rows")
    ]
    async with pool.transaction() as tx:
        for image_id in chosen:
            await curation.set_tags(tx, image_id, [TagScore("beach", 5)], by="bob")

    for change in (removed, forgot):
        undone = await undo(pool, change.change_id)
        assert (undone.restored, undone.left_alone) == (0, change.changed)
    for row in await oracle.rows(pool):
        assert row["image_id"] not in chosen or row["tags"] == {"beach": 5}


async def test_only_ones_own_images_are_changed_and_an_administrator_changes_all(
    pool: Pool,
) -> None:
    await oracle.fill(pool, 40, seed=3)
    rows = await oracle.rows(pool)
    mine = {row["image_id"] for row in rows if "ann" in row["owners"] and not row["excluded"]}
    everything = {row["image_id"] for row in rows if not row["excluded"]}
    was = {row["image_id"] for row in rows if row["excluded"]}

    first = await work(pool, await ask(pool, {"excluded": True}, acts_on_all=False))
    now = {row["image_id"] for row in await oracle.rows(pool) if row["excluded"]}
    assert now - was == mine
    assert first.changed == len(mine) > 5

    async with pool.transaction() as tx:  # who owns it no more changes it no more
        left = min(mine)
        await ownership.leave(tx, left, "ann")
    undone = await undo(pool, first.change_id)
    assert (undone.restored, undone.left_alone) == (len(mine) - 1, 1)

    second = await work(pool, await ask(pool, {"excluded": True}))
    assert second.changed == len(everything) - 1


async def test_photos_are_deleted_as_one_by_one_and_that_is_not_undone(pool: Pool) -> None:
    await oracle.fill(pool, 30, seed=4)
    rows = await oracle.rows(pool)
    mine = [row for row in rows if "ann" in row["owners"]]

    done = await work(pool, await ask(pool, {"delete": True}, acts_on_all=False))

    left = {row["image_id"] for row in await oracle.rows(pool)}
    gone = {row["image_id"] for row in mine if row["owners"] == ["ann"]}
    assert done.changed == len(mine) > 3
    assert left == {row["image_id"] for row in rows} - gone
    async with pool.transaction() as tx:
        assert not await image_changes.undo(tx, done.change_id)
    await assert_followed(pool)


async def test_what_arrives_afterwards_is_not_changed(pool: Pool) -> None:
    await oracle.fill(pool, 20, seed=6)
    change_id = await ask(pool, {"excluded": True})
    await oracle.fill(pool, 20, seed=7, first=100)
    before = await state(pool)

    await work(pool, change_id)

    after = await state(pool)
    old = {row["image_id"] for row in await pool.fetch("SELECT image_id FROM image_change_rows")}
    assert {one for one in after if after[one] != before[one]} == old
    assert len(old) < 21


async def test_an_undo_stops_a_change_that_is_under_way(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "IMAGES_PER_STEP", 5)
    await oracle.fill(pool, 30, seed=8)
    await assert_followed(pool)
    before = await state(pool)
    change_id = await ask(pool, {"add_tag": "snow"})
    runner = ImageChanging(pool, BestImages(is_softmax=True))
    assert await runner.step()
    assert await runner.step()

    undone = await undo(pool, change_id)

    assert (undone.changed, undone.restored) == (10, 10)
    assert await state(pool) == before


async def test_changes_take_turns_and_an_owner_has_few_open_ones(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "IMAGES_PER_STEP", 5)
    await oracle.fill(pool, 30, seed=8)
    first = [await ask(pool, {"excluded": True}) for _ in range(image_changes.MOST_OPEN)]
    with pytest.raises(AssertionError):
        await ask(pool, {"excluded": True})
    await ask(pool, {"excluded": False}, owner="bob")

    runner = ImageChanging(pool, BestImages(is_softmax=True))
    for _ in range(image_changes.MOST_OPEN + 1):
        await runner.step()

    states = [one.state for one in await image_changes.recent(pool, owner=None, limit=50)]
    assert "waiting" not in states
    assert len(first) == image_changes.MOST_OPEN


async def test_what_undoes_a_change_goes_with_a_moved_photo_and_is_kept_for_a_week(
    pool: Pool,
) -> None:
    await oracle.fill(pool, 30, seed=9)
    done = await work(pool, await ask(pool, {"add_tag": "snow"}))
    table = "image_change_rows"
    async with pool.transaction() as tx:
        await retention.prune(tx, table, image_changes.UNDONE_WITHIN)
    assert await pool.fetchval(f"SELECT count(*) FROM {table}") == done.changed

    await pool.execute(f"UPDATE {table} SET changed_at = now() - interval '8 days'")
    await pool.execute("UPDATE image_changes SET created_at = now() - interval '8 days'")
    async with pool.transaction() as tx:
        assert not await image_changes.undo(tx, done.change_id)
        await retention.prune(tx, table, image_changes.UNDONE_WITHIN)
        await retention.prune(tx, "image_changes", timedelta(days=1))
    assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 0
    assert await image_changes.get(pool, done.change_id) is None


RUN = """
import asyncio
from pydantic import SecretStr
from consumers.best_images import BestImages
from consumers.upkeep.changing import ImageChanging
from core.settings import DatabaseSettings
from core.storage.deciding import changing
from core.storage.pool import open_pool

changing.IMAGES_PER_STEP = 3

async def main():
    async with open_pool(DatabaseSettings()) as pool:
        runner = ImageChanging(pool, BestImages(is_softmax=True))
        print("ready", flush=True)
        while await runner.step():
            print("step", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("steps", [1, 2])
async def test_a_killed_process_leaves_nothing_half_done_and_the_next_goes_on(
    pool: Pool, database_url: str, steps: int
) -> None:
    await oracle.fill(pool, 30, seed=10)
    await assert_followed(pool)
    before = await state(pool)
    change_id = await ask(pool, {"remove_tag": "cat"})
    due = await image_pages.count(
        pool, ImageFilter(), also=changing.to_change({"remove_tag": "cat"}, None)
    )

    lives = 0
    for direction in ("done", "undone"):
        while (found := await image_changes.get(pool, change_id)) and found.state != direction:
            lives += 1
            run_and_kill(database_url, steps)
        assert found is not None
        if direction == "done":
            rows = await pool.fetch("SELECT image_id FROM image_change_rows")
            assert found.changed == len(rows) == due.images
            await assert_followed(pool)
            async with pool.transaction() as tx:
                assert await image_changes.undo(tx, change_id)
    assert lives > 2
    assert found is not None
    assert found.restored == due.images
    assert await state(pool) == before
    await assert_followed(pool)


def run_and_kill(database_url: str, steps: int) -> None:
    """Run a process that works changes off, and kill it some way behind a step."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN],
        env={**os.environ, "DATABASE_URL": database_url},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(steps + 1):
        if not process.stdout.readline():
            break
    time.sleep(0.003 * steps)  # somewhere in the next step
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    process.stdout.close()
