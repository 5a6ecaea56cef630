"""`/images/changes`: one decision about all that a filter finds, over HTTP."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from consumers.best_images import BestImages
from consumers.upkeep.changing import ImageChanging
from core.storage.deciding import image_changes
from core.storage.deciding.image_changes import MOST_OPEN
from ingress.auth.api_keys import Scope
from tests.fakes.pictures import jpeg
from tests.integration.ingress.photos.test_finding import ids
from tests.integration.ingress.photos.test_images import get, uploaded
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import World

RIGHTS = (Scope.UPLOAD, Scope.READ)


async def send(
    world: World, body: dict[str, Any], owner: str = "alice", *scopes: Scope
) -> httpx.Response:
    async with world.client(*(scopes or RIGHTS), owner=owner) as http:
        return await http.post("/images/changes", json=body)


async def work(world: World) -> None:
    runner = ImageChanging(world.pool, BestImages(is_softmax=True))
    while await runner.step():
        pass


async def dogs(world: World, owner: str, *numbers: int) -> list[UUID]:
    made = []
    for number in numbers:
        image_id = await uploaded(world, jpeg(number), owner)
        await world.tag(image_id, ("dog", 0.7), ("cat", 0.2))
        made.append(image_id)
    return made


async def test_a_wrong_tag_leaves_in_one_stroke_and_comes_back(world: World) -> None:
    mine = await dogs(world, "alice", 1, 2, 3)
    theirs = await dogs(world, "bob", 4)
    body = {"filter": {"text": "a dog", "min_score": 0.5}, "change": {"remove_tag": "dog"}}

    counted = await send(world, {**body, "dry_run": True})
    assert counted.status_code == 200
    assert counted.json() == {"matches": 3, "would_change": 3, "is_exact": True}
    assert len(await ids(world, "tag=dog")) == 3

    asked = await send(world, body)
    assert asked.status_code == 202
    assert asked.json()["state"] == "waiting"
    assert asked.json()["filter"] == body["filter"]
    await work(world)

    link = asked.headers["location"].removeprefix("http://archive")
    done = (await get_own(world, link)).json()
    assert (done["state"], done["matches"], done["changed"]) == ("done", 3, 3)
    assert await ids(world, "tag=dog") == []
    assert await ids(world, "tag=dog", "bob") == theirs
    shown = (await get(world, f"/images/{mine[0]}")).json()
    assert shown["rejected_tags"] == ["dog"]
    assert [tag["tag"] for tag in shown["tags"]] == ["cat"]

    async with world.client(*RIGHTS) as http:
        undoing = await http.post(f"{link}/undo")
        assert undoing.status_code == 202
        assert undoing.json()["state"] == "undoing"
        await work(world)
        undone = (await http.get(link)).json()
        assert (undone["state"], undone["restored"], undone["failed"]) == ("undone", 3, 0)
        assert undone["can_undo_until"] is None
        problem_in(await http.post(f"{link}/undo"), "nothing_to_undo")
        listed = (await http.get("/images/changes")).json()
        assert [one["change_id"] for one in listed["changes"]] == [undone["change_id"]]
    assert len(await ids(world, "tag=dog")) == 3


async def get_own(world: World, path: str, owner: str = "alice") -> httpx.Response:
    async with world.client(*RIGHTS, owner=owner) as http:
        return await http.get(path)


async def test_what_one_may_see_and_not_change_is_counted_and_left(world: World) -> None:
    mine = await dogs(world, "alice", 1)
    await dogs(world, "bob", 2)
    await world.pool.execute("UPDATE images SET open_to_all = true WHERE image_id <> $1", mine[0])
    body = {"filter": {"all": ["dog"]}, "change": {"excluded": True}}

    counted = (await send(world, {**body, "dry_run": True})).json()
    assert counted == {"matches": 2, "would_change": 1, "is_exact": True}
    admin = (await send(world, {**body, "dry_run": True}, "root", Scope.ADMIN)).json()
    assert admin == {"matches": 2, "would_change": 2, "is_exact": True}

    answer = await send(world, body)
    await work(world)
    assert await ids(world, "excluded=true") == mine
    link = answer.headers["location"].removeprefix("http://archive")
    problem_in(await get_own(world, link, "bob"), "change_not_found")
    async with world.client(*RIGHTS, owner="bob") as http:
        problem_in(await http.post(f"{link}/undo"), "change_not_found")
        assert (await http.get("/images/changes")).json()["changes"] == []


async def test_a_lesser_key_does_not_undo_what_an_administrator_changed(world: World) -> None:
    await dogs(world, "bob", 1)
    body = {"filter": {"all": ["dog"]}, "change": {"excluded": True}}
    answer = await send(world, body, "alice", Scope.ADMIN)
    await work(world)
    link = answer.headers["location"].removeprefix("http://archive")

    async with world.client(*RIGHTS) as http:
        problem_in(await http.post(f"{link}/undo"), "scope_missing")
    await work(world)

    assert await ids(world, "excluded=true", "bob") != []
    async with world.client(Scope.ADMIN) as http:
        assert (await http.post(f"{link}/undo")).status_code == 202


async def test_a_change_with_a_key_is_made_once(world: World) -> None:
    await dogs(world, "alice", 1)
    body = {"filter": {"all": ["dog"]}, "change": {"excluded": True}}
    key = {"Idempotency-Key": "once"}
    async with world.client(*RIGHTS) as http, world.client(*RIGHTS, owner="bob") as bob:
        first, again = [await http.post("/images/changes", json=body, headers=key) for _ in "12"]
        other = await http.post("/images/changes", json={**body, "delay_s": 9}, headers=key)
        bobs = await bob.post("/images/changes", json=body, headers=key)
        made = (await http.get("/images/changes")).json()["changes"]

    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    problem_in(other, "idempotency_key_reused")
    assert "idempotency-replayed" not in bobs.headers
    assert len(made) == 1


async def test_the_key_of_a_change_that_was_refused_is_free(world: World) -> None:
    body = {"filter": {"all": ["dog"]}, "change": {"excluded": True}}
    key = {"Idempotency-Key": "once"}
    async with world.client(*RIGHTS) as http:
        for _ in range(MOST_OPEN):
            await http.post("/images/changes", json=body)
        problem_in(await http.post("/images/changes", json=body, headers=key), "too_many_changes")
        await work(world)
        assert (await http.post("/images/changes", json=body, headers=key)).status_code == 202


async def test_a_list_of_changes_is_no_list_of_thousands_of_images(world: World) -> None:
    chosen = [str(uuid4()) for _ in range(150)]
    answer = await send(world, {"filter": {"ids": chosen}, "change": {"excluded": True}})
    whole = (await get_own(world, answer.headers["location"].removeprefix("http://archive"))).json()
    async with world.client(*RIGHTS) as http:
        [listed] = (await http.get("/images/changes")).json()["changes"]
        kept = await http.put("/filters/many", json={"filter": {"ids": chosen}})
        few = await http.put("/filters/few", json={"filter": {"ids": chosen[:100]}})

    assert whole["filter"] == {"ids": chosen}
    assert listed["filter"] == {"ids": chosen[:100]}
    problem_in(kept, "invalid_request")
    assert few.status_code == 200


async def test_chosen_images_are_changed(world: World) -> None:
    mine = await dogs(world, "alice", 1, 2, 3)
    body = {
        "filter": {"ids": [str(one) for one in (*mine[:2], uuid4())]},
        "change": {"add_tag": "grandma"},
    }

    assert (await send(world, body)).status_code == 202
    await work(world)

    assert sorted(await ids(world, "tag=grandma")) == sorted(mine[:2])
    assert await ids(world, "hand_tagged=true&order=arrival") == mine[1::-1]


async def test_deletions_are_not_undone_and_few_changes_are_open(world: World) -> None:
    mine = await dogs(world, "alice", 1, 2)
    answer = await send(world, {"filter": {"all": ["dog"]}, "change": {"delete": True}})
    link = answer.headers["location"].removeprefix("http://archive")
    await work(world)
    async with world.client(*RIGHTS) as http:
        assert (await http.get(link)).json()["can_undo_until"] is None
        said = problem_in(await http.post(f"{link}/undo"), "nothing_to_undo")
    assert "tombstone" in said["detail"]
    assert await ids(world, "") == []
    assert len(mine) == 2

    body = {"filter": {}, "change": {"excluded": True}}
    for _ in range(image_changes.MOST_OPEN):
        assert (await send(world, body)).status_code == 202
    problem_in(await send(world, body), "too_many_changes")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"filter": {}, "change": {}}, "invalid_request"),
        ({"filter": {}, "change": {"add_tag": "a", "excluded": True}}, "invalid_request"),
        ({"filter": {}, "change": {"delete": False}}, "invalid_request"),
        ({"filter": {"tags": ["a"]}, "change": {"delete": True}}, "invalid_request"),
        ({"filter": {"from": "never"}, "change": {"delete": True}}, "invalid_request"),
        ({"filter": {"min_score": 2}, "change": {"delete": True}}, "invalid_request"),
        ({"filter": {}, "change": {"add_tag": " "}}, "invalid_request"),
        ({"change": {"delete": True}}, "invalid_request"),
    ],
)
async def test_a_change_that_breaks_a_rule_changes_nothing(
    world: World, body: dict[str, Any], code: str
) -> None:
    problem_in(await send(world, body), code)
    assert await world.count("image_changes") == 0


async def test_a_change_needs_the_right_to_change_and_to_see(world: World) -> None:
    body = {"filter": {}, "change": {"excluded": True}, "dry_run": True}

    problem_in(await send(world, body, "alice", Scope.READ), "scope_missing")
    problem_in(await send(world, body, "alice", Scope.UPLOAD), "scope_missing")


async def test_one_of_no_tags_is_refused_and_is_not_all_photos(world: World) -> None:
    await dogs(world, "alice", 1)

    refused = await send(world, {"filter": {"any": []}, "change": {"delete": True}})

    problem_in(refused, "invalid_request")
    every = {"filter": {"all": [], "not": []}, "change": {"excluded": True}, "dry_run": True}
    assert (await send(world, every)).json()["matches"] == 1


async def test_a_deletion_with_a_delay_waits_and_can_be_taken_back_until_it_begins(
    world: World,
) -> None:
    mine = await dogs(world, "alice", 1, 2)
    body = {"filter": {"all": ["dog"]}, "change": {"delete": True}, "delay_s": 30}

    asked = (await send(world, body)).json()
    await work(world)

    assert asked["state"] == "waiting"
    assert asked["can_undo_until"] == asked["begins_at"] > asked["created_at"]
    assert len(await ids(world, "tag=dog")) == len(mine)
    async with world.client(*RIGHTS, owner="alice") as http:
        undone = await http.post(f"/images/changes/{asked['change_id']}/undo")
        assert (undone.status_code, undone.json()["state"]) == (202, "undone")
        await world.pool.execute("UPDATE image_changes SET begins_at = now() - interval '1 s'")
        await work(world)
        assert len(await ids(world, "tag=dog")) == len(mine)
        again = await http.post(f"/images/changes/{asked['change_id']}/undo")
        assert problem_in(again, "nothing_to_undo")


async def test_a_deletion_whose_delay_is_over_is_made(world: World) -> None:
    await dogs(world, "alice", 1, 2)
    body = {"filter": {"all": ["dog"]}, "change": {"delete": True}, "delay_s": 30}
    asked = (await send(world, body)).json()

    await world.pool.execute("UPDATE image_changes SET begins_at = now()")
    await work(world)

    assert await ids(world, "tag=dog") == []
    async with world.client(*RIGHTS, owner="alice") as http:
        problem_in(await http.post(f"/images/changes/{asked['change_id']}/undo"), "nothing_to_undo")
