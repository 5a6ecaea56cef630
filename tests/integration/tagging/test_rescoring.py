"""The archive follows its labels, while photos go on arriving."""

import asyncio
import random
from collections import Counter

import pytest

from consumers.tagging import rescoring as steps_of_rescoring
from core.storage import labels
from core.storage.archive import curation
from core.storage.scoring import rescoring
from core.tags import Label, TagScore
from schemas.image import image_id_of
from tests.fakes.vision import HashModel
from tests.integration.relevance.archive import look_up
from tests.integration.tagging.archive import OPTIONS, Archive, arrival

OLD = ("cat", "dog", "car", "beach", "city", "food", "party", "sport")
NEW = ("cat", "lynx", "beach", "harbour", "sport", "train", "food")
SEED = 20260501


async def tag_many(archive: Archive, numbers: range) -> None:
    for start in range(numbers.start, numbers.stop, 50):
        chunk = range(start, min(start + 50, numbers.stop))
        await archive.tag(*(arrival(number) for number in chunk))


async def test_every_image_gets_the_tags_of_the_new_labels_and_no_image_is_read(
    archive: Archive,
) -> None:
    await tag_many(archive, range(120))
    encoded = sum(archive.model.batches)
    version = await archive.define(*NEW)

    await archive.rescore()

    rows = await archive.rows()
    oracle = await archive.oracle(NEW, *range(120))
    assert {path: row["tags"] for path, row in rows.items()} == oracle
    assert {path: row["listed"] for path, row in rows.items()} == oracle
    assert {row["label_version"] for row in rows.values()} == {version}
    assert sum(archive.model.batches) == encoded
    [progress] = await rescoring.progress(archive.pool)
    assert (progress.version, progress.total, progress.rescored) == (version, 120, 120)
    assert progress.finished_at is not None
    assert await rescoring.count_older(archive.pool, version) == 0


async def test_an_archive_that_nobody_has_analyzed_yet_is_analyzed_first(archive: Archive) -> None:
    await tag_many(archive, range(5))
    known = "SELECT count(DISTINCT tablename) FROM pg_stats WHERE tablename = ANY($1)"
    tables = ["images", "tagged_images", "image_tags", "embeddings"]
    assert await archive.pool.fetchval(known, tables) == 0
    await archive.define(*NEW)

    await archive.rescore()

    assert await archive.pool.fetchval(known, tables) == len(tables)


async def test_more_images_than_a_step_takes_are_all_rescored_in_several(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_of_rescoring, "IMAGES_PER_TRANSACTION", 4)
    monkeypatch.setattr(steps_of_rescoring, "TRANSACTIONS_PER_STEP", 5)
    await tag_many(archive, range(50))
    version = await archive.define(*NEW)

    steps = await archive.rescore()

    assert steps == 3
    assert {row["label_version"] for row in (await archive.rows()).values()} == {version}


async def test_an_image_whose_tags_were_few_labels_gets_more_when_there_are_more(
    archive: Archive,
) -> None:
    await archive.define("cat", "dog")
    await archive.tag(arrival(1))
    await archive.define(*OLD)

    await archive.rescore()

    assert len((await archive.rows())["p/1.jpg"]["tags"]) == OPTIONS.top_k


async def test_images_with_labels_of_their_own_and_of_another_model_are_left_alone(
    archive: Archive,
) -> None:
    await archive.tag(arrival(1), arrival(2, labels=("cat", "lake")))
    other = Archive(archive.pool, HashModel(dim=8))
    other.model.identity = "other@1"
    await other.tag(arrival(3))
    before = await archive.rows()
    version = await archive.define(*NEW)

    await archive.rescore()

    after = await archive.rows()
    assert after["p/1.jpg"]["tags"] != before["p/1.jpg"]["tags"]
    for path in ("p/2.jpg", "p/3.jpg"):
        assert after[path] == before[path]
    assert await rescoring.count_older(archive.pool, version) == 1


async def test_what_people_decided_outlives_rescoring_and_tagging_again(archive: Archive) -> None:
    await tag_many(archive, range(5))
    by_hand, hidden = image_id_of("file:p/1.jpg"), image_id_of("file:p/2.jpg")
    async with archive.pool.transaction() as tx:
        await curation.set_tags(tx, by_hand, [TagScore("grandma", 1_000_000)])
        await curation.exclude(tx, hidden, excluded=True)

    async def check(names: tuple[str, ...]) -> None:
        rows = await archive.rows()
        oracle = await archive.oracle(names, *range(5))
        assert rows["p/1.jpg"]["tags"] == rows["p/1.jpg"]["listed"] == {"grandma": 1.0}
        assert rows["p/2.jpg"]["tags"] == oracle["p/2.jpg"]
        assert rows["p/2.jpg"]["listed"] == {}
        assert rows["p/3.jpg"]["listed"] == oracle["p/3.jpg"]

    await check(OLD)
    await tag_many(archive, range(5))
    await check(OLD)
    await archive.define(*NEW)
    await archive.rescore()
    await check(NEW)
    await tag_many(archive, range(5))
    await check(NEW)

    async with archive.pool.transaction() as tx:
        await curation.clear_tags(tx, by_hand)
        await curation.exclude(tx, hidden, excluded=False)
    rows = await archive.rows()
    oracle = await archive.oracle(NEW, *range(5))
    assert {path: row["listed"] for path, row in rows.items()} == oracle


async def test_what_is_decided_before_the_first_tagging_holds_from_then_on(
    archive: Archive,
) -> None:
    image_id = image_id_of("file:p/1.jpg")
    await archive.pool.execute(
        "INSERT INTO images (image_id, uri, path, status) "
        "VALUES ($1, 'file:p/1.jpg', 'p/1.jpg', 'accepted')",
        image_id,
    )
    async with archive.pool.transaction() as tx:
        await curation.set_tags(tx, image_id, [TagScore("grandma", 700_000)])

    await archive.tag(arrival(1))

    assert (await archive.rows())["p/1.jpg"]["listed"] == {"grandma": 0.7}


async def test_a_missing_file_stays_out_of_the_answers_when_its_labels_change(
    archive: Archive,
) -> None:
    await tag_many(archive, range(3))
    await archive.pool.execute("UPDATE images SET status = 'missing' WHERE path = 'p/1.jpg'")
    await archive.define(*NEW)

    await archive.rescore()

    rows = await archive.rows()
    assert rows["p/1.jpg"]["listed"] == {}
    assert rows["p/1.jpg"]["tags"] == (await archive.oracle(NEW, 1))["p/1.jpg"]


async def test_of_two_processes_one_rescores(archive: Archive) -> None:
    await tag_many(archive, range(3))
    version = await archive.define(*NEW)
    identity = archive.clip.identity
    assert await rescoring.lease(archive.pool, identity, version, "the other one", 60)

    assert await archive.rescoring.step() is False

    await rescoring.release(archive.pool, "the other one")
    assert await archive.rescoring.step() is True


async def test_labels_that_change_during_a_batch_are_scored_again(archive: Archive) -> None:
    await tag_many(archive, range(10))
    await archive.define("cat", "dog")
    batch = await rescoring.stale(archive.pool, archive.clip.identity, 99, 10)
    await archive.tagger.refresh()
    newest = await archive.define(*NEW)

    await archive.rescoring._rescore(batch, archive.clip.identity)
    assert {row["label_version"] for row in (await archive.rows()).values()} == {1}
    await archive.rescore()

    rows = await archive.rows()
    assert {row["label_version"] for row in rows.values()} == {newest}
    assert {path: row["tags"] for path, row in rows.items()} == await archive.oracle(
        NEW, *range(10)
    )


async def test_defining_the_same_labels_again_changes_nothing(archive: Archive) -> None:
    same = [Label("cat", ("кошка",), ("a {}",), 0.28), Label("dog")]
    async with archive.pool.transaction() as tx:
        first = await labels.redefine(tx, same, expected=None)
        again = await labels.redefine(tx, same, expected=first)
        late = await labels.redefine(tx, [Label("x")], expected=1)
        other = await labels.redefine(tx, same[::-1], expected=first)

    assert (first, again, late, other) == (2, 2, None, 3)


@pytest.mark.timeout(300)
async def test_2000_images_change_labels_while_photos_arrive_and_queries_see_old_or_new(
    archive: Archive,
) -> None:
    total, arriving = 2_000, 300
    chance = random.Random(SEED)
    await tag_many(archive, range(total))
    old, new = [await archive.oracle(names, *range(total + arriving)) for names in (OLD, NEW)]
    done = asyncio.Event()
    version = await archive.define(*NEW)

    async def arrive() -> None:
        for start in range(total, total + arriving, 10):
            again = chance.sample(range(total), 3)
            await archive.tag(*(arrival(n) for n in (*range(start, start + 10), *again)))

    async def watch() -> Counter[str]:
        seen: Counter[str] = Counter()
        while not done.is_set():
            async with archive.pool.connection() as connection:
                rows = await connection.fetch(_SNAPSHOT)
            for row in rows:
                found = dict(zip(row["names"], row["scores"], strict=True))
                side = _side(row["image_path"], found, old, new)
                assert side, (row["image_path"], found)
                seen[side] += 1
            await asyncio.sleep(0)
        return seen

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        both = [group.create_task(arrive()), group.create_task(archive.rescore())]
        await asyncio.gather(*both)
        done.set()

    seen = watching.result()
    assert seen["old"] > 0
    assert seen["new"] > 0
    rows = await archive.rows()
    assert {row["label_version"] for row in rows.values()} == {version}
    assert {path: row["listed"] for path, row in rows.items()} == new
    await _best_images_are_the_oracles(archive)


def _side(
    path: str,
    found: dict[str, int],
    old: dict[str, dict[str, float]],
    new: dict[str, dict[str, float]],
) -> str:
    shown = {name: score / 1e6 for name, score in found.items()}
    if shown == new[path]:
        return "new"
    return "old" if shown == old[path] else ""


async def _best_images_are_the_oracles(archive: Archive) -> None:
    best = await archive.pool.fetch(
        "SELECT DISTINCT ON (label_id) label_id, score, ts, image_id FROM image_tags "
        "WHERE score > 0 ORDER BY label_id, score DESC, ts DESC, image_id DESC"
    )
    known = 0
    for row in best:
        looked = await look_up(archive.pool, [row["label_id"]])
        if looked.is_known:
            known += 1
            assert looked.rank is not None
            assert tuple(looked.rank) == (row["score"], row["ts"], row["image_id"])
    assert known or best


_SNAPSHOT = """
SELECT t.image_path, array_agg(l.name) AS names, array_agg(s.score) AS scores
FROM tagged_images t JOIN image_tags s ON s.image_id = t.id JOIN labels l ON l.id = s.label_id
GROUP BY t.image_path
"""
