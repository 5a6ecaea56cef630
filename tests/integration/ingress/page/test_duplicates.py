"""Duplicates with evidence and a suggestion, and decisions that stay decided."""

import hashlib
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from core.storage.archive import image_tags, images, moving
from core.storage.archive.images import FailedImage
from ingress.auth.api_keys import Scope
from schemas.image import image_id_of
from tests.integration.ingress.photos.test_changes import work
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import World

ALL = (Scope.READ, Scope.UPLOAD)
NOON = datetime(2026, 5, 1, 12)  # noqa: DTZ001 - EXIF times have no zone
ALIKE = b"\x00\x3c\x00\x00"  # (1, 0)
NEAR = b"\x9a\x3b\xcd\x34"  # (0.95, 0.3): cosine 0.953 to it
ELSE = b"\x00\x00\x00\x3c"  # (0, 1)


def digest(content: str) -> bytes:
    return hashlib.sha256(content.encode()).digest()


async def put(
    world: World, name: str, content: str, *, owner: str | None = "alice", **found: Any
) -> UUID:
    """A tagged image of some content."""
    uri = f"file:photos/{name}"
    image_id = image_id_of(uri)
    async with world.pool.transaction() as tx:
        await images.accept(
            tx, image_id=image_id, uri=uri, path=f"photos/{name}", owner=owner,
            size_bytes=len(content) * 1000, sha256=digest(content),
        )  # fmt: skip
    made = {"embedding": ELSE, "sha256": digest(content)} | found
    await world.tag(image_id, ("cat", 0.5), **made)
    return image_id


async def same_photo(world: World, **second: Any) -> tuple[UUID, UUID]:
    """Two images that are the same photo."""
    one = await put(world, "a.jpg", "a", embedding=ALIKE, perceptual_hash=0b1110)
    two = await put(world, "b.jpg", "bb", embedding=ALIKE, perceptual_hash=0b1111, **second)
    return one, two


def pair_of(one: UUID, other: UUID) -> str:
    return "~".join(map(str, sorted((one, other))))


async def groups(http: httpx.AsyncClient, level: str, **wanted: str) -> list[dict[str, Any]]:
    answer = await http.get("/duplicates", params={"level": level, **wanted})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["groups"]
    return found


async def put_choice(http: httpx.AsyncClient, pair: str, keep: object) -> dict[str, Any]:
    answer = await http.put(f"/duplicates/{pair}", json={"keep": str(keep)})
    assert answer.status_code == 200, answer.text
    group: dict[str, Any] = answer.json()
    return group


async def is_excluded(world: World, image_id: UUID) -> bool:
    return (await world.image(image_id)).excluded


async def test_a_group_has_its_evidence_and_a_suggestion_with_grounds(world: World) -> None:
    one, two = await same_photo(
        world, width=8, height=6, camera="Maker X", exif_datetime=NOON,
        exif_source="DateTimeOriginal",
    )  # fmt: skip
    async with world.client(*ALL) as http:
        [group] = await groups(http, "same_photo")

    assert group["pair"] == pair_of(one, two)
    assert (group["hash_distance"], group["seconds_apart"]) == (1, None)
    assert group["suggestion"] == {
        "keep": str(two),
        "why": ["larger", "camera_date", "more_bytes"],
    }
    first, second = group["images"]
    assert (first["image_id"], first["width"], first["size_bytes"]) == (str(one), 4, 1000)
    assert (second["camera"], second["exif_datetime"]) == ("Maker X", "2026:05:01 12:00:00")
    assert first["links"]["thumb"].endswith(f"/images/{one}/thumb?v={digest('a').hex()[:12]}")


async def test_keeping_both_leaves_the_list_and_outlives_tagging_again(world: World) -> None:
    one, two = await same_photo(world)
    async with world.client(*ALL) as http:
        group = await put_choice(http, pair_of(one, two), "both")
        await world.tag(two, ("dog", 0.9), embedding=ALIKE, sha256=digest("bb"), perceptual_hash=15)
        left = await groups(http, "same_photo")
        [decided] = await groups(http, "same_photo", decided="true")
        none = await groups(http, "identical", decided="true")

    assert (group["decision"]["keep"], group["decision"]["by"]) == ("both", "alice")
    assert group["suggestion"] is None
    assert (left, none) == ([], [])
    assert decided["pair"] == pair_of(one, two)
    assert decided["decision"] == group["decision"]
    assert not await is_excluded(world, two)


async def test_a_decision_is_about_contents_wherever_their_files_are(world: World) -> None:
    one, two = await same_photo(world)
    async with world.client(*ALL) as http:
        await put_choice(http, pair_of(one, two), "both")
        await world.pool.execute("UPDATE images SET status = 'missing' WHERE image_id = $1", two)
        moved = await put(world, "new/b.jpg", "bb", embedding=ALIKE, perceptual_hash=15)
        assert await groups(http, "same_photo") == []
        [decided] = await groups(http, "same_photo", decided="true")
        await put(world, "new/b.jpg", "other bytes", embedding=ALIKE, perceptual_hash=15)
        [undecided] = await groups(http, "same_photo")

    assert decided["pair"] == pair_of(one, moved)
    assert undecided["decision"] is None, "the content is another one"


async def test_the_other_image_is_excluded_and_included_again_when_it_is_taken_back(
    world: World,
) -> None:
    one, two = await same_photo(world)
    async with world.client(*ALL) as http:
        group = await put_choice(http, pair_of(one, two), one)
        excluded = await is_excluded(world, two)
        back = await http.delete(f"/duplicates/{pair_of(one, two)}")
        again = await http.delete(f"/duplicates/{pair_of(one, two)}")
        [listed] = await groups(http, "same_photo")

    assert group["decision"]["keep"] == str(one)
    assert excluded
    assert back.json()["decision"] is None
    assert again.status_code == 200
    assert not await is_excluded(world, two)
    assert listed["decision"] is None


async def test_a_decision_that_is_changed_excludes_the_other_one(world: World) -> None:
    one, two = await same_photo(world)
    async with world.client(*ALL) as http:
        await put_choice(http, pair_of(one, two), one)
        await put_choice(http, pair_of(one, two), two)

    assert (await is_excluded(world, one), await is_excluded(world, two)) == (True, False)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_a_person_excluded_alone_stays_excluded(world: World, when: str) -> None:
    one, two = await same_photo(world)
    async with world.client(*ALL) as http:
        if when == "before":
            await http.patch(f"/images/{two}", json={"excluded": True})
        await put_choice(http, pair_of(one, two), one)
        if when == "after":
            await http.patch(f"/images/{two}", json={"excluded": True})
        await http.delete(f"/duplicates/{pair_of(one, two)}")

    assert await is_excluded(world, two)


async def test_what_a_person_excluded_with_many_stays_excluded(world: World) -> None:
    one, two = await same_photo(world)
    async with world.client(*ALL) as http:
        await put_choice(http, pair_of(one, two), one)
        for excluded in (False, True):
            body = {"filter": {"folder": "photos"}, "change": {"excluded": excluded}}
            sent = await http.post("/images/changes", json=body)
            assert sent.status_code == 202, sent.text
            await work(world)
        await http.delete(f"/duplicates/{pair_of(one, two)}")

    assert await is_excluded(world, two)


async def test_an_image_that_two_decisions_exclude_is_included_with_the_last(world: World) -> None:
    one, two = await same_photo(world)
    three = await put(world, "c.jpg", "ccc", embedding=ALIKE, perceptual_hash=0b1101)
    async with world.client(*ALL) as http:
        await put_choice(http, pair_of(one, two), one)
        await put_choice(http, pair_of(three, two), three)
        await http.delete(f"/duplicates/{pair_of(one, two)}")
        still = await is_excluded(world, two)
        await http.delete(f"/duplicates/{pair_of(three, two)}")

    assert still
    assert not await is_excluded(world, two)


async def test_of_copies_each_is_decided_against_the_first_and_moves_with_its_decision(
    world: World,
) -> None:
    copies = [await put(world, f"{name}/x.jpg", "same", owner=None) for name in "abc"]
    async with world.client(Scope.ADMIN) as http:
        [group] = await groups(http, "identical")
        await put_choice(http, pair_of(copies[0], copies[1]), "both")
        [half] = await groups(http, "identical")
        await put_choice(http, pair_of(copies[0], copies[2]), copies[0])
        done = await groups(http, "identical")
        await world.pool.execute(
            "UPDATE images SET status = 'missing' WHERE image_id = $1", copies[2]
        )
        moved = await put(world, "d/c/x.jpg", "same", owner=None)
        async with world.pool.transaction() as tx:
            await moving.inherit(tx, [digest("same")], [moved])
        after = await groups(http, "identical")
        decided = await groups(http, "identical", decided="true")

    assert [one["pair"] for one in group["pairs"]] == [
        pair_of(copies[0], other) for other in copies[1:]
    ]
    assert [one["decision"] is None for one in half["pairs"]] == [False, True]
    assert half["decision"] is None
    assert (done, after) == ([], [])
    assert pair_of(copies[0], moved) in [one["pair"] for one in decided]
    assert await is_excluded(world, moved)


async def test_a_copy_of_which_both_are_kept_moves_with_that_decision_alone(world: World) -> None:
    one = await put(world, "a/x.jpg", "same", owner=None)
    two = await put(world, "b/x.jpg", "same", owner=None)
    async with world.client(Scope.ADMIN) as http:
        await put_choice(http, pair_of(one, two), "both")
        await world.pool.execute("UPDATE images SET status = 'missing' WHERE image_id = $1", two)
        moved = await put(world, "c/b/x.jpg", "same", owner=None)
        async with world.pool.transaction() as tx:
            await moving.inherit(tx, [digest("same")], [moved])

        assert await groups(http, "identical") == []


async def test_bursts_are_groups_of_shots_and_no_other_level_is_among_them(world: World) -> None:
    shots = [
        await put(
            world, f"s{number}.jpg", f"shot {number}", embedding=NEAR if number else ALIKE,
            exif_datetime=NOON.replace(second=10 * number), perceptual_hash=2**number * 255,
        )
        for number in (0, 1)
    ]  # fmt: skip
    await put(world, "copy.jpg", "shot 1", embedding=NEAR, exif_datetime=NOON.replace(second=10))
    await put(world, "late.jpg", "late", embedding=NEAR, exif_datetime=NOON.replace(minute=5))
    await put(world, "else.jpg", "else", embedding=ELSE, exif_datetime=NOON.replace(second=20))
    await put(world, "undated.jpg", "undated", embedding=NEAR)
    async with world.client(*ALL) as http:
        [burst] = await groups(http, "burst")
        totals = (await http.get("/duplicates", params={"total": "true"})).json()
        await put_choice(http, burst["pair"], shots[0])
        left = await groups(http, "burst")
        after = (await http.get("/duplicates", params={"total": "true"})).json()

    assert burst["image_ids"][0] == str(shots[0])
    assert len(burst["image_ids"]) == 2
    assert burst["seconds_apart"] == 10
    assert burst["cosine"] == pytest.approx(0.953, abs=0.01)
    assert left == []
    assert totals["totals"] | {"bytes_to_gain": 0} == {
        "identical": 1, "same_photo": 0, "burst": 1, "bytes_to_gain": 0, "is_exact": True,
    }  # fmt: skip
    assert totals["bytes_to_gain"] == len("shot 1") * 1000
    assert after["totals"]["burst"] == 0


async def test_a_long_row_of_bursts_is_paged_and_each_stands_once(world: World) -> None:
    expected: list[str] = []
    for number in range(5):
        pair = [
            await put(
                world, f"{number}-{shot}.jpg", f"{number} {shot}", embedding=ALIKE,
                exif_datetime=NOON.replace(hour=number + 1, second=shot),
                perceptual_hash=255 << (8 * shot),
            )
            for shot in (0, 1)
        ]  # fmt: skip
        expected.insert(0, pair_of(*pair))
    async with world.client(*ALL) as http:
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            more = {"cursor": cursor} if cursor else {}
            answer = await http.get("/duplicates", params={"level": "burst", "limit": "2"} | more)
            page = answer.json()
            seen += [one["pair"] for one in page["groups"]]
            cursor = page["next"]

    assert seen == expected


@pytest.mark.parametrize("level", ["identical", "same_photo"])
async def test_decided_pairs_come_page_by_page_the_newest_first(world: World, level: str) -> None:
    of = (lambda _: "0") if level == "identical" else str
    one = await put(world, "0.jpg", "0")
    others = [await put(world, f"{number}.jpg", of(number)) for number in range(1, 4)]
    async with world.client(*ALL) as http:
        for other in others:
            await put_choice(http, pair_of(one, other), "both")
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            wanted = {"level": level, "decided": "true", "limit": "1"}
            more = {"cursor": cursor} if cursor else {}
            page = (await http.get("/duplicates", params=wanted | more)).json()
            seen += [group["pair"] for group in page["groups"]]
            cursor = page["next"]

        for cursor in ("f" * 48, "f" * 64, "f" * 80):
            answer = await http.get("/duplicates", params={"decided": "true", "cursor": cursor})
            assert answer.status_code == 200, answer.text
            for other_level in ("identical", "same_photo", "burst"):
                wanted = {"level": other_level, "cursor": cursor}
                assert (await http.get("/duplicates", params=wanted)).status_code == 200

    assert seen == [pair_of(one, other) for other in others[::-1]]


async def test_decisions_of_others_and_of_other_levels_are_no_empty_pages(world: World) -> None:
    mine = await put(world, "a.jpg", "a"), await put(world, "b.jpg", "b")
    copies = [await put(world, f"copy/{n}.jpg", "same") for n in range(3)]
    theirs = [await put(world, f"bob/{n}.jpg", f"bob {n}", owner="bob") for n in range(4)]
    async with world.client(*ALL) as http, world.client(Scope.ADMIN, owner="root") as admin:
        await put_choice(http, pair_of(*mine), "both")
        for copy in copies[1:]:
            await put_choice(http, pair_of(copies[0], copy), "both")
        for one in theirs[1:]:
            await put_choice(admin, pair_of(theirs[0], one), "both")
        wanted = {"decided": "true", "limit": "1"}
        pages = [
            (await http.get("/duplicates", params={**wanted, "level": level})).json()
            for level in ("same_photo", "identical")
        ]

    assert [len(page["groups"]) for page in pages] == [1, 1], "on the first page"
    assert pages[0]["next"] is None
    assert pages[1]["next"] is not None


async def test_only_an_owner_of_both_or_an_administrator_decides(world: World) -> None:
    one = await put(world, "a.jpg", "a")
    two = await put(world, "b.jpg", "b", owner="bob")
    common = await put(world, "c.jpg", "c", owner=None)
    async with world.client(*ALL) as http, world.client(Scope.ADMIN, owner="root") as admin:
        hidden = await http.put(f"/duplicates/{pair_of(one, two)}", json={"keep": "both"})
        not_own = await http.put(f"/duplicates/{pair_of(one, common)}", json={"keep": "both"})
        await put_choice(admin, pair_of(one, two), one)
        not_back = await http.delete(f"/duplicates/{pair_of(one, two)}")

    problem_in(hidden, "image_not_found")
    problem_in(not_own, "scope_missing")
    problem_in(not_back, "image_not_found")
    assert await is_excluded(world, two)


async def test_owners_of_the_same_contents_decide_each_for_themselves(world: World) -> None:
    """Nobody includes, or is told of, an image of somebody else who has copies of the same."""
    mine = await put(world, "a.jpg", "a"), await put(world, "b.jpg", "bb")
    theirs = (
        await put(world, "bob/a.jpg", "a", owner="bob"),
        await put(world, "bob/b.jpg", "bb", owner="bob"),
    )
    my_pair, their_pair = pair_of(*mine), pair_of(*theirs)
    async with world.client(*ALL) as http, world.client(*ALL, owner="bob") as bob:
        await put_choice(http, my_pair, mine[0])
        untold = await bob.delete(f"/duplicates/{their_pair}")
        after_back = await is_excluded(world, mine[1])
        chosen = await put_choice(bob, their_pair, theirs[1])
        after_choice = [await is_excluded(world, one) for one in (*mine, *theirs)]
        own = (await http.put(f"/duplicates/{my_pair}", json={"keep": "both"})).json()
        await bob.delete(f"/duplicates/{their_pair}")
        at_last = [await is_excluded(world, one) for one in (*mine, *theirs)]

    assert untold.json()["decision"] is None
    assert after_back
    assert (chosen["decision"]["keep"], chosen["decision"]["by"]) == (str(theirs[1]), "bob")
    assert after_choice == [False, True, True, False]
    assert own["decision"]["keep"] == "both"
    assert at_last == [False, False, False, False]


async def test_what_is_no_pair_is_refused(world: World) -> None:
    one, two = await same_photo(world)
    failed = await put(world, "f.jpg", "f")
    row = await world.image(failed)
    async with world.pool.transaction() as tx:
        await image_tags.lock(tx, [failed])
        await tx.execute("DELETE FROM tagged_images WHERE image_id = $1", failed)
        await images.record_failures(
            tx, [FailedImage(failed, row.uri, row.path, None, None, "truncated", "")]
        )
    async with world.client(*ALL) as http:
        backwards = "~".join(map(str, sorted((one, two), reverse=True)))
        for pair in ("x", backwards, pair_of(one, failed), f"{one}~{one}"):
            answer = await http.put(f"/duplicates/{pair}", json={"keep": "both"})
            problem_in(answer, "pair_not_found")
        third = await http.put(f"/duplicates/{pair_of(one, two)}", json={"keep": str(failed)})
        problem_in(third, "invalid_request")
        for wanted in ({"level": "x"}, {"decided": "1"}, {"total": "x"}, {"cursor": "ab"}):
            problem_in(await http.get("/duplicates", params=wanted), "invalid_request")
