"""Paths of over a thousand characters: shown whole, and found when they are sent back."""

from typing import Any

import httpx
import pytest

from ingress.auth.api_keys import Scope
from schemas.image import ImageArrived, image_id_of
from tests.fakes.pictures import jpeg
from tests.integration.ingress.world import MakeWorld, World

FOLDERS = [f"{number} отпуск {'ab' * 60}" for number in range(9)]  # a name takes 255 bytes
FOLDER = "/".join(["photos", *FOLDERS])
PATH = f"{FOLDER}/море.jpg"
ID = image_id_of(f"file:{PATH}")


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    deep = make_world.photos.joinpath(*FOLDERS)
    deep.mkdir(parents=True)
    (deep / "море.jpg").write_bytes(jpeg(1))
    return make_world(wait_for_tags_s=0)


async def found(http: httpx.AsyncClient, address: str, **parameters: str) -> Any:
    response = await http.get(address, params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_long_path_is_shown_whole_and_can_be_sent_back(world: World) -> None:
    async with world.client(Scope.PATHS, Scope.READ) as http:
        first = await http.post("/tag/image", json={"image_path": PATH})
        shown = (await found(http, f"/images/{ID}"))["image_path"]
        again = await http.post("/tag/image", json={"image_path": shown})
        listed = await found(http, "/images", folder=FOLDER)

    assert len(PATH) > 1000
    assert shown == PATH
    assert first.json()["image_path"] == again.json()["image_path"] == PATH
    assert first.json()["image_id"] == again.json()["image_id"] == str(ID)
    assert [one["image_path"] for one in listed["images"]] == [PATH]
    [event, _] = [ImageArrived.model_validate_json(one.value) for one in world.broker.records]
    assert event.image_path == PATH


async def test_the_folders_of_a_long_path_are_named_whole_at_every_depth(world: World) -> None:
    (world.photos.joinpath(*FOLDERS) / "ещё").mkdir()
    (world.photos.joinpath(*FOLDERS) / "ещё" / "1.jpg").write_bytes(jpeg(2))
    beside = "photos/" + "/".join([*FOLDERS[:3], "x" * 200])
    (world.photos.parent / beside).mkdir()
    (world.photos.parent / beside / "1.jpg").write_bytes(jpeg(3))
    async with world.client(Scope.PATHS, Scope.READ) as http:
        for path in (PATH, f"{FOLDER}/ещё/1.jpg", f"{beside}/1.jpg"):
            await http.post("/tag/image", json={"image_path": path})

        walked = [""]
        while len(walked) < len(FOLDERS) + 3:
            folders = (await found(http, "/folders", under=walked[-1]))["folders"]
            walked.append(folders[0]["folder"])
            assert len(folders) == (2 if walked[-2] == "/".join(["photos", *FOLDERS[:3]]) else 1)

    assert walked[-2:] == [FOLDER, f"{FOLDER}/ещё"]
    assert [len(folder.split("/")) for folder in walked[1:]] == list(range(1, len(FOLDERS) + 3))


@pytest.mark.parametrize("length", [497, 498, 499, 500, 501, 502])
async def test_a_folder_about_as_long_as_the_index_has_them_is_found(
    make_world: MakeWorld, length: int
) -> None:
    upper = "photos/" + "/".join(["a" * 200, "b" * 200])
    folder = f"{upper}/{'c' * (length - len(upper) - 1)}"
    place = make_world.photos.parent / folder / "d"
    place.mkdir(parents=True)
    (place / "1.jpg").write_bytes(jpeg(1))
    world = make_world(wait_for_tags_s=0)
    async with world.client(Scope.PATHS, Scope.READ) as http:
        await http.post("/tag/image", json={"image_path": f"{folder}/d/1.jpg"})

        for under, wanted in ((upper, folder), (folder, f"{folder}/d")):
            folders = (await found(http, "/folders", under=under))["folders"]
            assert [(one["folder"], one["images"]) for one in folders] == [(wanted, 1)]
        assert (await found(http, "/folders", under=f"{folder}/d"))["folders"] == []
