"""Whose an image is: who sees, changes and deletes it, over HTTP."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from core.storage.archive import images
from ingress.auth.api_keys import Scope
from schemas.image import ImageArrived, image_id_of
from tests.fakes.pictures import jpeg
from tests.integration.ingress.photos.test_images import get, uploaded
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import MakeWorld, World

FILE = "photos/parade.jpg"
FILE_ID = image_id_of(f"file:{FILE}")


async def change(
    world: World, image_id: UUID, owner: str, *scopes: Scope, **patch: Any
) -> httpx.Response:
    wanted = scopes or (Scope.UPLOAD, Scope.READ)
    async with world.client(*wanted, owner=owner) as http:
        return await http.patch(f"/images/{image_id}", json=patch)


async def delete(world: World, image_id: UUID, owner: str, *scopes: Scope) -> httpx.Response:
    async with world.client(*(scopes or (Scope.UPLOAD, Scope.READ)), owner=owner) as http:
        return await http.delete(f"/images/{image_id}")


async def scanned(world: World, number: int = 1) -> UUID:
    """An image that a command announced: nobody owns it, all may see it."""
    uri = f"file:photos/{number}.jpg"
    async with world.pool.transaction() as tx:
        await images.accept(tx, image_id=image_id_of(uri), uri=uri, path=uri[5:])
    return image_id_of(uri)


async def seen_by(world: World, owner: str) -> set[str]:
    """What each way to read shows an owner: the images that all of them show, and no other."""
    found = [
        {image["image_id"] for image in (await get(world, path, owner)).json()["images"]}
        for path in ("/images", "/images?tag=cat", "/images?from=1990-01-01", "/images?text=cat")
    ]
    assert all(one == found[0] for one in found), found
    for row in await world.pool.fetch("SELECT image_id FROM images WHERE status <> 'deleted'"):
        image_id = str(row["image_id"])
        for tail in ("", "/content", "/similar"):
            answer = await get(world, f"/images/{image_id}{tail}", owner)
            is_seen = answer.status_code == 200 or "its bytes are gone" in answer.text
            assert is_seen == (image_id in found[0]), (tail, answer.text)
    counted = {
        one["tag"]: one["images"] for one in (await get(world, "/tags", owner)).json()["tags"]
    }
    assert counted.get("cat", 0) == len(found[0])
    statuses = (await get(world, "/stats", owner)).json()["statuses"]
    assert statuses.get("tagged", 0) == len(found[0])
    return found[0]


@pytest.mark.parametrize("other", ["bob", None])
async def test_the_same_bytes_from_somebody_else_take_no_photo_away(
    world: World, other: str | None
) -> None:
    mine = await uploaded(world, jpeg(1))
    await world.tag(mine, ("cat", 0.9))
    answer = await change(world, mine, "alice", tags=[{"tag": "cat"}, {"tag": "grandma"}])
    assert answer.status_code == 200, answer.text

    if other:
        assert await uploaded(world, jpeg(1), other) == mine
    else:  # a direct record, as the tagging role writes it
        await world.tag(mine, ("cat", 0.8))

    assert await seen_by(world, "alice") == {str(mine)}
    assert await seen_by(world, "bob") == ({str(mine)} if other else set())
    assert await seen_by(world, "carol") == set()
    shown = (await get(world, f"/images/{mine}")).json()
    assert [tag["tag"] for tag in shown["tags"]] == ["cat", "grandma"]
    assert (await change(world, mine, "alice", excluded=True)).status_code == 200


async def test_all_owners_change_an_image_and_it_says_who_did_last(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    await uploaded(world, jpeg(1), "bob")
    await world.tag(image_id, ("cat", 0.9))

    for owner in ("alice", "bob"):
        answer = await change(world, image_id, owner, tags=[{"tag": f"{owner}'s"}])
        assert answer.status_code == 200, answer.text
        decided = await world.pool.fetchrow("SELECT decided_by, decided_at FROM images")
        assert decided is not None
        assert decided["decided_by"] == owner
        assert decided["decided_at"] is not None
    shown = (await get(world, f"/images/{image_id}", "alice")).json()
    assert [tag["tag"] for tag in shown["hand_tags"]] == ["bob's"]


async def test_deleting_ends_ones_own_ownership_and_the_image_goes_with_the_last_one(
    world: World,
) -> None:
    image_id = await uploaded(world, jpeg(1))
    await uploaded(world, jpeg(1), "bob")
    await world.tag(image_id, ("cat", 0.9))

    first = await delete(world, image_id, "alice")
    alices = await seen_by(world, "alice")
    bobs = await seen_by(world, "bob")
    again = await delete(world, image_id, "alice")
    last = await delete(world, image_id, "bob")

    assert (first.status_code, first.json()["remains"]) == (200, True)
    assert (alices, bobs) == (set(), {str(image_id)})
    problem_in(again, "image_not_found")
    assert (last.status_code, last.json()["remains"]) == (200, False)
    assert await seen_by(world, "bob") == set()
    assert await world.count("tagged_images", "image_owners") == 0
    assert await world.pool.fetchval("SELECT status FROM images") == "deleted"


async def test_what_one_deleted_another_sends_as_a_new_image_of_their_own(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    await world.tag(image_id, ("cat", 0.9))
    await change(world, image_id, "alice", tags=[{"tag": "grandma"}])
    await delete(world, image_id, "alice")

    assert await uploaded(world, jpeg(1), "bob") == image_id
    await world.tag(image_id, ("cat", 0.7))

    assert await world.owners(image_id) == ["bob"]
    assert await seen_by(world, "alice") == set()
    assert await seen_by(world, "bob") == {str(image_id)}
    assert (await get(world, f"/images/{image_id}", "bob")).json()["hand_tags"] is None


async def test_an_owner_who_deleted_it_may_send_it_again(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    await delete(world, image_id, "alice")

    assert await uploaded(world, jpeg(1)) == image_id

    await world.tag(image_id, ("cat", 0.7))
    assert await seen_by(world, "alice") == {str(image_id)}


async def test_what_nobody_owns_all_see_and_nobody_takes_it_from_them(world: World) -> None:
    image_id = await scanned(world)
    await world.tag(image_id, ("cat", 0.9))

    for answer in (
        await delete(world, image_id, "alice"),
        await change(world, image_id, "alice", excluded=True),
    ):
        problem = problem_in(answer, "scope_missing")
        assert answer.status_code == 403
        assert "'admin'" in problem["detail"]
    for without_read in (
        await delete(world, image_id, "alice", Scope.UPLOAD),
        await change(world, image_id, "alice", Scope.UPLOAD, excluded=True),
    ):
        problem_in(without_read, "image_not_found")


async def test_an_image_open_to_all_stays_so_when_it_gets_and_loses_an_owner(
    world: World, make_world: MakeWorld
) -> None:
    (make_world.photos / "parade.jpg").write_bytes(jpeg(1))
    async with world.pool.transaction() as tx:
        await images.accept(tx, image_id=FILE_ID, uri=f"file:{FILE}", path=FILE)
    await world.tag(FILE_ID, ("cat", 0.9))

    await asked_for(make_world, "alice")
    by_owner = await change(world, FILE_ID, "alice", tags=[{"tag": "cat"}])
    left = await delete(world, FILE_ID, "alice")

    assert by_owner.status_code == 200, by_owner.text
    assert (left.status_code, left.json()["remains"]) == (200, True)
    assert await seen_by(world, "alice") == await seen_by(world, "carol") == {str(FILE_ID)}
    problem_in(await delete(world, FILE_ID, "alice"), "scope_missing")


async def asked_for(make_world: MakeWorld, owner: str) -> ImageArrived:
    """Ask for a file to be tagged; return the event."""
    world = make_world(wait_for_tags_s=0)
    async with world.client(Scope.PATHS, owner=owner) as http:
        answer = await http.post("/tag/image", json={"image_path": FILE})
    assert answer.status_code == 202, answer.text
    return ImageArrived.model_validate_json(world.broker.records[-1].value)


async def test_a_file_is_owned_by_all_whose_keys_asked_for_its_tags(
    world: World, make_world: MakeWorld
) -> None:
    (make_world.photos / "parade.jpg").write_bytes(jpeg(1))

    events = [await asked_for(make_world, owner) for owner in ("alice", "bob")]

    await world.tag(FILE_ID, ("cat", 0.9))
    assert [event.owner for event in events] == ["alice", "bob"]
    assert await seen_by(world, "alice") == await seen_by(world, "bob") == {str(FILE_ID)}
    assert await seen_by(world, "carol") == set()


async def test_a_photo_of_two_keeps_the_name_that_the_first_gave_it(world: World) -> None:
    async with (
        world.client(Scope.UPLOAD, Scope.READ) as alice,
        world.client(Scope.UPLOAD, owner="bob") as bob,
    ):
        for http, name in ((alice, "a.jpg"), (alice, "b.jpg"), (bob, "secret.jpg")):
            answer = await http.post(
                f"/images/upload?filename={name}",
                content=jpeg(1),
                headers={"content-type": "image/jpeg"},
            )
            assert answer.status_code == 202

    paths = [ImageArrived.model_validate_json(it.value).path for it in world.broker.records]
    # Alone, its owner names it anew; `b.jpg` is not written before it is tagged.
    assert paths == ["a.jpg", "b.jpg", "a.jpg"]


async def test_an_upload_that_fails_makes_nobody_an_owner(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    async with world.client(Scope.UPLOAD, owner="bob") as bob:
        cut = await bob.post(
            "/images/upload", content=jpeg(1)[:20], headers={"content-type": "image/jpeg"}
        )
        world.deps.departures.max_rows = 0
        full = await bob.post(
            "/images/upload", content=jpeg(1), headers={"content-type": "image/jpeg"}
        )

    assert cut.status_code == 422, cut.text
    assert full.status_code == 503, full.text
    assert await world.owners(image_id) == ["alice"]


async def test_a_revoked_key_leaves_its_owner_the_images(world: World) -> None:
    image_id = await uploaded(world, jpeg(1))
    await world.tag(image_id, ("cat", 0.9))

    await world.pool.execute("UPDATE api_keys SET revoked_at = now()")

    assert await seen_by(world, "alice") == {str(image_id)}  # by a new key


@pytest.mark.parametrize("round_", range(3))
async def test_an_upload_and_the_last_deletion_at_once_leave_an_owner_or_nothing(
    world: World, round_: int
) -> None:
    image_id = await uploaded(world, jpeg(round_))

    await asyncio.gather(
        delete(world, image_id, "alice"),
        uploaded(world, jpeg(round_), "bob"),
        delete(world, image_id, "alice"),
    )

    assert await world.owners(image_id) == ["bob"]
    assert (await get(world, f"/images/{image_id}", "bob")).status_code == 200
    problem_in(await get(world, f"/images/{image_id}", "alice"), "image_not_found")


async def test_the_jobs_photos_are_shown_to_who_may_see_them(world: World) -> None:
    job_id = image_id_of("any")
    mine, theirs = await uploaded(world, jpeg(1)), await uploaded(world, jpeg(2), "bob")
    await world.pool.execute("UPDATE images SET job_id = $1", job_id)

    for owner, expected in (("alice", mine), ("bob", theirs)):
        page = (await get(world, f"/images?job={job_id}", owner)).json()
        assert [image["image_id"] for image in page["images"]] == [str(expected)]
