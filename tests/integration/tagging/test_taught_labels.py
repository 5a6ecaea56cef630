"""Labels that photos teach: put in force, previewed, scored, and what becomes of their photos."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from consumers.tagging.previewing import Previewing
from core.storage import labels
from core.storage.archive import curation, image_deletion, selection
from core.storage.archive.selection import Choice, ChosenImage
from core.storage.pool import Pool
from core.storage.scoring import lessons
from core.tags import Label, Tagged, TagRequest
from core.vision.teaching import LEAST_GROUND
from ingress.auth.api_keys import Scope
from schemas.image import image_id_of
from tests.fakes.vision import KindModel
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import MakeWorld, WatchedPool, World
from tests.integration.tagging.archive import Archive, arrival, picture

WORDS = ("cat", "dog", "car", "beach", "city")
IMAGES = range(80)
KIND = [number for number in range(500) if KindModel.kind_of(picture(number)) == 0]
SHOWN = [number for number in KIND if number in IMAGES]  # of the kind, and in the archive
TEACHERS = SHOWN[:4]
NAME = "our dacha"


@pytest.fixture
async def archive(pool: Pool) -> Archive:
    made = Archive(pool, KindModel())
    await made.define(*WORDS)
    await made.tag(*(arrival(number) for number in IMAGES))
    return made


@pytest.fixture
def world(archive: Archive, tmp_path: Path) -> World:
    return MakeWorld(WatchedPool(archive.pool), tmp_path)(wait_for_tags_s=5.0)


@pytest.fixture
async def admin(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(Scope.ADMIN) as client:
        yield client


def id_of(number: int) -> UUID:
    return image_id_of(f"file:p/{number}.jpg")


def taught(numbers: Sequence[int] = TEACHERS, **fields: Any) -> dict[str, Any]:
    photos = [str(id_of(number)) for number in numbers]
    return {"name": NAME, "photos": photos, "by_words": False, **fields}


def body(*more: dict[str, Any]) -> dict[str, Any]:
    return {"labels": [*({"name": name} for name in WORDS), *more]}


async def teach(archive: Archive, admin: httpx.AsyncClient, **fields: Any) -> None:
    answer = await admin.put("/labels", json=body(taught(**fields)))
    assert answer.status_code == 200, answer.text
    await archive.rescore()


async def best(archive: Archive) -> dict[int, str]:
    """Return the best tag of each photo, by its number."""
    rows = await archive.rows()
    return {int(path[2:-4]): next(iter(row["tags"])) for path, row in rows.items()}


async def shown(admin: httpx.AsyncClient) -> dict[str, Any]:
    """Return the taught label, as it is shown."""
    [label] = [one for one in (await admin.get("/labels")).json()["labels"] if one["name"] == NAME]
    return dict(label)


async def test_photos_like_the_examples_get_the_label_by_re_scoring_and_new_ones_at_once(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    encoded = sum(archive.model.batches)

    await teach(archive, admin)

    tags = await best(archive)
    has = {number for number, tag in tags.items() if tag == NAME}
    assert sum(archive.model.batches) == encoded  # no photo was read
    assert len(has & set(SHOWN)) > 0.8 * len(SHOWN)
    assert len(has - set(SHOWN)) < 0.1 * len(IMAGES)
    fresh = [number for number in KIND if number not in IMAGES][:10]
    others = [number for number in range(500, 530) if number not in KIND]
    await archive.tag(*(arrival(number) for number in (*fresh, *others)))
    tags = await best(archive)
    assert sum(tags[number] == NAME for number in fresh) >= 8
    assert sum(tags[number] == NAME for number in others) <= 4
    assert (await shown(admin))["teaching"] == {"photos": 4, "is_known": True}


async def test_its_name_finds_the_photos_in_searches_and_is_explained(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await teach(archive, admin, aliases=["дача"])
    fresh = TEACHERS[0]

    found = (await admin.get("/images", params={"text": "фото с дачи"})).json()
    explained = await admin.get(f"/images/{id_of(fresh)}/explain", params={"text": "our dacha"})

    assert str(id_of(fresh)) in {image["image_id"] for image in found["images"]}
    assert NAME in explained.text


async def test_a_preview_says_what_the_re_score_then_brings_and_changes_nothing(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    old = await best(archive)
    stop = asyncio.Event()
    task = asyncio.create_task(Previewing(archive.pool, archive.clip).run(stop))

    outcome = (await admin.post("/labels/preview", json=body(taught()))).json()["outcome"]

    stop.set()
    await task
    assert await best(archive) == old
    assert await archive.pool.fetchval("SELECT count(*) FROM label_means") == 0
    await teach(archive, admin)
    new = await best(archive)
    assert outcome["changed_best"] == sum(old[number] != new[number] for number in IMAGES) > 0
    [label] = [one for one in outcome["labels"] if one["name"] == NAME]
    rows = await archive.rows()
    assert label["after"] == sum(NAME in row["tags"] for row in rows.values())


async def test_an_image_with_labels_of_its_own_may_name_it(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await teach(archive, admin)

    await archive.tag(arrival(KIND[-1], labels=("cat", "dog", NAME)))

    assert (await best(archive))[KIND[-1]] == NAME


async def test_words_count_beside_the_photos_unless_they_are_told_not_to(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await teach(archive, admin)
    alone = (await archive.rows())["p/1.jpg"]["tags"]

    await teach(archive, admin, by_words=True)

    assert (await archive.rows())["p/1.jpg"]["tags"] != alone
    assert (await shown(admin))["by_words"]


async def test_the_same_labels_again_change_nothing_and_a_photo_less_is_a_change(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    first = (await admin.put("/labels", json=body(taught()))).json()["version"]

    again = (await admin.put("/labels", json=body(taught()))).json()["version"]
    less = (await admin.put("/labels", json=body(taught(TEACHERS[:3])))).json()["version"]

    assert (again, less) == (first, first + 1)


@pytest.mark.parametrize(
    ("label", "pointer", "words"),
    [
        (taught(SHOWN[:2]), "/labels/5/photos", "2 photos: 3 to 10 teach a label"),
        (taught(range(11)), "/labels/5/photos", "the limit is 10"),
        ({"name": NAME, "by_words": False}, "/labels/5/photos", "neither photos nor words"),
        (taught([1, 2, 1]), "/labels/5/photos", "stands twice"),
        (taught([1, 2, 9999]), "/labels/5/photos/2", str(id_of(9999))),
        ({"name": NAME, "photos": ["a.jpg"]}, "/labels/5/photos/0", "must be an id"),
    ],
)
async def test_photos_that_cannot_teach_are_refused_by_name(
    admin: httpx.AsyncClient, label: dict[str, Any], pointer: str, words: str
) -> None:
    for method, path in (("PUT", "/labels"), ("POST", "/labels/preview")):
        problem = problem_in(await admin.request(method, path, json=body(label)), "invalid_request")
        assert problem["errors"][0]["pointer"] == pointer
        assert words in problem["errors"][0]["detail"]


async def test_a_photo_that_is_not_tagged_yet_is_refused(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await archive.pool.execute(
        "INSERT INTO images (image_id, uri, path, status) VALUES ($1, 'file:p/900.jpg', "
        "'p/900.jpg', 'accepted')",
        id_of(900),
    )

    problem = problem_in(
        await admin.put("/labels", json=body(taught([1, 900, 2]))), "invalid_request"
    )

    assert problem["errors"][0]["pointer"] == "/labels/5/photos/1"
    assert "not tagged yet" in problem["errors"][0]["detail"]


async def test_photos_of_unlike_models_are_refused(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await other_model(archive).tag(arrival(TEACHERS[0]))

    problem = problem_in(await admin.put("/labels", json=body(taught())), "invalid_request")

    assert "other@1" in problem["detail"]
    assert archive.clip.identity in problem["detail"]


async def test_to_those_who_may_not_see_a_photo_it_is_unknown(archive: Archive) -> None:
    mine = [arrival(number, owner="alice") for number in range(600, 603)]
    await archive.tag(*mine)
    given = Label(NAME, photos=tuple(one.image_id for one in mine))

    async with archive.pool.connection() as connection:
        assert await lessons.unfit(connection, [given], [], "alice") is None
        assert await lessons.unfit(connection, [given], [], None) is None
        found = await lessons.unfit(connection, [given], [], "bob")

    assert found is not None
    assert (found.label, found.photo) == (0, 0)
    assert f"no image {mine[0].image_id}" in found.why


async def test_a_reader_is_shown_those_photos_that_the_key_may_see(
    archive: Archive, admin: httpx.AsyncClient, world: World
) -> None:
    await archive.tag(arrival(600, owner="alice"))
    await teach(archive, admin, numbers=[*TEACHERS[:3], 600])

    async with world.client(Scope.READ, owner="bob") as bob:
        seen = (await shown(bob))["photos"]

    assert seen == [str(id_of(number)) for number in TEACHERS[:3]]
    assert len((await shown(admin))["photos"]) == 4


async def test_a_deleted_photo_leaves_the_label_at_once_and_the_mean_at_the_next_re_score(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await teach(archive, admin)
    learnt = await direction(archive)
    async with archive.pool.transaction() as tx:
        await image_deletion.delete(tx, id_of(TEACHERS[0]))

    assert (await shown(admin))["photos"] == [str(id_of(number)) for number in TEACHERS[1:]]
    await archive.tagger.refresh()
    assert await direction(archive) == learnt

    answer = await admin.put("/labels", json=body({"name": "snow"}, taught(TEACHERS[1:])))
    assert answer.status_code == 200, answer.text
    await archive.rescore()
    assert await direction(archive) != learnt
    assert (await shown(admin))["teaching"] == {"photos": 3, "is_known": True}


async def test_a_label_that_lost_photos_goes_on_and_other_labels_may_still_change(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await teach(archive, admin, numbers=TEACHERS[:3])
    async with archive.pool.transaction() as tx:
        await image_deletion.delete(tx, id_of(TEACHERS[0]))

    left = (await shown(admin))["photos"]
    answer = await admin.put("/labels", json=body(taught(TEACHERS[1:3]), {"name": "snow"}))

    assert len(left) == 2
    assert answer.status_code == 200, answer.text
    await archive.rescore()
    assert NAME in set((await best(archive)).values())


async def test_a_label_whose_last_photo_is_deleted_waits(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await teach(archive, admin, numbers=TEACHERS[:3])
    async with archive.pool.transaction() as tx:
        for number in TEACHERS[:3]:
            await image_deletion.delete(tx, id_of(number))
        await labels.raise_version(tx)

    await archive.rescore()

    assert NAME not in set((await best(archive)).values())
    # What stands may stay, so that other labels can change.
    answer = await admin.put("/labels", json=body(taught([]), {"name": "snow"}))
    assert answer.status_code == 200, answer.text


async def test_while_it_still_holds_all_processes_go_by_what_a_deleted_photo_taught(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await teach(archive, admin, numbers=TEACHERS[:3])
    photo = picture(next(number for number in KIND if number not in IMAGES))
    [before] = await archive.tagger.clip.tag_all([photo], [TagRequest()])
    async with archive.pool.transaction() as tx:
        for number in TEACHERS[:3]:
            await image_deletion.delete(tx, id_of(number))
    late = Archive(archive.pool, KindModel())

    await late.tagger.refresh()
    [after] = await late.tagger.clip.tag_all([photo], [TagRequest()])

    assert isinstance(before, Tagged)
    assert isinstance(after, Tagged)
    assert before.tags.tags[0].tag == NAME
    assert after.tags.tags == before.tags.tags


async def test_a_photo_that_is_deleted_and_sent_again_does_not_teach_again(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await teach(archive, admin)
    async with archive.pool.transaction() as tx:
        await image_deletion.delete(tx, id_of(TEACHERS[0]))

    await archive.tag(arrival(TEACHERS[0]))

    assert str(id_of(TEACHERS[0])) not in (await shown(admin))["photos"]


async def test_an_excluded_photo_and_one_with_tags_by_hand_teach_as_they_did(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await teach(archive, admin)
    learnt = await direction(archive)
    async with archive.pool.transaction() as tx:
        await curation.exclude(tx, id_of(TEACHERS[0]), excluded=True)
        await curation.set_tags(tx, id_of(TEACHERS[1]), [])
        await labels.raise_version(tx)

    await archive.rescore()

    assert await direction(archive) == learnt


async def test_a_photo_whose_file_has_moved_goes_on_teaching(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await teach(archive, admin)
    learnt = await direction(archive)
    old, new = TEACHERS[0], 700
    archive.blobs.contents["file:p/700.jpg"] = picture(old)
    await archive.tag(arrival(new))
    await archive.pool.execute(
        "UPDATE images SET status = 'missing', moved_to = $2 WHERE image_id = $1",
        id_of(old),
        id_of(new),
    )
    await archive.pool.execute("DELETE FROM tagged_images WHERE image_id = $1", id_of(old))
    async with archive.pool.transaction() as tx:
        await labels.raise_version(tx)

    await archive.rescore()

    assert await direction(archive) == learnt


async def test_with_a_new_model_the_label_waits_for_its_photos_and_then_goes_by_them(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await teach(archive, admin)
    newer = other_model(archive)
    others = [number for number in IMAGES if number not in TEACHERS]
    await newer.tag(*(arrival(number) for number in others))
    await newer.tag(arrival(TEACHERS[0]))
    await newer.rescore()
    tags = await best(newer)
    assert NAME not in {tags[number] for number in (*others, TEACHERS[0])}
    assert (await shown(admin))["teaching"] == {"photos": 0, "is_known": False}

    await newer.tag(*(arrival(number) for number in TEACHERS[1:]))
    await newer.rescore()

    tags = await best(newer)
    assert sum(tags[number] == NAME for number in SHOWN) > 0.8 * len(SHOWN)
    assert (await shown(admin))["teaching"] == {"photos": 4, "is_known": True}
    version, _ = await labels.state(archive.pool)
    await newer.rescore()
    assert (await labels.state(archive.pool))[0] == version  # it has begun once, not again


async def test_photos_that_the_new_model_cannot_tag_are_not_waited_for(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await teach(archive, admin)
    newer = other_model(archive)
    await archive.pool.execute(
        "UPDATE images SET status = 'missing' WHERE image_id = $1", id_of(TEACHERS[0])
    )
    await newer.tag(*(arrival(number) for number in IMAGES if number != TEACHERS[0]))
    await newer.rescore()

    assert (await shown(admin))["teaching"] == {"photos": 3, "is_known": True}


async def test_in_a_small_archive_a_label_waits_for_other_photos_and_then_goes_by_them(
    pool: Pool, tmp_path: Path
) -> None:
    archive = Archive(pool, KindModel())
    await archive.define(*WORDS)
    few = range(len(TEACHERS) + LEAST_GROUND - 5)
    await archive.tag(*(arrival(number) for number in TEACHERS))
    await archive.tag(*(arrival(1000 + number) for number in few))
    world = MakeWorld(WatchedPool(pool), tmp_path)()
    async with world.client(Scope.ADMIN) as admin:
        await teach(archive, admin)
        version, _ = await labels.state(pool)
        assert (await shown(admin))["teaching"] == {"photos": 4, "is_known": False}
        await archive.rescore()
        assert (await labels.state(pool))[0] == version

        await archive.tag(arrival(2000))
        await archive.rescore()

        assert (await shown(admin))["teaching"]["is_known"]
    assert NAME in set((await best(archive)).values())


async def test_two_processes_go_by_the_same_lesson(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    assert (await admin.put("/labels", json=body(taught()))).status_code == 200
    other = Archive(archive.pool, KindModel())

    await asyncio.gather(archive.tagger.refresh(), other.tagger.refresh())
    await archive.tag(arrival(800))  # what was learnt stays, though the archive has grown
    late = Archive(archive.pool, KindModel())
    await late.tagger.refresh()

    photos = [id_of(number) for number in IMAGES]
    seen = await lessons.examples(archive.pool, archive.clip.identity, photos)
    rows = [seen.embeddings[photo] for photo in photos]
    wanted = [TagRequest()] * len(rows)
    first, second, third = [
        await one.clip.score_embeddings(rows, wanted) for one in (archive, other, late)
    ]
    assert first == second == third


async def test_labels_that_change_while_they_are_learnt_are_learnt_anew(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    assert (await admin.put("/labels", json=body(taught()))).status_code == 200
    learn = archive.clip.learn

    async def interrupted(*given: Any) -> Any:
        if not changed:
            changed.append(True)
            async with archive.pool.transaction() as tx:
                await labels.define(tx, [Label("only this")])
        return await learn(*given)

    changed: list[bool] = []
    archive.clip.learn = interrupted  # type: ignore[method-assign, assignment]

    await archive.tagger.refresh()

    assert archive.clip.label_version == (await labels.state(archive.pool))[0]
    assert await archive.pool.fetchval("SELECT count(*) FROM label_means") == 0


def other_model(archive: Archive) -> Archive:
    """Return the same archive with another model that sees alike."""
    model = KindModel()
    model.identity = "other@1"
    return Archive(archive.pool, model)


async def direction(archive: Archive) -> str:
    """Return what was learnt of the label."""
    value: str = await archive.pool.fetchval(
        "SELECT embedding::text FROM label_means WHERE model = $1", archive.clip.identity
    )
    return value


async def test_photos_that_teach_are_tagged_again_before_all_others(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await teach(archive, admin)
    chosen: list[ChosenImage] = []

    while batch := await selection.choose(
        archive.pool, Choice(), after=chosen[-1] if chosen else None, limit=3
    ):
        chosen += batch

    ids = [image.image_id for image in chosen]
    assert set(ids[: len(TEACHERS)]) == {id_of(number) for number in TEACHERS}
    assert sorted(ids) == sorted(id_of(number) for number in IMAGES)
    assert ids[len(TEACHERS) :] == sorted(ids[len(TEACHERS) :])
