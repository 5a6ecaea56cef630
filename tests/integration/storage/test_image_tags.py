"""Tags, rankings and labels in PostgreSQL, compared with brute force."""

import asyncio
import json
import random
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest

from core.errors import RecordRefused
from core.relevance.ranking import ScoredImage, best_n, recency
from core.storage import labels, retention
from core.storage.archive import curation, image_deletion, image_tags, images, statistics
from core.storage.archive.image_tags import TaggedImage
from core.storage.best import ranking
from core.storage.pool import Pool
from core.tags import MAX_OWN_LABELS, ImageTags, Label, Made, TagScore
from schemas.image import image_id_of

LABELS = tuple(Label(name) for name in ("cat", "dog", "car", "beach", "Victory Day"))
EMBEDDING = struct.pack("<4e", 0.5, 0.5, 0.5, 0.5)


def tagged(
    number: int,
    *tags: tuple[str, int],
    exif: datetime | None = None,
    content: bytes | None = None,
) -> TaggedImage:
    uri = f"file:photos/{number}.jpg"
    return TaggedImage(
        image_id=image_id_of(uri),
        uri=uri,
        path=f"photos/{number}.jpg",
        owner=None,
        job_id=None,
        tags=ImageTags(
            tags=tuple(TagScore(tag, score) for tag, score in tags),
            sha256=content or number.to_bytes(32, "big"),
            width=4,
            height=3,
            model="fake-1",
            preprocessing="exact-1",
            embedding=EMBEDDING,
            exif_datetime=exif,
            media_type="image/jpeg",
        ),
        label_version=1,
        top_k=4,
    )


async def store(pool: Pool, *batch: TaggedImage) -> None:
    async with pool.transaction() as tx:
        names = {tag.tag for image in batch for tag in image.tags.tags}
        await image_tags.replace(tx, batch, await labels.ensure(tx, names))


async def test_the_two_statements_of_the_contract_give_the_right_rows(pool: Pool) -> None:
    await store(
        pool,
        tagged(1, ("cat", 930_000), ("dog", 40_000)),
        tagged(2, ("dog", 800_000), ("beach", 100_000)),
        tagged(3, ("cat", 500_000)),
    )

    cats = await pool.fetch(
        """SELECT image_path, tags->>0 FROM tagged_images WHERE tags @> '[{"tag": "cat"}]'::jsonb"""
    )
    counts = await pool.fetch(
        "SELECT jsonb_array_elements(tags)->>'tag' AS tag, COUNT(*) FROM tagged_images "
        "GROUP BY tag ORDER BY count DESC"
    )

    assert {row[0]: json.loads(row[1]) for row in cats} == {
        "photos/1.jpg": {"tag": "cat", "score": 0.93},
        "photos/3.jpg": {"tag": "cat", "score": 0.5},
    }
    assert {row["tag"]: row["count"] for row in counts} == {"cat": 2, "dog": 2, "beach": 1}
    assert [row["count"] for row in counts] == sorted((r["count"] for r in counts), reverse=True)


async def test_tagging_again_replaces_all_of_an_images_tags_at_once(pool: Pool) -> None:
    await store(pool, tagged(1, ("cat", 900_000), ("dog", 100_000)))
    await store(pool, tagged(1, ("beach", 700_000)))

    rows = await pool.fetch(
        "SELECT l.name, t.score FROM image_tags t JOIN labels l ON l.id = t.label_id"
    )
    status = await images.status(pool, image_id_of("file:photos/1.jpg"))

    assert [tuple(row) for row in rows] == [("beach", 700_000)]
    assert status is not None
    assert status.tags == [{"tag": "beach", "score": 0.7}]
    assert await pool.fetchval("SELECT count(*) FROM tagged_images") == 1


async def test_an_image_that_comes_under_another_name_has_one_name_everywhere(pool: Pool) -> None:
    first = tagged(1, ("cat", 900_000))
    await store(pool, first)
    await store(pool, replace(first, path="renamed.jpg"))

    status = await images.status(pool, first.image_id)

    assert status is not None
    assert status.path == "renamed.jpg"
    assert await pool.fetchval("SELECT image_path FROM tagged_images") == "renamed.jpg"


async def test_the_same_bytes_at_two_paths_are_two_images_with_one_embedding(pool: Pool) -> None:
    await store(
        pool,
        tagged(1, ("cat", 1), content=b"s" * 32),
        tagged(2, ("cat", 1), content=b"s" * 32),
    )

    assert await pool.fetchval("SELECT count(*) FROM tagged_images") == 2
    assert await pool.fetchval("SELECT count(*) FROM embeddings") == 1
    assert await pool.fetchval("SELECT embedding::text FROM embeddings") == "[0.5,0.5,0.5,0.5]"


async def test_an_embedding_that_is_wanted_again_is_held_against_the_pruner(pool: Pool) -> None:
    content = b"\1" * 32
    await store(pool, tagged(1, ("cat", 1), content=content))
    await pool.execute("DELETE FROM tagged_images")
    await pool.execute("UPDATE embeddings SET created_at = now() - interval '2 days'")

    async with pool.transaction() as tx:
        image = tagged(2, ("cat", 1), content=content)
        await image_tags.replace(tx, [image], await labels.ensure(tx, {"cat"}))
        async with pool.transaction() as pruner:  # does not see the new image
            await retention.prune(pruner, "embeddings", timedelta(days=1))

    assert await pool.fetchval("SELECT count(*) FROM embeddings") == 1


async def test_the_ranking_equals_brute_force_ties_included(pool: Pool) -> None:
    seed = 20260501
    chance = random.Random(seed)
    moments = [None, datetime(2020, 1, 1), datetime(2021, 1, 1), datetime(2999, 1, 1)]  # noqa: DTZ001
    batch = [
        tagged(
            number,
            *(
                (label.name, chance.choice((100_000, 200_000, 300_000)))
                for label in chance.sample(LABELS, chance.randint(1, 4))
            ),
            exif=chance.choice(moments),
        )
        for number in range(300)
    ]
    async with pool.transaction() as tx:
        await labels.define(tx, LABELS)
    for start in range(0, len(batch), 64):
        await store(pool, *batch[start : start + 64])
    rows = await pool.fetch(
        "SELECT image_id, max(ts) AS ts, array_agg(label_id) AS l, array_agg(score) AS s "
        "FROM image_tags GROUP BY image_id"
    )
    everything = [
        ScoredImage(row["image_id"], row["ts"], tuple(zip(row["l"], row["s"], strict=True)))
        for row in rows
    ]
    numbers: dict[UUID, int] = {
        row["image_id"]: row["id"]
        for row in await pool.fetch("SELECT id, image_id FROM tagged_images")
    }
    ids = [label.id for label in (await labels.current(pool)).labels if label.id is not None]

    for size in (1, 2, 3, 5):
        for _ in range(20):
            wanted = chance.sample(ids, size)
            found = await ranking.best(pool, wanted, ranking.Filters(top_n=7))
            expected = best_n(everything, wanted, 7)
            assert [(one.score, numbers[one.image_id]) for one in found] == [
                (rank.score, rank.image_id) for rank in expected
            ], f"seed {seed}, labels {wanted}"
            assert all(sum(one.by_label.values()) == one.score for one in found)


async def test_filters_narrow_by_date_and_by_score(pool: Pool) -> None:
    old, new = datetime(2010, 6, 1), datetime(2020, 6, 1)  # noqa: DTZ001 - EXIF has no zone
    await store(
        pool,
        tagged(1, ("cat", 900_000), exif=old),
        tagged(2, ("cat", 300_000), exif=new),
    )
    cat = (await labels.everything(pool)).labels[0].id
    assert cat is not None
    border = recency(datetime(2015, 1, 1, tzinfo=UTC), datetime.now(UTC), datetime.now(UTC))

    newer = await ranking.best(pool, [cat], ranking.Filters(ts_from=border))
    older = await ranking.best(pool, [cat], ranking.Filters(ts_to=border - 1))
    strong = await ranking.best(pool, [cat], ranking.Filters(min_score=900_001))

    assert [image.score for image in newer] == [300_000]
    assert [image.score for image in older] == [900_000]
    assert strong == []


async def test_an_image_that_is_gone_is_no_answer_whoever_marks_it(pool: Pool) -> None:
    await store(pool, tagged(1, ("cat", 900_000)), tagged(2, ("cat", 100_000)))
    cat = (await labels.everything(pool)).labels[0].id
    assert cat is not None

    await pool.execute("UPDATE images SET status = 'missing' WHERE path = 'photos/1.jpg'")

    found = await ranking.best(pool, [cat], ranking.Filters(top_n=5))
    assert [image.score for image in found] == [100_000]


async def test_a_failed_image_is_in_the_ledger_and_a_tagged_one_keeps_its_tags(pool: Pool) -> None:
    await store(pool, tagged(1, ("cat", 900_000)))
    failures = [
        images.FailedImage(image_id_of(uri), uri, uri, None, None, "image_unreadable", "broken")
        for uri in ("file:photos/1.jpg", "file:photos/2.jpg")
    ]

    for _ in range(2):
        async with pool.transaction() as tx:
            await images.record_failures(tx, failures)

    tagged_one = await images.status(pool, failures[0].image_id)
    failed_one = await images.status(pool, failures[1].image_id)
    assert tagged_one is not None
    assert failed_one is not None
    assert (tagged_one.status, tagged_one.reason) == ("tagged", "image_unreadable")
    assert (failed_one.status, failed_one.reason) == ("failed", "image_unreadable")
    assert await pool.fetchval("SELECT min(attempts) FROM failures") == 2


async def test_accepting_twice_says_so_and_revives_what_was_deleted(pool: Pool) -> None:
    uri = "blob:" + "0" * 64
    arguments = {"image_id": image_id_of(uri), "uri": uri, "path": "a.jpg", "owner": "ann"}

    async with pool.transaction() as tx:
        assert not (await images.accept(tx, **arguments)).is_duplicate  # type: ignore[arg-type]
    async with pool.transaction() as tx:
        assert (await images.accept(tx, **arguments)).is_duplicate  # type: ignore[arg-type]
    await pool.execute("UPDATE images SET status = 'deleted', deleted_at = now()")
    assert await images.status(pool, image_id_of(uri)) is None
    async with pool.transaction() as tx:
        await images.accept(tx, **arguments)  # type: ignore[arg-type]

    status = await images.status(pool, image_id_of(uri))
    assert status is not None
    assert status.status == "accepted"
    assert await pool.fetchval("SELECT deleted_at FROM images") is None


async def test_a_path_over_a_thousand_characters_is_cut_in_the_public_table_alone(
    pool: Pool,
) -> None:
    path = "photos/" + "/".join(["a" * 200] * 8) + ".jpg"
    image = replace(tagged(1, ("cat", 1)), path=path)

    await store(pool, image)

    status = await images.status(pool, image.image_id)
    outgoing = await images.outgoing(pool, [image.image_id])
    assert len(path) > 1000
    assert status is not None
    assert (status.path, outgoing[image.image_id].path) == (path, path)
    assert await pool.fetchval("SELECT image_path FROM tagged_images") == path[:1000]


async def test_all_who_send_an_image_are_its_owners_until_it_is_deleted(pool: Pool) -> None:
    image_id = image_id_of("file:p/1.jpg")
    owners = "SELECT array_agg(owner ORDER BY owner) FROM image_owners WHERE image_id = $1"
    for owner in ("bob", "ann", "bob", None):
        async with pool.transaction() as tx:
            await images.accept(tx, image_id=image_id, uri="file:p/1.jpg", path="p", owner=owner)
    before = await pool.fetchval(owners, image_id)

    async with pool.transaction() as tx:
        await image_deletion.delete(tx, image_id, by="root")

    assert before == ["ann", "bob"]
    assert await pool.fetchval(owners, image_id) is None
    assert await pool.fetchval("SELECT decided_by FROM images") == "root"


async def test_an_image_knows_the_time_of_the_event_that_its_tags_come_from(pool: Pool) -> None:
    for hour in (8, 9):
        moment = datetime(2025, 5, 1, hour, tzinfo=UTC)

        await store(pool, replace(tagged(1, ("cat", 1)), made=Made(moment, is_fresh=True)))

        assert await pool.fetchval("SELECT event_time FROM images") == moment


async def test_a_decision_says_who_made_it_and_the_answers_follow_at_once(pool: Pool) -> None:
    image = tagged(1, ("cat", 900_000))
    await store(pool, image)
    listed = "SELECT array_agg(l.name || ' ' || t.score) FROM image_tags t JOIN labels l ON true"
    listed += " WHERE l.id = t.label_id"
    seen = []

    for decide in (
        partial(curation.set_tags, tags=[TagScore("grandma", 500_000)], by="ann"),
        partial(curation.exclude, excluded=True, by="bob"),
        partial(curation.exclude, excluded=False, by="ann"),
        partial(curation.clear_tags, by="root"),
    ):
        async with pool.transaction() as tx:
            await decide(tx, image.image_id)
        by = await pool.fetchval("SELECT decided_by FROM images WHERE decided_at = updated_at")
        seen.append((by, await pool.fetchval(listed)))

    assert seen == [
        ("ann", ["grandma 500000"]),
        ("bob", None),
        ("ann", ["grandma 500000"]),
        ("root", ["cat 900000"]),
    ]
    assert await pool.fetchval("SELECT count(*) FROM noted_images") == 0


async def test_what_is_changed_behind_a_decision_in_one_transaction_is_counted_and_noted(
    pool: Pool,
) -> None:
    image = tagged(1, ("cat", 900_000))
    await store(pool, image)

    async with pool.transaction() as tx:
        await curation.set_tags(tx, image.image_id, [TagScore("cat", 1)])
        await tx.execute("UPDATE images SET status = 'missing'")

    assert await statistics.counts(pool, "status") == {"missing": 1}
    assert await pool.fetchval("SELECT count(*) FROM noted_images") == 1


async def test_labels_added_by_many_at_once_get_one_id_each(pool: Pool) -> None:
    async def add(names: list[str]) -> dict[str, int]:
        async with pool.transaction() as tx:
            return await labels.ensure(tx, names)

    results = await asyncio.gather(
        *(add([f"label {n}" for n in range(start, start + 10)]) for start in range(0, 20, 4))
    )

    merged: dict[str, set[int]] = {}
    for result in results:
        for name, number in result.items():
            merged.setdefault(name, set()).add(number)
    assert all(len(numbers) == 1 for numbers in merged.values())
    assert len({n for numbers in merged.values() for n in numbers}) == len(merged) == 26


async def test_labels_of_single_images_leave_room_for_the_default_set(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO labels (id, name) SELECT n, 'label ' || n FROM generate_series(1, $1) n",
        MAX_OWN_LABELS,
    )

    with pytest.raises(RecordRefused) as caught:
        async with pool.transaction() as tx:
            await labels.ensure(tx, ["label 1", "one more"])
    async with pool.transaction() as tx:
        await labels.define(tx, [Label("one more"), Label("label 2")])
    async with pool.transaction() as tx:
        after = await labels.ensure(tx, ["one more", "another"])  # "label 2" is no own one any more

    assert caught.value.reason == "too_many_labels"
    assert str(MAX_OWN_LABELS) in str(caught.value)
    assert set(after) == {"one more", "another"}


async def test_more_labels_than_the_limit_are_refused(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "MAX_LABELS", 3)
    async with pool.transaction() as tx:
        await labels.ensure(tx, ["a", "b", "c"])

    with pytest.raises(RecordRefused) as caught:
        async with pool.transaction() as tx:
            await labels.ensure(tx, ["c", "d"])

    assert caught.value.reason == "too_many_labels"
    assert await pool.fetchval("SELECT count(*) FROM labels") == 3


async def test_defining_the_labels_raises_the_version_and_keeps_order_and_aliases(
    pool: Pool,
) -> None:
    async with pool.transaction() as tx:
        assert await labels.define_if_absent(tx, LABELS) == 1
    async with pool.transaction() as tx:
        assert await labels.define_if_absent(tx, LABELS[:1]) == 1
        assert await labels.define(tx, (Label("dog", ("пёс",), ("a {}",), 0.2), Label("cat"))) == 2

    current = await labels.current(pool)

    assert current.version == 2
    assert [label.name for label in current.labels] == ["dog", "cat"]
    assert current.labels[0].aliases == ("пёс",)
    assert current.labels[0].templates == ("a {}",)
    assert current.labels[0].threshold == pytest.approx(0.2)
    assert len((await labels.everything(pool)).labels) == len(LABELS)


async def test_a_path_with_a_nul_is_refused_as_a_record_and_not_as_an_outage(pool: Pool) -> None:
    image = tagged(1, ("ca\x00t", 1))

    with pytest.raises(RecordRefused):
        await store(pool, image)

    await store(pool, tagged(2, ("cat", 1)))
    assert await pool.fetchval("SELECT count(*) FROM tagged_images") == 1


async def test_the_newest_time_ignores_a_camera_that_lives_in_the_future(pool: Pool) -> None:
    future = (datetime.now(UTC) + timedelta(days=400)).replace(tzinfo=None)

    await store(pool, tagged(1, ("cat", 1), exif=future))

    seconds = await pool.fetchval("SELECT ts FROM image_tags")
    assert abs(seconds - recency(None, datetime.now(UTC), datetime.now(UTC))) < 60
