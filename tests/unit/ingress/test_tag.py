"""`/tag/image`, `/tag/directory` and `/jobs/{id}`."""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from ingress.auth.api_keys import Scope
from ingress.ports import FoundDirectory, FoundFile
from schemas.image import ImageArrived, image_id_of
from tests.fakes.ingress import World, make_world
from tests.unit.ingress.problems import problem_in

PARADE = "photos/2024/parade.jpg"
URI = f"file:{PARADE}"
ID = image_id_of(URI)


@pytest.fixture
def world() -> World:
    made = make_world(wait_for_tags_s=3)
    made.archive.files[PARADE] = FoundFile(URI, PARADE, 1234)
    made.archive.directories["photos/2024"] = FoundDirectory("photos", "2024")
    return made


async def post(world: World, path: str, **body: Any) -> httpx.Response:
    async with world.client(Scope.PATHS) as http:
        return await http.post(path, json=body)


async def tagged_soon(world: World, work: Any) -> httpx.Response:
    """The response to a request during which tagging does its work."""
    asked = asyncio.create_task(post(world, "/tag/image", image_path=PARADE))
    async with asyncio.timeout(5):
        while not world.broker.records:
            await asyncio.sleep(0)
        work()
        return await asked


async def test_tags_come_in_the_promised_form(world: World) -> None:
    taken = datetime(2024, 5, 15, 14, 30, 22)  # noqa: DTZ001 - EXIF has no zone

    response = await tagged_soon(
        world,
        lambda: world.images.tag(ID, ("landscape", 0.8945), ("city", 0.05), exif_datetime=taken),
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
        world, lambda: world.images.fail(ID, "image_unreadable", "header ends after 10 bytes")
    )

    assert response.status_code == 200
    assert response.json() == {
        "image_path": PARADE,
        "tags": [],
        "exif_datetime": None,
        "error": "image_unreadable: header ends after 10 bytes",
    }


async def test_the_event_carries_own_labels_and_belongs_to_nobody() -> None:
    world = make_world(wait_for_tags_s=0)
    world.archive.files[PARADE] = FoundFile(URI, PARADE, 1234)

    await post(world, "/tag/image", image_path=PARADE, tags=["pizza", "salad"], top_k=1)

    event = ImageArrived.model_validate_json(world.broker.records[0].value)
    assert (event.uri, event.labels, event.top_k) == (URI, ("pizza", "salad"), 1)
    assert event.owner is None
    assert world.images.rows[ID].owner is None


async def test_tags_of_an_earlier_time_are_not_taken_for_an_answer(world: World) -> None:
    await tagged_soon(world, lambda: world.images.tag(ID, ("city", 0.9)))
    world.broker.records.clear()

    response = await tagged_soon(world, lambda: world.images.tag(ID, ("beach", 0.7)))

    assert response.json()["tags"] == [["beach", 0.7]]


async def test_a_failure_to_tag_again_is_told_although_old_tags_stay(world: World) -> None:
    await tagged_soon(world, lambda: world.images.tag(ID, ("city", 0.9)))
    world.broker.records.clear()

    def fail_keeping_tags() -> None:
        tags = world.images.rows[ID]
        world.images.fail(ID, "image_missing", "no such file")
        world.images.rows[ID] = replace(world.images.rows[ID], status="tagged", tags=tags.tags)

    response = await tagged_soon(world, fail_keeping_tags)

    assert response.json()["error"] == "image_missing: no such file"
    assert response.json()["tags"] == []


async def test_what_takes_longer_is_a_202_with_the_status_address() -> None:
    world = make_world(wait_for_tags_s=0.05)
    world.archive.files[PARADE] = FoundFile(URI, PARADE, 1234)

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


async def test_without_roots_paths_are_turned_off(world: World) -> None:
    world.archive.is_open = False

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
    assert world.jobs.rows == {}


async def test_a_directory_becomes_a_job(world: World) -> None:
    world.archive.counted = 17

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
    job = world.jobs.rows[UUID(document["job_id"])]
    assert (job.root, job.directory, job.owner, job.total) == ("photos", "2024", "alice", 17)
    assert job.options.labels == ("pizza",)
    assert job.options.top_k == 2
    assert job.options.extensions == (".jpg",)


async def test_a_directory_too_large_to_count_is_taken_uncounted(world: World) -> None:
    world.archive.counted = None

    response = await post(world, "/tag/directory", directory_path="photos/2024")

    assert response.status_code == 202
    assert response.json()["files_count"] is None


async def test_a_job_tells_its_progress_to_its_owner_only() -> None:
    world = make_world(wait_for_tags_s=0)
    world.archive.files[PARADE] = FoundFile(URI, PARADE, 1234)
    world.archive.directories["photos/2024"] = FoundDirectory("photos", "2024")
    made = await post(world, "/tag/directory", directory_path="photos/2024")
    job_id = UUID(made.json()["job_id"])
    world.jobs.rows[job_id] = replace(
        world.jobs.rows[job_id], state="running", announced=2, skipped=1, skips={"video": 1}
    )
    await post(world, "/tag/image", image_path=PARADE)
    world.images.rows[ID] = replace(world.images.rows[ID], job_id=job_id)

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


async def test_jobs_are_listed_page_by_page_to_their_owner() -> None:
    world = make_world()
    world.archive.directories["photos/2024"] = FoundDirectory("photos", "2024")
    made = [await post(world, "/tag/directory", directory_path="photos/2024") for _ in range(5)]
    expected = sorted((one.json()["job_id"] for one in made), reverse=True)  # all of one moment

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


async def test_a_job_is_cancelled_by_its_owner_once_and_for_all() -> None:
    world = make_world()
    world.archive.directories["photos/2024"] = FoundDirectory("photos", "2024")
    made = await post(world, "/tag/directory", directory_path="photos/2024")
    job_id = UUID(made.json()["job_id"])

    async with world.client(Scope.PATHS, owner="bob") as http:
        problem_in(await http.post(f"/jobs/{job_id}/cancel"), "job_not_found")
    assert world.jobs.rows[job_id].state == "waiting"
    async with world.client(Scope.PATHS) as http:
        answers = [await http.post(f"/jobs/{job_id}/cancel") for _ in range(2)]
        world.jobs.rows[job_id] = replace(world.jobs.rows[job_id], state="done")
        answers.append(await http.post(f"/jobs/{job_id}/cancel"))

    assert [one.status_code for one in answers] == [200, 200, 200]
    assert [one.json()["state"] for one in answers] == ["cancelled", "cancelled", "done"]
