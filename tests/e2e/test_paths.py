"""Photos in a folder: tagging one file, a whole directory, and reading the result by SQL."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.archive import RunningArchive
from tests.e2e.pictures import dated_photo
from tests.fakes.pictures import encoded, photo

JOB_TIMEOUT_S = 60.0


@pytest.fixture
def folder(archive: RunningArchive, request: pytest.FixtureRequest) -> Path:
    """Return a new folder under the allowed root."""
    path = archive.photos / str(request.node.name)[:60]
    path.mkdir()
    return path


def tag_file(archive: RunningArchive, file: Path, **options: object) -> dict[str, Any]:
    """Return the answer to `POST /tag/image` for a file under the root.

    On a busy machine the first answer may be a 202, above all while the model loads; it asks again.
    """
    body = {"image_path": f"photos/{file.relative_to(archive.photos)}", **options}
    deadline = time.monotonic() + JOB_TIMEOUT_S
    while True:
        response = archive.http.post("/tag/image", json=body)
        if response.status_code != 202 or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_a_file_is_tagged_and_answered_in_the_documented_form(
    archive: RunningArchive, folder: Path
) -> None:
    taken = dated_photo()
    file = folder / "парад.jpg"
    file.write_bytes(taken.content)

    answer = tag_file(archive, file)

    assert set(answer) == {"image_path", "tags", "exif_datetime", "error"}
    assert answer["image_path"] == f"photos/{folder.name}/парад.jpg"
    assert answer["exif_datetime"] == taken.taken_at.strftime("%Y:%m:%d %H:%M:%S")
    assert answer["error"] is None
    assert len(answer["tags"]) == 4
    assert [type(part) for part in answer["tags"][0]] == [str, float]


def test_a_file_is_tagged_with_the_labels_of_the_request_alone(
    archive: RunningArchive, folder: Path
) -> None:
    file = folder / "lunch.png"
    file.write_bytes(encoded(photo(80_001), "PNG"))

    both = tag_file(archive, file, tags=["pizza", "salad"])
    one = tag_file(archive, file, tags=["pizza", "salad", "суп"], top_k=1)

    assert {tag for tag, _ in both["tags"]} == {"pizza", "salad"}
    assert sum(score for _, score in both["tags"]) == pytest.approx(1.0, abs=1e-5)
    assert len(one["tags"]) == 1


def test_a_file_that_is_no_picture_is_answered_with_its_error(
    archive: RunningArchive, folder: Path
) -> None:
    file = folder / "broken.jpg"
    file.write_bytes(b"no picture at all")

    answer = tag_file(archive, file)

    assert answer["tags"] == []
    assert answer["error"].startswith("not_an_image")


def test_a_file_whose_content_changed_is_the_same_image_tagged_again(
    archive: RunningArchive, folder: Path
) -> None:
    file = folder / "changing.jpg"
    rows = "SELECT image_id, encode(sha256, 'hex') FROM tagged_images WHERE image_path LIKE $1"
    seen = []
    for _ in range(2):
        file.write_bytes(dated_photo().content)
        tag_file(archive, file)
        seen.append(archive.sql(rows, f"%{folder.name}/changing.jpg"))

    (before,), (after,) = seen
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_a_directory_job_tags_every_photo_and_counts_the_rest(
    archive: RunningArchive, folder: Path
) -> None:
    (folder / "deep" / "deeper").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.JPEG", "deep/c.png", "deep/deeper/d.webp")):
        form = {"png": "PNG", "webp": "WEBP"}.get(name.rpartition(".")[2], "JPEG")
        (folder / name).write_bytes(encoded(photo(81_000 + number), form))
    (folder / "deep/broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not a photo")

    began = archive.http.post("/tag/directory", json={"directory_path": f"photos/{folder.name}"})

    assert began.status_code == 202
    assert began.json()["files_count"] == 5
    job = finished_job(archive, began.json()["job_id"])
    assert (job["state"], job["announced"], job["error"]) == ("done", 5, None)
    assert job["images"] == {"tagged": 4, "failed": 1}
    assert job["skipped"] == sum(job["skips"].values()) == 1


def finished_job(archive: RunningArchive, job_id: str) -> dict[str, Any]:
    """Wait until all images of a job are tagged or have failed; return the job."""

    def settled() -> dict[str, Any] | None:
        job: dict[str, Any] = archive.http.get(f"/jobs/{job_id}").json()
        done = job["images"].get("tagged", 0) + job["images"].get("failed", 0)
        return job if job["state"] == "done" and done == job["announced"] else None

    return archive.wait_for(settled, JOB_TIMEOUT_S, f"job {job_id} did not end") or {}


def test_the_two_documented_statements_give_what_the_api_gives(
    archive: RunningArchive, folder: Path
) -> None:
    expected: dict[str, list[Any]] = {}
    for number in range(6):
        file = folder / f"{number}.jpg"
        file.write_bytes(encoded(photo(82_000 + number), "JPEG"))
        wishes = {"tags": ["cat", "сова"]} if number < 3 else {"tags": ["сова", "автобус"]}
        answer = tag_file(archive, file, **wishes)
        expected[answer["image_path"]] = answer["tags"]

    cats = archive.sql(
        """SELECT image_path, tags->>0 FROM tagged_images WHERE tags @> '[{"tag": "cat"}]'::jsonb"""
    )
    counts = archive.sql(
        "SELECT jsonb_array_elements(tags)->>'tag' AS tag, COUNT(*) FROM tagged_images"
        " GROUP BY tag ORDER BY count DESC"
    )

    ours = {path: best for path, best in cats if f"/{folder.name}/" in path}
    assert set(ours) == {path for path, tags in expected.items() if dict(tags).get("cat")}
    assert len(ours) == 3
    for path, best in ours.items():
        tag, score = expected[path][0]
        assert f'"tag": "{tag}"' in best
        assert str(score) in best
    by_tag = {row["tag"]: row["count"] for row in counts}
    assert (by_tag["сова"], by_tag["автобус"]) == (6, 3)
    assert [count for _, count in counts] == sorted(by_tag.values(), reverse=True)
    every = 'SELECT count(*) FROM tagged_images WHERE tags @> \'[{"tag": "cat"}]\''
    assert by_tag["cat"] == archive.value(every)
