"""Letters on one letterhead, through decoder and transaction: alike, and not the same photo."""

from datetime import datetime

import httpx
import pytest

from core.settings import MIB
from core.storage.pool import Pool
from core.vision.decoding.decoder import DecodePool
from core.vision.decoding.worker_process import PoolLimits
from core.vision.decoding.worker_protocol import PixelFormat
from ingress.auth.api_keys import Scope
from schemas.image import image_id_of
from tests.fakes.letters import letter, scanned
from tests.fakes.pictures import encoded
from tests.integration.ingress.world import World
from tests.integration.tagging.archive import Archive, arrival
from tests.integration.tagging.test_duplicates import LOOKS, NOON, OneVector
from tests.integration.tagging.test_http import world

__all__ = ["world"]
#: Of six letters; the seventh file is the third one, scanned.
SCANNED, SCAN = 3, 7


@pytest.fixture
async def letters(pool: Pool) -> Archive:
    """An archive of letters that have one hash and one embedding, and were scanned in a minute."""
    files = {number: letter(number) for number in range(1, 7)}
    files[SCAN] = scanned(files[SCANNED], 1)
    limits = PoolLimits(workers=1, timeout_s=60.0, memory_bytes=1024 * MIB)
    async with DecodePool(limits, PixelFormat(64, 64)) as decoder:
        archive = Archive(pool, OneVector(), decoder)
        archive.blobs.contents = {
            f"file:p/{number}.jpg": encoded(image, "JPEG", quality=80)
            for number, image in files.items()
        }
        await archive.define("cat", "flower")
        await archive.tag(*(arrival(number) for number in files))
    await pool.execute("UPDATE tagged_images SET perceptual_hash = $1", LOOKS)
    return archive


async def pairs(client: httpx.AsyncClient, level: str) -> list[list[str]]:
    answer = await client.get("/duplicates", params={"level": level, "limit": 100})
    assert answer.status_code == 200, answer.text
    return [sorted(group["image_paths"]) for group in answer.json()["groups"]]


async def test_only_the_letter_that_was_scanned_twice_is_the_same_photo(
    world: World, letters: Archive
) -> None:
    async with world.client(Scope.READ) as client:
        found = await pairs(client, "same_photo")
        alike = (await client.get(f"/images/{image_id_of('file:p/3.jpg')}/similar")).json()
        of_another = (await client.get(f"/images/{image_id_of('file:p/1.jpg')}/similar")).json()
        await letters.pool.execute("UPDATE tagged_images SET text_lines = NULL")
        as_before = await pairs(client, "same_photo")

    assert found == [["p/3.jpg", "p/7.jpg"]]
    assert [one["image_path"] for one in alike["images"]] == ["p/7.jpg"]
    assert of_another["images"] == []
    assert len(as_before) == 6, "nothing but the lines tells them apart"


async def test_pages_scanned_one_after_the_other_are_no_burst(
    world: World, letters: Archive
) -> None:
    for number in range(1, 8):
        await taken(letters, number, 5 * number)
    async with world.client(Scope.READ) as client:
        found = await pairs(client, "burst")
        await taken(letters, SCAN, 5 * SCANNED + 1)
        of_one_letter = await pairs(client, "burst")

    assert found == []
    assert of_one_letter == [["p/3.jpg", "p/7.jpg"]]


async def test_the_evidence_for_two_letters_says_that_their_texts_differ(
    world: World, letters: Archive
) -> None:
    ids = {number: image_id_of(f"file:p/{number}.jpg") for number in (1, 3, 7)}
    async with world.client(Scope.ADMIN) as client:
        unlike, same = [
            await client.put(
                f"/duplicates/{'~'.join(sorted((str(ids[one]), str(ids[other]))))}",
                json={"keep": "both"},
            )
            for one, other in ((1, 3), (3, 7))
        ]

    assert (unlike.status_code, same.status_code) == (200, 200)
    assert (unlike.json()["texts_differ"], unlike.json()["level"]) == (True, "burst")
    assert (same.json()["texts_differ"], same.json()["level"]) == (False, "same_photo")


async def test_known_bytes_bring_their_lines_along(letters: Archive) -> None:
    letters.blobs.contents["file:p/8.jpg"] = letters.blobs.contents["file:p/1.jpg"]
    await letters.tag(arrival(8))

    rows = await letters.rows()
    assert rows["p/8.jpg"]["text_lines"] == rows["p/1.jpg"]["text_lines"] is not None


async def taken(archive: Archive, number: int, second: int) -> None:
    moment: datetime = NOON.replace(second=second)
    await archive.pool.execute(
        "UPDATE tagged_images SET exif_datetime = $2 WHERE image_path = $1",
        f"p/{number}.jpg",
        moment,
    )
