"""A photo deleted over HTTP stays deleted, however often its folder is scanned."""

from dataclasses import replace
from pathlib import Path

import pytest

from consumers.tagging.role import TaggingItem
from core.storage.archive import image_deletion, images
from schemas.image import SCAN_SOURCES, ImageArrived, image_id_of
from tests.integration.tagging.archive import Archive, arrival, picture

URI = "file:p/1.jpg"
ID = image_id_of(URI)
REPOSITORY = Path(__file__).parents[3]


async def arrives(archive: Archive, source: str, *events: ImageArrived) -> None:
    """Tag arrivals that somebody announces now, after every deletion."""
    await archive.pool.execute(
        "UPDATE images SET deleted_at = '2026-04-01' WHERE deleted_at > now() - interval '1 h'"
    )
    items = [_from(source, item) for item in await archive.prepare(*events)]
    async with archive.pool.transaction() as tx:
        await archive.role.apply(items, tx)


def _from(source: str, item: TaggingItem) -> TaggingItem:
    record = replace(item.received.record, headers=(("ce_source", source.encode()),))
    return replace(item, received=replace(item.received, record=record))


async def is_there(archive: Archive) -> bool:
    return await images.status(archive.pool, ID) is not None


@pytest.fixture
async def deleted(archive: Archive) -> Archive:
    """An archive whose image 1 was tagged and then deleted."""
    await archive.tag(arrival(1), arrival(2))
    async with archive.pool.transaction() as tx:
        assert await image_deletion.delete(tx, ID)
    return archive


@pytest.mark.parametrize("source", sorted(SCAN_SOURCES))
async def test_a_scan_does_not_bring_a_deleted_photo_back(deleted: Archive, source: str) -> None:
    job_id = image_id_of("any")

    await arrives(deleted, source, arrival(1, job_id=job_id), arrival(3))

    assert not await is_there(deleted)
    assert await images.status(deleted.pool, image_id_of("file:p/3.jpg")) is not None
    # Its job need not wait for it.
    assert await images.job_counts(deleted.pool, job_id) == {"deleted": 1}


@pytest.mark.parametrize("source", ["/producers/images/undelete", "/ingress", "my program"])
async def test_who_asks_for_it_brings_it_back(deleted: Archive, source: str) -> None:
    await arrives(deleted, source, arrival(1))

    assert await is_there(deleted)
    assert await deleted.pool.fetchval(
        "SELECT deleted_content IS NULL FROM images WHERE image_id = $1", ID
    )


async def test_another_photo_in_its_place_is_a_new_image(deleted: Archive) -> None:
    deleted.blobs.contents[URI] = picture(9)

    await arrives(deleted, "/producers/watch", arrival(1))

    assert await is_there(deleted)


async def test_a_file_that_cannot_be_read_stays_deleted(deleted: Archive) -> None:
    deleted.blobs.contents[URI] = b"broken"

    await arrives(deleted, "/producers/watch", arrival(1))

    assert not await is_there(deleted)


async def test_of_a_scan_and_a_request_in_one_batch_the_request_counts(deleted: Archive) -> None:
    scan, asked = await deleted.prepare(arrival(1)), await deleted.prepare(arrival(1))
    await deleted.pool.execute(
        "UPDATE images SET deleted_at = '2026-04-01' WHERE image_id = $1", ID
    )

    async with deleted.pool.transaction() as tx:
        items = [_from("/ingress", asked[0]), _from("/producers/watch", scan[0])]
        await deleted.role.apply(items, tx)

    assert await is_there(deleted)


async def test_a_tombstone_tells_of_the_photo_only_to_who_has_it(deleted: Archive) -> None:
    mark = await deleted.pool.fetchval("SELECT deleted_content FROM images WHERE image_id = $1", ID)
    kept = await deleted.pool.fetchval("SELECT sha256 FROM images WHERE image_id = $1", ID)

    hashes = await deleted.pool.fetch("SELECT sha256 FROM tagged_images")
    assert kept is None
    assert mark is not None
    assert mark not in {row["sha256"] for row in hashes}


def test_the_sources_of_scans_are_those_that_the_producers_write() -> None:
    texts = [
        file.read_text(encoding="utf-8")
        for folder in ("producers", "photo_archive")
        for file in (REPOSITORY / folder).rglob("*.py")
    ]
    for source in SCAN_SOURCES:
        assert any(f'"{source}"' in text for text in texts), source
