"""`GET /images` with filters, orders and totals; why an image is found or not; what forms offer."""

import random
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.relevance.ranking import best_n
from core.storage import labels
from core.storage.archive import curation, images
from core.storage.best import ranking
from core.storage.best.ranking import Filters
from core.tags import score_to_int
from ingress.auth.api_keys import Scope
from schemas.image import image_id_of
from tests.fakes.pictures import jpeg
from tests.integration.ingress.photos.test_images import get, uploaded
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import World
from tests.integration.relevance.archive import stored_images

TEXTS = ("cat", "cats and dogs", "кошка on the beach", "a dog at a party", "the beach at noon")


async def scanned(world: World, path: str, *tags: tuple[str, float], **found: Any) -> UUID:
    """A tagged photo that is open to all."""

    image_id = image_id_of(f"file:{path}")
    async with world.pool.transaction() as tx:
        await images.accept(tx, image_id=image_id, uri=f"file:{path}", path=path)
    if tags:
        await world.tag(image_id, *tags, **found)
    return image_id


async def page(world: World, query: str, owner: str = "alice") -> dict[str, Any]:
    response = await get(world, f"/images?{query}", owner)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def ids(world: World, query: str, owner: str = "alice") -> list[UUID]:
    return [UUID(image["image_id"]) for image in (await page(world, query, owner))["images"]]


async def explained(world: World, image_id: UUID, query: str) -> dict[str, Any]:
    response = await get(world, f"/images/{image_id}/explain?{query}")
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_filters_come_together_and_the_total_is_counted(world: World) -> None:
    both = await scanned(world, "photos/a/1.jpg", ("cat", 0.9), ("dog", 0.4), camera="Leica")
    cat = await scanned(world, "photos/a/2.jpg", ("cat", 0.5), camera="Canon")
    dog = await scanned(world, "photos/b/3.jpg", ("dog", 0.8), camera="Leica")
    waiting = await scanned(world, "other/4.jpg")

    assert await ids(world, "all=cat&all=dog") == [both]
    assert await ids(world, "any=cat&any=dog") == [both, dog, cat]
    assert await ids(world, "tag=cat&not=dog") == [cat]
    assert await ids(world, "tag=cat&min_score=0.6") == [both]
    assert await ids(world, "min_score=0.6&order=arrival") == [dog, both]
    assert await ids(world, "folder=photos/a/") == [cat, both]
    assert await ids(world, "camera=Leica") == [dog, both]
    assert await ids(world, "has_tags=false") == [waiting]
    assert await ids(world, f"id={dog}&id={both}&id={uuid4()}") == [dog, both]
    found = await page(world, "not=dog&total=true&limit=1")
    assert found["total"] == {"images": 2, "is_exact": True}
    assert found["order"] == "arrival"
    assert (await page(world, "limit=1"))["total"] is None


async def test_people_decide_what_is_excluded_and_what_is_tagged_by_hand(world: World) -> None:
    one = await scanned(world, "photos/1.jpg", ("cat", 0.9))
    two = await scanned(world, "photos/2.jpg", ("cat", 0.8))
    async with world.pool.transaction() as tx:
        await curation.exclude(tx, one, excluded=True)
        await curation.set_tags(tx, two, [])

    assert await ids(world, "tag=cat") == []
    assert await ids(world, "tag=cat&excluded=true") == [one]
    assert await ids(world, "text=cat&excluded=true") == [one]
    assert await ids(world, "excluded=false") == [two]
    assert await ids(world, "hand_tagged=true") == [two]


@pytest.mark.parametrize("order", ["arrival", "taken", "taken_asc", "score"])
async def test_a_cursor_tells_of_no_image_that_the_caller_may_not_see(
    world: World, order: str
) -> None:
    """Somebody else's images lie between one's own: pages are full, cursors those of one's own."""
    chance = random.Random(3)
    mine: list[UUID] = []
    theirs: list[UUID] = []
    for number in range(24):
        is_mine = number % 3 == 0
        image_id = await uploaded(world, jpeg(number), "alice" if is_mine else "bob")
        await world.tag(
            image_id,
            ("cat", chance.choice((0.3, 0.5, 0.7))),
            exif_datetime=datetime(2020, 1, 1 + number // 2),  # noqa: DTZ001 - as EXIF
        )
        (mine if is_mine else theirs).append(image_id)

    seen: list[UUID] = []
    cursors: list[str] = []
    query = f"any=cat&order={order}&limit=3"
    while True:
        found = await page(world, f"{query}{f'&cursor={cursors[-1]}' if cursors else ''}")
        seen += [UUID(image["image_id"]) for image in found["images"]]
        if found["next"] is None:
            break
        assert len(found["images"]) == 3
        cursors.append(found["next"])

    assert sorted(seen) == sorted(mine)
    await world.pool.execute("DELETE FROM images WHERE image_id = ANY($1)", theirs)
    alone: list[str] = []
    while (found := await page(world, f"{query}{f'&cursor={alone[-1]}' if alone else ''}"))["next"]:
        alone.append(found["next"])
    assert alone == cursors


async def test_pages_neither_repeat_nor_hide_while_photos_arrive_and_go(world: World) -> None:
    old = [
        await scanned(world, f"photos/{number}.jpg", ("cat", 0.1 * (number % 7)))
        for number in range(30)
    ]
    for order in ("arrival", "taken", "taken_asc", "score"):
        query, cursor = f"any=cat&order={order}&limit=4", ""
        seen: list[UUID] = []
        gone: set[UUID] = set()
        before = await ids(world, f"any=cat&order={order}&limit=200")
        for number in range(100):
            found = await page(world, query + cursor)
            seen += [UUID(image["image_id"]) for image in found["images"]]
            if found["next"] is None:
                break
            cursor = f"&cursor={found['next']}"
            await scanned(world, f"new/{order}/{number}.jpg", ("cat", 0.05 * (number % 20)))
            last = seen[-1]  # its place is the cursor's
            if number % 3 == 0:
                await world.pool.execute("DELETE FROM images WHERE image_id = $1", last)
                gone.add(last)
        assert len(seen) == len(set(seen))
        known = set(before)
        assert [one for one in seen if one in known] == before
        old = [one for one in old if one not in gone]


@pytest.mark.parametrize("text", TEXTS)
async def test_search_explanation_and_sql_agree_to_the_last_digit(world: World, text: str) -> None:
    names, chance = ("cat", "dog", "beach", "party"), random.Random(text)
    async with world.pool.transaction() as tx:
        await labels.ensure(tx, names)
        await tx.execute("UPDATE labels SET aliases = '[\"кошка\"]' WHERE name = 'cat'")
        await tx.execute("UPDATE label_set SET version = version + 1")
    known = await labels.known(world.pool, names)
    for number in range(30):
        chosen = chance.sample(names, chance.randint(1, 4))
        scores = [(name, chance.randint(0, 1_000_000) / 1_000_000) for name in chosen]
        await scanned(world, f"photos/{number}.jpg", *sorted(scores, key=lambda one: -one[1]))

    found = await page(world, f"text={text}&limit=200&total=true")

    named = [known[match["tag"]] for match in found["matched"]]
    exact = await ranking.best(world.pool, named, Filters(top_n=100))
    oracle = best_n(await stored_images(world.pool), named, 100)
    shown = [(UUID(one["image_id"]), score_to_int(one["score"])) for one in found["images"]]
    assert shown == [(one.image_id, one.score) for one in exact]
    assert [score for _, score in shown] == [rank.score for rank in oracle]
    assert found["total"] == {"images": len(shown), "is_exact": True}
    assert len(shown) > 10
    for image in found["images"]:
        assert score_to_int(image["score"]) == sum(
            score_to_int(term["score"]) for term in image["terms"]
        )
        why = await explained(world, UUID(image["image_id"]), f"text={text}")
        assert (why["is_found"], why["score"]) == (True, image["score"])
        assert (why["terms"], why["reasons"]) == (image["terms"], [])
        assert why["best"]["image_id"] == found["images"][0]["image_id"]


async def test_words_are_read_aloud_and_those_without_a_label_are_named(world: World) -> None:
    cat = await scanned(world, "photos/1.jpg", ("cat", 0.61), ("beach", 0.34))
    beach = await scanned(world, "photos/2.jpg", ("beach", 0.93))
    await world.know("landscape")

    hit = await explained(world, cat, "text=cats on the beach at noon")
    other = await explained(world, beach, "text=cats on the beach at noon")

    assert hit["score"] == 0.95
    assert [(term["tag"], term["words"], term["score"]) for term in hit["terms"]] == [
        ("cat", ["cats"], 0.61),
        ("beach", ["beach"], 0.34),
    ]
    assert {word["text"]: word["tags"] for word in hit["words"]} == {
        "cats": ["cat"], "on": [], "the": [], "beach": ["beach"], "at": [], "noon": [],
    }  # fmt: skip
    assert other["missing"] == [{"tag": "cat", "words": ["cats"], "why": "not_among_its_tags"}]
    lemmas = (await get(world, "/lemmas?text=landskape zzzz on")).json()["tokens"]
    assert [token["nearest"] for token in lemmas] == [["landscape"], [], []]


async def test_a_miss_says_why(world: World) -> None:
    found = await scanned(
        world, "photos/1.jpg", ("cat", 0.6), ("dog", 0.2),
        exif_datetime=datetime(2020, 5, 1),  # noqa: DTZ001 - as EXIF
    )  # fmt: skip
    excluded = await scanned(world, "photos/2.jpg", ("cat", 0.9))
    waiting = await scanned(world, "photos/3.jpg")
    failed = await scanned(world, "photos/4.jpg")
    gone = await scanned(world, "photos/5.jpg", ("cat", 0.7))
    await world.fail(failed, "truncated", "ends early")
    await world.pool.execute("UPDATE images SET status = 'missing' WHERE image_id = $1", gone)
    async with world.pool.transaction() as tx:
        await curation.exclude(tx, excluded, excluded=True)
    await world.know("beach")

    async def codes(image_id: UUID, query: str) -> list[str]:
        why = await explained(world, image_id, query)
        assert not why["is_found"]
        assert image_id not in await ids(world, query)
        assert all(reason["detail"] for reason in why["reasons"])
        return [reason["code"] for reason in why["reasons"]]

    assert await codes(found, "text=quantum soup") == ["no_word_names_a_tag"]
    assert await codes(found, "text=beach") == ["tags_missing"]
    assert await codes(found, "text=cat dog&min_score=0.9") == ["below_min_score"]
    assert await codes(found, "text=cat&from=2021-01-01") == ["outside_dates"]
    assert await codes(found, "text=cat&camera=Leica&to=2020-01-01") == [
        "outside_dates", "other_filter",
    ]  # fmt: skip
    assert await codes(found, "all=cat&all=dog&min_score=0.5") == ["below_min_score"]
    assert await codes(found, "all=cat&all=beach") == ["tags_missing"]
    assert await codes(found, "min_score=0.7") == ["below_min_score"]
    assert await codes(excluded, "text=cat") == ["excluded"]
    assert await codes(excluded, "min_score=0.5") == ["excluded"]
    assert await codes(excluded, "min_score=0.5&excluded=false") == ["excluded"]
    assert await codes(excluded, "min_score=0.95&excluded=true") == ["below_min_score"]
    assert await codes(found, "min_score=0.5&excluded=true") == ["excluded"]
    assert await codes(gone, "min_score=0.5") == ["missing_file"]
    assert await codes(waiting, "min_score=0.5") == ["not_tagged", "below_min_score"]
    assert await codes(waiting, "text=cat") == ["not_tagged", "tags_missing"]
    assert await codes(failed, "text=cat") == ["failed", "tags_missing"]
    assert await codes(gone, "text=cat") == ["missing_file"]
    weak = (await explained(world, found, "any=dog&min_score=0.5"))["missing"]
    assert weak == [{"tag": "dog", "words": [], "why": "below_min_score"}]
    async with world.pool.transaction() as tx:
        await curation.set_tags(tx, found, [])
    [why] = (await explained(world, found, "text=cat"))["reasons"]
    assert why["detail"] == "not among its tags: cat (it has no tag)"


async def test_nobody_learns_of_other_peoples_images(world: World) -> None:
    theirs = await uploaded(world, jpeg(1), owner="bob")
    await world.tag(theirs, ("cat", 0.9), camera="Leica")

    missing = await get(world, f"/images/{theirs}/explain?text=cat")
    problem_in(missing, "image_not_found")
    assert await ids(world, f"id={theirs}") == []
    assert (await page(world, "total=true&tag=cat"))["total"]["images"] == 0
    assert (await get(world, "/cameras")).json() == {"cameras": []}
    assert (await get(world, "/cameras", "bob")).json()["cameras"] == [
        {"camera": "Leica", "images": 1}
    ]


async def test_folders_are_listed_level_by_level(world: World) -> None:
    for path in (
        "photos/2020/1.jpg", "photos/2020/may/2.jpg", "photos/2020/may/x/3.jpg",
        "photos/2020 b/4.jpg", "photos/2020.old/5.jpg", "photos/6.jpg", "more/a/b/7.jpg",
        "8.jpg", ".hidden/9.jpg",
    ):  # fmt: skip
        await scanned(world, path)
    await uploaded(world, jpeg(1), "bob")
    secret = await uploaded(world, jpeg(2), "bob")
    await world.pool.execute("UPDATE images SET path = 'secret/1.jpg' WHERE image_id = $1", secret)

    async def folders(under: str) -> dict[str, int]:
        body = (await get(world, f"/folders?under={under}")).json()["folders"]
        assert all(one["is_exact"] for one in body)
        return {one["folder"]: one["images"] for one in body}

    assert await folders("") == {".hidden": 1, "more": 1, "photos": 6}
    assert await folders("photos") == {
        "photos/2020": 3, "photos/2020 b": 1, "photos/2020.old": 1,
    }  # fmt: skip
    assert await folders("photos/2020/") == {"photos/2020/may": 2}
    assert await folders("more/a/b") == {}


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("order=best", "order"),
        ("order=score", "order"),
        ("min_score=1.5", "min_score"),
        ("min_score=nan", "min_score"),
        ("excluded=yes", "excluded"),
        ("status=deleted", "status"),
        ("folder=/", "folder"),
        ("folder=a&folder=b", "folder"),
        ("id=7", "id"),
        ("&".join(["id=00000000-0000-0000-0000-000000000001"] * 101), "id"),
        ("&".join(["all=cat"] * 21), "all"),
        ("any=", "any"),
        ("not=%00", "not"),
        ("total=maybe", "total"),
        ("camera=", "camera"),
        ("without=cat", "without"),
        ("cursor=c2NvcmUgMSAyIDM&order=taken", "cursor"),
    ],
)
async def test_a_filter_that_breaks_its_rule_is_named(
    world: World, query: str, pointer: str
) -> None:
    response = await get(world, f"/images?{query}")

    assert problem_in(response, "invalid_request")["errors"][0]["pointer"].startswith(pointer)


async def test_filters_are_kept_for_their_owner(world: World) -> None:
    wanted = {"all": ["dog"], "not": ["cat"], "from": "2024-05-01T00:00:00Z", "order": "taken"}
    async with world.client(Scope.READ) as http:
        kept = await http.put("/filters/my dogs", json={"filter": wanted})
        again = await http.put("/filters/my dogs", json={"filter": {"all": ["dog"]}})
        wrong = await http.put("/filters/x", json={"filter": {"tags": ["dog"]}})
        listed = (await http.get("/filters")).json()["filters"]
        async with world.client(Scope.READ, owner="bob") as others:
            assert (await others.get("/filters")).json() == {"filters": []}
            problem_in(await others.delete("/filters/my dogs"), "filter_not_found")
        gone = await http.delete("/filters/my dogs")
        for number in range(100):
            await http.put(f"/filters/{number}", json={"filter": {}})
        full = await http.put("/filters/one more", json={"filter": {}})
        same = await http.put("/filters/7", json={"filter": wanted})

    assert kept.json()["filter"] == wanted
    assert again.status_code == same.status_code == 200
    problem_in(wrong, "invalid_request")
    problem_in(full, "too_many_filters")
    assert [(one["name"], one["filter"]) for one in listed] == [("my dogs", {"all": ["dog"]})]
    assert gone.status_code == 204
