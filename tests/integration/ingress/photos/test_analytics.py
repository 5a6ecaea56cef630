"""Searching, counting and explaining over HTTP."""

from datetime import timedelta

import pytest

from ingress.auth.api_keys import Scope
from tests.fakes.pictures import jpeg
from tests.integration.ingress.photos.test_images import get, uploaded
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import World


async def test_a_search_ranks_by_the_sum_of_confidences_and_says_so(world: World) -> None:
    weak, strong = await uploaded(world, jpeg(1)), await uploaded(world, jpeg(2))
    await uploaded(world, jpeg(3))
    await world.tag(weak, ("cat", 0.5))
    await world.tag(strong, ("cat", 0.4), ("dog", 0.3))

    page = (await get(world, "/images?text=cat dog")).json()

    assert [(i["image_id"], i["score"]) for i in page["images"]] == [
        (str(strong), 0.7),
        (str(weak), 0.5),
    ]
    assert page["order"] == "score"
    assert page["matched"][0] == {"tag": "cat", "words": ["cat"]}


async def test_a_search_goes_on_behind_its_cursor(world: World) -> None:
    ids = [await uploaded(world, jpeg(number)) for number in range(5)]
    for number, image_id in enumerate(ids):
        await world.tag(image_id, ("cat", 0.1 * (number + 1)))

    seen, cursor = [], ""
    while True:
        page = (await get(world, f"/images?tag=cat&limit=2{cursor}")).json()
        seen += [image["image_id"] for image in page["images"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"

    assert seen == [str(image_id) for image_id in ids[::-1]]


async def test_another_owners_images_are_not_found(world: World) -> None:
    theirs = await uploaded(world, jpeg(1), owner="bob")
    await world.tag(theirs, ("cat", 0.9))

    assert (await get(world, "/images?text=cat")).json()["images"] == []


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/images?from=yesterday", "from"),
        ("/images?to=2024-13-01", "to"),
        ("/images?text=cat&cursor=!!", "cursor"),
        ("/images?text=cat&cursor=ZCAyMDIwLTAxLTAxVDAwOjAwOjAwIDU", "cursor"),  # of dates
        ("/images?text=cat&cursor=bSAxIDEgOTk5OTk5OTk5OTk5OTk5OTk5OTk", "cursor"),  # too great
        (f"/images?text={'cat ' * 600}", "text"),
        ("/lemmas", "text"),
        ("/tags?pairs=201", "pairs"),
        ("/tags?pairs=-1", "pairs"),
        ("/tags?pairs=0000000019999999", "pairs"),
        (f"/tags?pairs={'0' * 9}{'1' * 5000}", "pairs"),
        ("/tags?pairs=٣", "pairs"),
        ("/duplicates?limit=0000000019999999", "limit"),
        (f"/duplicates?limit={'0' * 9}{'1' * 5000}", "limit"),
        (f"/duplicates?cursor={'0' * 63} 0", "cursor"),
        ("/tags?limit=3", "limit"),
        ("/stats?since=2024-01-01", "since"),
        ("/stats?from=never", "from"),
    ],
)
async def test_a_parameter_that_breaks_its_rule_is_named(
    world: World, path: str, pointer: str
) -> None:
    response = await get(world, path)

    assert problem_in(response, "invalid_request")["errors"][0]["pointer"] == pointer


async def test_a_text_is_explained(world: World) -> None:
    await world.know("cat", "dog")

    body = (await get(world, "/lemmas?text=cat dog cat")).json()

    assert [token["text"] for token in body["tokens"]] == ["cat", "dog", "cat"]
    assert body["tokens"][0]["lemmas"] == ["cat"]
    assert body["matched"] == [
        {"tag": "cat", "words": ["cat"]},
        {"tag": "dog", "words": ["dog"]},
    ]


async def test_tags_and_statuses_are_counted(world: World) -> None:
    one, two = await uploaded(world, jpeg(1)), await uploaded(world, jpeg(2))
    await uploaded(world, jpeg(3))
    await world.tag(one, ("cat", 0.8), ("dog", 0.1), camera="Leica M3")
    await world.tag(two, ("cat", 0.6))

    tags = (await get(world, "/tags")).json()
    stats = (await get(world, "/stats")).json()

    assert tags["tags"] == [
        {"tag": "cat", "images": 2, "mean_confidence": 0.7},
        {"tag": "dog", "images": 1, "mean_confidence": 0.1},
    ]
    assert tags["pairs_among"] == 20_000
    assert stats["statuses"] == {"tagged": 2, "accepted": 1}
    assert stats["cameras"] == [{"camera": "Leica M3", "images": 1}]
    assert stats["until"] > (world.now + timedelta(hours=23)).isoformat()


@pytest.mark.parametrize("path", ["/tags", "/stats", "/lemmas?text=cat", "/images?text=cat"])
async def test_a_key_that_may_not_read_learns_nothing(world: World, path: str) -> None:
    async with world.client(Scope.UPLOAD) as http:
        problem_in(await http.get(path), "scope_missing")
