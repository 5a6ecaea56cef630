"""`photo-archive images`, `retag`, `queries` on real Kafka and real PostgreSQL."""

import asyncio
from collections import Counter
from pathlib import Path

from schemas.image import SCAN_SOURCES, ImageArrived
from schemas.query import QuerySubmitted
from schemas.topics import IMAGES_ARRIVED, IMAGES_BULK, QUERIES_SUBMITTED
from tests.command import COMMAND
from tests.integration.site import Site, uris


async def test_a_directory_is_announced_with_a_summary_and_again_by_a_second_run(
    site: Site,
) -> None:
    site.write("a/1.jpg", "a/2.png", "a/film.mov", "b.jpg")

    code, _, errors = await site.run(
        COMMAND, "images", str(site.root / "a"), "--no-wait", "--labels", "x,y"
    )

    assert code == 0, errors
    assert "2 published" in errors
    assert "1 video" in errors
    assert await site.announced() == uris("a/1.jpg", "a/2.png")
    [event, _] = map(ImageArrived.model_validate_json, await site.values(IMAGES_BULK))
    assert event.labels == ("x", "y")
    await site.run(COMMAND, "images", str(site.root / "a"), "--no-wait", "--fresh")
    assert await site.announced() == uris("a/1.jpg", "a/2.png") + uris("a/1.jpg", "a/2.png")
    assert len(await site.values(IMAGES_ARRIVED)) == 2


async def tag_like_a_consumer(site: Site, expected: int) -> None:
    """Write what the tagging consumer would: one image fails."""
    while len(values := await site.arrivals()) < expected:
        await asyncio.sleep(0.1)
    for event in map(ImageArrived.model_validate_json, values):
        is_bad = "bad" in event.uri
        await site.pool.execute(
            "INSERT INTO images (image_id, uri, path, job_id, status, reason)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            event.image_id, event.uri, event.image_path, event.job_id,
            "failed" if is_bad else "tagged", "image_unreadable" if is_bad else None,
        )  # fmt: skip


async def test_images_are_followed_until_tagged_and_failures_named_by_reason(site: Site) -> None:
    site.write("1.jpg", "2.jpg", "bad.jpg")
    tagging = asyncio.create_task(tag_like_a_consumer(site, 3))

    code, _, errors = await site.run(COMMAND, "images", str(site.root))

    await tagging
    assert code == 1
    assert "3 published, 2 tagged, 1 failed to be tagged" in errors
    assert "image_unreadable (1)" in errors
    assert "main/bad.jpg" in errors


async def test_deleted_photos_are_no_failures_and_come_back_when_told(site: Site) -> None:
    site.write("1.jpg")
    deleting = asyncio.create_task(delete_like_a_consumer(site))

    code, _, errors = await site.run(COMMAND, "images", str(site.root))
    await deleting
    back, _, _ = await site.run(COMMAND, "images", str(site.root), "--undelete", "--no-wait")

    assert (code, back) == (0, 0), errors
    assert "1 published, 0 tagged, 0 failed to be tagged, 1 stay deleted" in errors
    records = await site.records(IMAGES_BULK)
    sources = [dict(record.headers)["ce_source"].decode() for record in records]
    assert sorted(source in SCAN_SOURCES for source in sources) == [False, True]


async def delete_like_a_consumer(site: Site) -> None:
    """Write what the tagging consumer would of a photo that was deleted before."""
    while not (values := await site.values(IMAGES_BULK)):
        await asyncio.sleep(0.1)
    event = ImageArrived.model_validate_json(values[0])
    await site.pool.execute(
        "INSERT INTO images (image_id, uri, path, job_id, status)"
        " VALUES ($1, '', '', $2, 'deleted')",
        event.image_id,
        event.job_id,
    )


async def test_a_directory_under_no_root_is_refused_with_the_way_out(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.jpg").write_bytes(b"x")

    code, _, errors = await site.run(COMMAND, "images", str(tmp_path / "elsewhere"))
    assert code == 2
    assert "ARCHIVE_ROOTS" in errors
    assert "--root NAME=DIR" in errors

    code, _, errors = await site.run(
        COMMAND, "images", str(tmp_path / "elsewhere"),
        "--root", f"new={tmp_path / 'elsewhere'}", "--no-wait",
    )  # fmt: skip
    assert code == 0, errors
    assert await site.announced() == Counter(["file:new/1.jpg"])


async def test_wrong_options_and_settings_end_with_2_and_name_what_is_wrong(site: Site) -> None:
    site.write("1.jpg")
    for arguments, told in (
        (["images", str(site.root), "--labels", ""], "--labels"),
        (["images", str(site.root), "--extensions", "xyz"], "--extensions"),
        (["images", str(site.root / "nothing")], "no directory"),
        (["letters", "replay", "nothing.v1"], "images.arrived.v1"),
        (["retag"], "--all"),
    ):
        code, _, errors = await site.run(COMMAND, *arguments)
        assert (code, told in errors) == (2, True), (arguments, errors)
    code, _, errors = await site.run(COMMAND, "retag", "--all", KAFKA_SESSION_TIMEOUT_MS="never")
    assert (code, "KAFKA_SESSION_TIMEOUT_MS" in errors) == (2, True), errors


async def test_queries_of_a_file_are_submitted_and_bad_lines_told(
    site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "queries.txt"
    file.write_text('a dog on the beach\n{"text": "x", "options": {"top_n": 0}}\nкот\n')

    code, output, errors = await site.run(
        COMMAND, "queries", str(file), "--callback-url", "https://me.example/hook"
    )

    assert code == 1
    assert "line 2:" in errors
    events = [
        QuerySubmitted.model_validate_json(value) for value in await site.values(QUERIES_SUBMITTED)
    ]
    assert {event.text for event in events} == {"a dog on the beach", "кот"}
    assert {str(event.query_id) for event in events} == {
        line.split("\t")[1] for line in output.splitlines()
    }
