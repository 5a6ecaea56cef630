"""Health, metrics and documents need no key, and what they say is true."""

import re

import pytest

from schemas.topics import EVENT_TOPICS
from tests.e2e.archive import RunningArchive
from tests.e2e.pictures import dated_photo
from tests.e2e.test_main_job import upload

ROUTES = {
    "/images/upload": "post",
    "/images/tags": "post",
    "/tag/image": "post",
    "/tag/directory": "post",
    "/images/{image_id}": "get",
    "/images/{image_id}/content": "get",
    "/queries/{query_id}": "get",
    "/jobs/{job_id}": "get",
    "/health": "get",
    "/metrics": "get",
}


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_whole_archive_takes_requests(archive: RunningArchive, path: str) -> None:
    with archive.stranger() as http:
        response = http.get(path)

    assert response.status_code == 200


def test_a_whole_archive_is_well_when_every_role_has_said_a_word(archive: RunningArchive) -> None:
    with archive.stranger() as http:
        health = archive.wait_for(
            lambda: (now := http.get("/health").json())["status"] == "ok" and now,
            timeout_s=60,
            what="a role is not well",
        )

    assert {check["status"] for check in health["checks"].values()} == {"ok"}
    assert {"tagging", "query", "delivery"} <= health["roles"].keys()


def test_health_names_the_model_that_the_tagging_process_has_loaded(
    archive: RunningArchive,
) -> None:
    loaded = archive.wait_for(
        lambda: archive.http.get("/health").json()["loaded_models"], 60, "no model was loaded"
    )

    image = archive.tags_of(upload(archive, dated_photo())["image_id"])
    assert [one["model"] for one in loaded] == [image["model"]]


def test_metrics_count_what_was_asked_and_announced(archive: RunningArchive) -> None:
    def announced() -> float:
        text = archive.http.get("/metrics").text
        lines = [line for line in text.splitlines() if "announced_total{" in line]
        return sum(float(line.split()[-1]) for line in lines if "images.arrived" in line)

    before = announced()
    upload(archive, dated_photo())

    assert announced() == before + 1


def test_openapi_lists_every_route_with_its_problems(archive: RunningArchive) -> None:
    with archive.stranger() as http:
        document = http.get("/openapi.json").json()

    assert document["openapi"].startswith("3.1.")
    for path, method in ROUTES.items():
        assert method in document["paths"][path], path
    refused = document["paths"]["/images/upload"]["post"]["responses"]
    assert {"202", "401", "403", "413", "415", "503"} <= set(refused)


def test_asyncapi_lists_every_topic(archive: RunningArchive) -> None:
    with archive.stranger() as http:
        document = http.get("/asyncapi.json").json()

    assert document["asyncapi"].startswith("3.0.")
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert {topic.name for topic in EVENT_TOPICS} <= addresses


def test_the_documents_page_brings_all_its_files_itself(archive: RunningArchive) -> None:
    with archive.stranger() as http:
        page = http.get("/docs")
        assert page.status_code == 200
        files = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
        assert files
        for file in files:
            assert "//" not in file, "nothing comes from elsewhere"
            assert http.get(file).status_code == 200, file
