"""`/labels` and `PATCH /images/{id}`, on images that the tagging role has tagged."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.errors import ConfigurationError
from core.storage import labels
from core.storage.archive import images
from ingress.auth.api_keys import Scope
from photo_archive.labels import take_over
from schemas.image import image_id_of
from tests.fakes.vision import CAMERA
from tests.integration.ingress.world import MakeWorld, WatchedPool, World
from tests.integration.tagging.archive import Archive, arrival

LYNX = {
    "name": "lynx",
    "aliases": ["рысь"],
    "templates": ["a photo of a {} in the snow"],
    "threshold": 0.28,
}


@pytest.fixture
def world(archive: Archive, tmp_path: Path) -> World:
    return MakeWorld(WatchedPool(archive.pool), tmp_path)()


@pytest.fixture
async def admin(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(Scope.ADMIN) as client:
        yield client


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_labels_are_shown_with_their_version_and_replaced_at_once(
    admin: httpx.AsyncClient,
) -> None:
    before = await admin.get("/labels")
    wanted = [LYNX, {"name": "dog"}]

    answer = await admin.put("/labels", json={"labels": wanted, "version": 1})

    assert (before.status_code, before.headers["etag"]) == (200, '"1"')
    assert [label["name"] for label in before.json()["labels"]][:2] == ["cat", "dog"]
    assert answer.status_code == 200, answer.text
    assert answer.json()["version"] == 2
    untaught = {"photos": [], "by_words": True, "teaching": None}
    assert answer.json()["labels"] == [
        {**LYNX, **untaught},
        {"name": "dog", "aliases": [], "templates": [], "threshold": None, **untaught},
    ]
    assert (await admin.get("/labels")).json() == answer.json()


async def test_a_change_based_on_other_labels_than_those_in_force_is_refused(
    admin: httpx.AsyncClient,
) -> None:
    body = {"labels": [{"name": "cat"}]}

    by_body = await admin.put("/labels", json={**body, "version": 7})
    by_header = await admin.put("/labels", json=body, headers={"If-Match": '"7"'})
    nonsense = await admin.put("/labels", json=body, headers={"If-Match": "seven"})
    met = await admin.put("/labels", json=body, headers={"If-Match": '"1"'})

    assert code(by_body) == (409, "labels_changed")
    assert code(by_header) == (412, "version_not_met")
    assert code(nonsense) == (412, "version_not_met")
    assert (met.status_code, met.json()["version"]) == (200, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [{"name": ""}],
        [{"name": "a\x00b"}],
        [{"name": "x" * 201}],
        [{"name": "cat"}, {"name": "Cat"}],
        [{"name": "cat", "aliases": ["CAT"]}],
        [{"name": "cat", "aliases": ["x\x00"]}],
        [{"name": "cat", "aliases": [f"a{n}" for n in range(101)]}],
        [{"name": "cat", "templates": [" "]}],
        [{"name": "cat", "templates": ["a photo of a cat"]}],
        [{"name": "cat"}, {"name": " ｃａｔ"}],
        [{"name": "cat", "templates": ["x" * 501]}],
        [{"name": "cat", "threshold": 1.5}],
        [{"name": "cat", "thresold": 0.5}],
    ],
)
async def test_labels_that_break_a_rule_change_nothing(
    admin: httpx.AsyncClient, archive: Archive, wrong: Any
) -> None:
    answer = await admin.put("/labels", json={"labels": wrong})

    assert code(answer) == (422, "invalid_request")
    assert (await labels.current(archive.pool)).version == 1


async def test_only_an_admin_changes_labels(world: World) -> None:
    async with world.client(Scope.READ, Scope.UPLOAD) as client:
        assert (await client.get("/labels")).status_code == 200
        answer = await client.put("/labels", json={"labels": [{"name": "x"}]})
    assert code(answer) == (403, "scope_missing")


async def test_progress_is_seen_until_the_archive_has_caught_up(
    admin: httpx.AsyncClient, archive: Archive
) -> None:
    await archive.tag(*(arrival(number) for number in range(12)))
    changed = await admin.put("/labels", json={"labels": [{"name": "sea"}, {"name": "sky"}]})
    assert changed.json()["rescoring"] == {
        "is_done": False, "total": 0, "rescored": 0, "older": 12,
    }  # fmt: skip

    await archive.rescore()

    assert (await admin.get("/labels")).json()["rescoring"] == {
        "is_done": True, "total": 12, "rescored": 12, "older": 0,
    }  # fmt: skip


async def test_tags_by_hand_are_shown_searched_and_given_back(
    admin: httpx.AsyncClient, archive: Archive
) -> None:
    await archive.tag(arrival(1))
    path = f"/images/{image_id_of('file:p/1.jpg')}"
    by_model = (await admin.get(path)).json()["tags"]

    answer = await admin.patch(path, json={"tags": [{"tag": "us", "score": 0.5}, {"tag": "sea"}]})

    assert answer.status_code == 200, answer.text
    assert answer.json()["is_tagged_by_hand"] is True
    assert answer.json()["image"]["tags"] == [
        {"tag": "sea", "score": 1.0},
        {"tag": "us", "score": 0.5},
    ]
    assert (await archive.rows())["p/1.jpg"]["listed"] == {"sea": 1.0, "us": 0.5}

    hidden = await admin.patch(path, json={"excluded": True})
    assert hidden.json()["excluded"] is True
    assert hidden.json()["is_tagged_by_hand"] is True
    assert (await archive.rows())["p/1.jpg"]["listed"] == {}

    back = await admin.patch(path, json={"tags": None, "excluded": False})
    assert back.json()["image"]["tags"] == by_model
    assert (back.json()["excluded"], back.json()["is_tagged_by_hand"]) == (False, False)
    assert len((await archive.rows())["p/1.jpg"]["listed"]) == len(by_model)


async def test_what_people_decided_is_seen_where_the_image_is_seen(
    admin: httpx.AsyncClient, archive: Archive
) -> None:
    await archive.tag(arrival(1), arrival(2))
    path = f"/images/{image_id_of('file:p/1.jpg')}"
    decided = {"tags": [{"tag": "us", "score": 0.5}], "excluded": True}
    assert (await admin.patch(path, json=decided)).status_code == 200

    shown = (await admin.get(path)).json()
    other = (await admin.get(f"/images/{image_id_of('file:p/2.jpg')}")).json()
    listed = {one["image_id"]: one for one in (await admin.get("/images")).json()["images"]}

    assert (shown["excluded"], shown["hand_tags"]) == (True, decided["tags"])
    assert shown["tags"] == shown["hand_tags"]
    assert (other["excluded"], other["hand_tags"]) == (False, None)
    assert (shown["camera"], other["camera"]) == (CAMERA, CAMERA)
    assert listed == {
        one["image_id"]: {**one, "score": None, "terms": None} for one in (shown, other)
    }


async def test_tags_by_hand_are_seen_before_the_image_is_tagged(
    admin: httpx.AsyncClient, archive: Archive
) -> None:
    async with archive.pool.transaction() as tx:
        image_id = image_id_of("file:p/1.jpg")
        await images.accept(tx, image_id=image_id, uri="file:p/1.jpg", path="p/1.jpg")
    await admin.patch(f"/images/{image_id}", json={"tags": [{"tag": "us"}]})

    shown = (await admin.get(f"/images/{image_id}")).json()

    assert shown["status"] == "accepted"
    assert (shown["tags"], shown["hand_tags"]) == (None, [{"tag": "us", "score": 1.0}])


async def test_nobody_changes_what_is_not_theirs(world: World, archive: Archive) -> None:
    await archive.tag(arrival(1, owner="bob"), arrival(2))
    async with world.client(Scope.UPLOAD, owner="alice") as alice:
        for number in (1, 2, 3):
            path = f"/images/{image_id_of(f'file:p/{number}.jpg')}"
            answer = await alice.patch(path, json={"excluded": True})
            assert code(answer) == (404, "image_not_found")
    async with world.client(Scope.UPLOAD, Scope.READ, owner="alice") as alice:
        path = f"/images/{image_id_of('file:p/2.jpg')}"
        for answer in (await alice.patch(path, json={"excluded": True}), await alice.delete(path)):
            assert code(answer) == (403, "scope_missing")
            assert "'admin'" in answer.json()["detail"]
    async with world.client(Scope.UPLOAD, owner="bob") as bob:
        path = f"/images/{image_id_of('file:p/1.jpg')}"
        assert (await bob.patch(path, json={"excluded": True})).status_code == 200
        wrong = await bob.patch(path, json={"tags": [{"tag": "a"}, {"tag": "a"}]})
        assert code(wrong) == (422, "invalid_request")


async def test_a_file_of_labels_is_taken_over(
    archive: Archive, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"labels": [LYNX], "version": 1}), encoding="utf-8")

    assert await take_over(file) == 2

    assert [label.name for label in (await labels.current(archive.pool)).labels] == ["lynx"]
    with pytest.raises(ConfigurationError, match="version 1 is not in force"):
        await take_over(file)
    file.write_text(json.dumps({"labels": [{"name": "a"}, {"name": "A"}]}), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="stands twice"):
        await take_over(file)
    with pytest.raises(ConfigurationError, match="No such file"):
        await take_over(tmp_path / "none.json")
