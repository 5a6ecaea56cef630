"""`/tag/image`, `/tag/directory` and `/jobs/{id}`."""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from core.blobs.roots import Roots
from core.storage.folders import jobs
from core.storage.folders.jobs import Step
from ingress.app import create_app
from ingress.auth.api_keys import Scope
from ingress.reading.files import RootedFiles
from schemas.image import ImageArrived, image_id_of
from tests.fakes.pictures import jpeg
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import MakeWorld, World

PARADE = "photos/2024/parade.jpg"
URI = f"file:{PARADE}"
ID = image_id_of(URI)


@pytest.fixture(autouse=True)
def parade(make_world: MakeWorld) -> None:
    """A photo under the root."""
    folder = make_world.photos / "2024"
    folder.mkdir()
    (folder / "parade.jpg").write_bytes(jpeg(1))


@pytest.fixture
def world(make_world: MakeWorld, parade: None) -> World:
    return make_world(wait_for_tags_s=3)


async def post(world: World, path: str, **body: Any) -> httpx.Response:
    async with world.client(Scope.PATHS) as http:
        return await http.post(path, json=body)


async def tagged_soon(world: World, work: Any) -> httpx.Response:
    """The response to a request during which tagging does its work."""
    asked = asyncio.create_task(post(world, "/tag/image", image_path=PARADE))
    async with asyncio.timeout(30):
        while not world.broker.records:
            await asyncio.sleep(0.001)
        await work()
        return await asked


async def test_tags_come_in_the_promised_form(world: World) -> None:
    taken = datetime(2024, 5, 15, 14, 30, 22)  # noqa: DTZ001 - EXIF has no zone

    response = await tagged_soon(
        world,
        lambda: world.tag(ID, ("landscape", 0.8945), ("city", 0.05), exif_datetime=taken),
    )

    assert response.status_code == 200
    assert response.json() == {
        "image_path": PARADE,
        "tags": [["landscape", 0.8945], ["city", 0.05]],
        "exif_datetime": "2024:05:15 14:30:22",
        "error": None,
    }


async def test_a_picture_that_cannot_be_tagged_says_why(world: World) -> None:
    response = await tagged_soon(
        world, lambda: world.fail(ID, "image_unreadable", "header ends after 10 bytes")
    )

    assert response.status_code == 200
    assert response.json() == {
        "image_path": PARADE,
        "tags": [],
        "exif_datetime": None,
        "error": "image_unreadable: header ends after 10 bytes",
    }


async def test_the_event_carries_own_labels_and_the_image_is_whose_key_asked(
    make_world: MakeWorld,
) -> None:
    world = make_world(wait_for_tags_s=0)

    await post(world, "/tag/image", image_path=PARADE, tags=["pizza", "salad"], top_k=1)

    event = ImageArrived.model_validate_json(world.broker.records[0].value)
    assert (event.uri, event.labels, event.top_k) == (URI, ("pizza", "salad"), 1)
    assert event.owner == "alice"
    assert await world.owners(ID) == ["alice"]


async def test_tags_of_an_earlier_time_are_not_taken_for_an_answer(world: World) -> None:
    await tagged_soon(world, lambda: world.tag(ID, ("city", 0.9)))
    world.broker.records.clear()

    response = await tagged_soon(world, lambda: world.tag(ID, ("beach", 0.7)))

    assert response.json()["tags"] == [["beach", 0.7]]


async def test_a_failure_to_tag_again_is_told_although_old_tags_stay(world: World) -> None:
    await tagged_soon(world, lambda: world.tag(ID, ("city", 0.9)))
    world.broker.records.clear()

    response = await tagged_soon(world, lambda: world.fail(ID, "image_missing", "no such file"))

    assert response.json()["error"] == "image_missing: no such file"
    assert response.json()["tags"] == []
    row = await world.image(ID)
    assert (row.status, row.tags) == ("tagged", [{"tag": "city", "score": 0.9}])


async def test_what_takes_longer_is_a_202_with_the_status_address(make_world: MakeWorld) -> None:
    world = make_world(wait_for_tags_s=0.05)

    response = await post(world, "/tag/image", image_path=PARADE)

    assert response.status_code == 202
    assert response.json()["links"]["self"] == f"http://archive/images/{ID}"
    assert response.headers["location"] == f"http://archive/images/{ID}"


async def test_a_path_outside_of_the_roots_and_a_missing_one_look_the_same(world: World) -> None:
    outside = await post(world, "/tag/image", image_path="/etc/passwd")
    missing = await post(world, "/tag/image", image_path="photos/none.jpg")

    first, second = problem_in(outside, "path_not_found"), problem_in(missing, "path_not_found")
    assert first["detail"].replace("/etc/passwd", "") == second["detail"].replace(
        "photos/none.jpg", ""
    )
    assert world.broker.records == []


async def test_a_sibling_of_a_root_and_a_link_inside_of_it_are_not_found(world: World) -> None:
    sibling = world.photos.with_name("photos-private")
    sibling.mkdir()
    (sibling / "a.jpg").write_bytes(jpeg(1))
    (world.photos / "album2").symlink_to("2024")

    for path in (f"{sibling}/a.jpg", str(sibling), "photos/album2/parade.jpg"):
        problem_in(await post(world, "/tag/image", image_path=path), "path_not_found")
    for path in (str(sibling), "photos/album2"):
        problem_in(await post(world, "/tag/directory", directory_path=path), "path_not_found")


async def test_a_directory_asked_for_with_a_key_is_one_job(world: World) -> None:
    async with world.client(Scope.PATHS) as http:
        body, key = {"directory_path": "photos/2024"}, {"Idempotency-Key": "once"}
        first, again = [await http.post("/tag/directory", json=body, headers=key) for _ in "12"]

    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert await world.pool.fetchval("SELECT count(*) FROM jobs") == 1


async def test_without_roots_paths_are_turned_off(world: World) -> None:
    world.app = create_app(replace(world.deps, files=RootedFiles(Roots({}))))

    response = await post(world, "/tag/image", image_path=PARADE)

    assert "ARCHIVE_ROOTS" in problem_in(response, "paths_disabled")["detail"]


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/tag/image", {}, "/image_path"),
        ("/tag/image", {"image_path": "a\x00b"}, "/image_path"),
        ("/tag/image", {"image_path": PARADE, "topk": 3}, "/topk"),
        ("/tag/image", {"image_path": PARADE, "top_k": 0}, "/top_k"),
        ("/tag/image", {"image_path": PARADE, "tags": []}, "/tags"),
        ("/tag/image", {"image_path": PARADE, "tags": ["a", "a"]}, "/tags"),
        ("/tag/image", {"image_path": PARADE, "tags": [" "]}, "/tags/0"),
        ("/tag/image", {"image_path": PARADE, "tags": ["x" * 201]}, "/tags/0"),
        ("/tag/directory", {}, "/directory_path"),
        (
            "/tag/directory",
            {"directory_path": "photos/2024", "file_extensions": [".exe"]},
            "/file_extensions",
        ),
        (
            "/tag/directory",
            {"directory_path": "photos/2024", "file_extensions": []},
            "/file_extensions",
        ),
    ],
)
async def test_a_field_that_breaks_its_rule_is_named(
    world: World, path: str, body: dict[str, Any], pointer: str
) -> None:
    response = await post(world, path, **body)

    errors = problem_in(response, "invalid_request")["errors"]
    assert pointer in [error["pointer"] for error in errors]
    assert world.broker.records == []
    assert await world.count("jobs") == 0


@pytest.mark.parametrize("written", ["./photos/2024/parade.jpg", ".//././photos/2024/parade.jpg"])
async def test_a_path_from_here_is_the_path_without_the_dot(
    make_world: MakeWorld, written: str
) -> None:
    world = make_world(wait_for_tags_s=0)

    response = await post(world, "/tag/image", image_path=written)
    job = await post(world, "/tag/directory", directory_path=written.rpartition("/")[0])

    assert response.status_code == job.status_code == 202
    assert (response.json()["image_path"], response.json()["image_id"]) == (PARADE, str(ID))
    assert job.json()["directory"] == "photos/2024"


@pytest.mark.parametrize(
    "written",
    ["./../photos/2024/parade.jpg", ".//etc/passwd", "./", ".", "photos/./2024/parade.jpg"],
)
async def test_a_dot_leads_nowhere_outside_of_the_roots(world: World, written: str) -> None:
    for path, field in (("/tag/image", "image_path"), ("/tag/directory", "directory_path")):
        problem_in(await post(world, path, **{field: written}), "path_not_found")


@pytest.mark.parametrize(
    ("asked", "kept"), [(15, 15), (30_000, 30_000), (30_001, 30_000), (2**70, 30_000)]
)
async def test_more_tags_than_there_are_labels_means_all_of_them(
    make_world: MakeWorld, asked: int, kept: int
) -> None:
    world = make_world(wait_for_tags_s=0)

    response = await post(world, "/tag/image", image_path=PARADE, top_k=asked)

    assert response.status_code == 202
    [record] = world.broker.records
    assert ImageArrived.model_validate_json(record.value).top_k == kept


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (0, "Tagging of 1 image has begun."),
        (149, "Tagging of 150 images has begun."),
    ],
)
async def test_the_message_of_a_job_tells_how_many_images_it_tags(
    world: World, files: int, message: str
) -> None:
    for number in range(files):
        (world.photos / "2024" / f"{number}.jpg").write_bytes(b"x")

    response = await post(world, "/tag/directory", directory_path="photos/2024")

    assert response.json()["message"] == message


async def test_a_directory_becomes_a_job(world: World) -> None:
    for number in range(16):
        (world.photos / "2024" / f"{number}.jpg").write_bytes(jpeg(number))

    response = await post(
        world,
        "/tag/directory",
        directory_path="photos/2024",
        tags=["pizza"],
        top_k=2,
        file_extensions=[".jpg"],
    )

    assert response.status_code == 202
    document = response.json()
    assert document["files_count"] == 17
    assert document["directory"] == "photos/2024"
    assert response.headers["location"] == f"http://archive/jobs/{document['job_id']}"
    job = await jobs.get(world.pool, UUID(document["job_id"]))
    assert job is not None
    assert (job.root, job.directory, job.owner, job.total) == ("photos", "2024", "alice", 17)
    assert job.options.labels == ("pizza",)
    assert job.options.top_k == 2
    assert job.options.extensions == (".jpg",)


async def test_a_directory_too_large_to_count_is_taken_uncounted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress.routes.photos.tag.COUNT_FILES_S", 0)

    response = await post(world, "/tag/directory", directory_path="photos/2024")

    assert response.status_code == 202
    assert response.json()["files_count"] is None
    assert response.json()["message"] == "Tagging has begun; the images are still being counted."


async def test_a_job_tells_its_progress_to_its_owner_only(make_world: MakeWorld) -> None:
    world = make_world(wait_for_tags_s=0)
    made = await post(world, "/tag/directory", directory_path="photos/2024")
    job_id = UUID(made.json()["job_id"])
    token = uuid4()
    await jobs.lease(world.pool, token, 30)
    await jobs.advance(world.pool, job_id, token, Step(b"2024/b.jpg", 2, {"video": 1}), 30)
    await post(world, "/tag/image", image_path=PARADE)
    await world.pool.execute("UPDATE images SET job_id = $1", job_id)

    async with world.client(Scope.PATHS) as http:
        document = (await http.get(f"/jobs/{job_id}")).json()
    async with world.client(Scope.PATHS, owner="bob") as http:
        problem_in(await http.get(f"/jobs/{job_id}"), "job_not_found")
        problem_in(await http.get(f"/jobs/{uuid4()}"), "job_not_found")

    assert document["state"] == "running"
    assert (document["announced"], document["skipped"]) == (2, 1)
    assert document["skips"] == {"video": 1}
    assert document["images"] == {"accepted": 1}
    assert document["directory"] == "photos/2024"


async def test_jobs_are_listed_page_by_page_to_their_owner(make_world: MakeWorld) -> None:
    world = make_world()
    made = [await post(world, "/tag/directory", directory_path="photos/2024") for _ in range(5)]
    await world.pool.execute("UPDATE jobs SET created_at = now()")  # all of one moment
    expected = sorted((one.json()["job_id"] for one in made), reverse=True)

    async with world.client(Scope.PATHS) as http:
        first = (await http.get("/jobs", params={"limit": "3"})).json()
        rest = (await http.get("/jobs", params={"cursor": first["next"]})).json()
        bad = await http.get("/jobs", params={"cursor": "AAAA"})
    async with world.client(Scope.PATHS, owner="bob") as http:
        none = (await http.get("/jobs")).json()
    async with world.client(Scope.ADMIN, owner="root") as http:
        everything = (await http.get("/jobs")).json()

    assert [job["job_id"] for job in first["jobs"] + rest["jobs"]] == expected
    assert (len(first["jobs"]), rest["next"]) == (3, None)
    assert problem_in(bad, "invalid_request")["errors"][0]["pointer"] == "cursor"
    assert none == {"jobs": [], "next": None}
    assert len(everything["jobs"]) == 5


async def test_a_job_is_cancelled_by_its_owner_once_and_for_all(make_world: MakeWorld) -> None:
    world = make_world()
    made = await post(world, "/tag/directory", directory_path="photos/2024")
    job_id = UUID(made.json()["job_id"])

    async with world.client(Scope.PATHS, owner="bob") as http:
        problem_in(await http.post(f"/jobs/{job_id}/cancel"), "job_not_found")
    assert await world.pool.fetchval("SELECT state FROM jobs") == "waiting"
    async with world.client(Scope.PATHS) as http:
        answers = [await http.post(f"/jobs/{job_id}/cancel") for _ in range(2)]
        await world.pool.execute("UPDATE jobs SET state = 'done'")
        answers.append(await http.post(f"/jobs/{job_id}/cancel"))

    assert [one.status_code for one in answers] == [200, 200, 200]
    assert [one.json()["state"] for one in answers] == ["cancelled", "cancelled", "done"]
