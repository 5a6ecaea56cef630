"""Similar images, found by their bytes and by their embeddings."""

from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from core.settings import MIB
from core.storage.finding import same_photos
from core.storage.finding.duplicates import SAME_PHOTO_BITS, Look, hash_distance, level_of
from core.storage.pool import Pool
from core.storage.vectors import from_wire, vector_text
from core.vision.decoding.decoder import DecodePool
from core.vision.decoding.lookalikes import MAX_EARLIER
from core.vision.decoding.perceptual import FLAT
from core.vision.decoding.worker_process import PoolLimits
from core.vision.decoding.worker_protocol import PixelFormat
from ingress.auth.api_keys import Scope
from schemas.image import image_id_of
from standalone.demo.photos import copy_free_photos
from tests.fakes.pictures import encoded
from tests.fakes.vision import HashModel, unit
from tests.integration.ingress.world import World
from tests.integration.tagging.archive import Archive, arrival, picture
from tests.integration.tagging.test_http import world

__all__ = ["world"]
LOOKS = 0x5A5A_5A5A_5A5A_5A5A
NOON = datetime(2026, 5, 1, 12)  # noqa: DTZ001 - EXIF times have no zone


def path_of(number: int) -> str:
    return f"/images/{image_id_of(f'file:p/{number}.jpg')}/similar"


async def turn(archive: Archive, number: int, towards: int, cosine: float) -> None:
    """Turn an image's embedding to this cosine to another one's."""
    rows = await archive.pool.fetch(
        "SELECT t.image_path, t.sha256, halfvec_send(e.embedding) AS v "
        "FROM tagged_images t JOIN embeddings e USING (sha256)"
    )
    vectors = {row["image_path"]: np.frombuffer(from_wire(row["v"]), "<f2") for row in rows}
    digests = {row["image_path"]: row["sha256"] for row in rows}
    goal = vectors[f"p/{towards}.jpg"].astype(np.float64)
    aside = vectors[f"p/{number}.jpg"].astype(np.float64)
    goal /= np.linalg.norm(goal)
    aside -= aside @ goal * goal
    aside /= np.linalg.norm(aside)
    turned = (cosine * goal + np.sqrt(1 - cosine**2) * aside).astype("<f2")
    await archive.pool.execute(
        "UPDATE embeddings SET embedding = $2::text::halfvec WHERE sha256 = $1",
        digests[f"p/{number}.jpg"],
        vector_text(turned.tobytes()),
    )


async def looks(archive: Archive, number: int, value: int | None) -> None:
    """Set an image's perceptual hash."""
    await archive.pool.execute(
        "UPDATE tagged_images SET perceptual_hash = $2 WHERE image_path = $1",
        f"p/{number}.jpg",
        value,
    )


async def taken(archive: Archive, number: int, second: int) -> None:
    await archive.pool.execute(
        "UPDATE tagged_images SET exif_datetime = $2 WHERE image_path = $1",
        f"p/{number}.jpg",
        NOON.replace(minute=second // 60, second=second % 60),
    )


async def test_each_level_is_told_and_strangers_are_not_listed(
    world: World, archive: Archive
) -> None:
    archive.blobs.contents = {"file:p/2.jpg": picture(1)}
    await archive.tag(*(arrival(number) for number in range(1, 8)), arrival(8, owner="bob"))
    for number, cosine in ((3, 0.985), (4, 0.93), (5, 0.93), (6, 0.89), (8, 0.99)):
        await turn(archive, number, towards=1, cosine=cosine)
        await looks(archive, number, LOOKS ^ 0b111)
    await looks(archive, 1, LOOKS)
    await taken(archive, 1, 0)
    await taken(archive, 4, 50)
    await taken(archive, 5, 100)

    async with world.client(Scope.READ, owner="alice") as client:
        answer = await client.get(path_of(1))
        missing = await client.get(path_of(99))
        foreign = await client.get(path_of(8))

    body = answer.json()
    assert [(one["image_path"], one["level"]) for one in body["images"]] == [
        ("p/2.jpg", "identical"),
        ("p/3.jpg", "same_photo"),
        ("p/4.jpg", "burst"),
    ]
    assert body["images"][1]["cosine"] == pytest.approx(0.985, abs=0.002)
    assert body["images"][1]["hash_distance"] == 3
    assert body["is_complete"] is True
    assert (missing.status_code, foreign.status_code) == (404, 404)


async def test_the_same_photo_is_told_by_hash_and_cosine_where_a_hash_says_something(
    world: World, archive: Archive
) -> None:
    await archive.tag(*(arrival(number) for number in range(1, 7)))
    await looks(archive, 1, LOOKS)
    for number, cosine, value in (
        (2, 0.910, LOOKS ^ ((1 << SAME_PHOTO_BITS) - 1)),
        (3, 0.995, LOOKS ^ ((1 << SAME_PHOTO_BITS + 1) - 1)),  # similar by embedding, not by hash
        (4, 0.890, LOOKS),  # similar by hash, not by embedding
        (5, 0.975, None),  # tagged before hashes existed
        (6, 0.990, FLAT),
    ):
        await turn(archive, number, towards=1, cosine=cosine)
        await looks(archive, number, value)

    async with world.client(Scope.READ) as client:
        body = (await client.get(path_of(1))).json()
        of_a_flat_one = (await client.get(path_of(6))).json()

    assert [(one["image_path"], one["level"], one["hash_distance"]) for one in body["images"]] == [
        ("p/6.jpg", "same_photo", None),
        ("p/5.jpg", "same_photo", None),
        ("p/2.jpg", "same_photo", SAME_PHOTO_BITS),
    ]
    assert "p/1.jpg" in {one["image_path"] for one in of_a_flat_one["images"]}


async def test_real_photos_go_through_decoder_and_transaction_to_the_same_photo(
    pool: Pool, world: World, tmp_path: Path
) -> None:
    cat, flower = (
        Image.open(path).convert("RGB")
        for path in copy_free_photos(tmp_path)
        if path.stem in {"chelsea-the-cat", "flower"}
    )
    limits = PoolLimits(workers=1, timeout_s=10.0, memory_bytes=1024 * MIB)
    async with DecodePool(limits, PixelFormat(64, 64)) as decoder:
        archive = Archive(pool, OneVector(), decoder)
        archive.blobs.contents = {
            f"file:p/{number}.jpg": encoded(image, form, quality=quality)
            for number, image, form, quality in (
                (1, cat, "JPEG", 95),
                (2, cat.resize((300, 200)), "JPEG", 60),
                (3, cat, "WEBP", 80),
                (4, flower, "JPEG", 95),
                (5, Image.new("RGB", (300, 200), "grey"), "JPEG", 95),
            )
        }
        await archive.define("cat", "flower")
        await archive.tag(*(arrival(number) for number in range(1, 6)))

    async with world.client(Scope.READ) as client:
        body = (await client.get(path_of(1))).json()

    found = {one["image_path"]: one["hash_distance"] for one in body["images"]}
    assert set(found) == {"p/2.jpg", "p/3.jpg", "p/5.jpg"}, "5 is flat, and the cosine is 1"
    assert found["p/5.jpg"] is None
    assert max(found["p/2.jpg"], found["p/3.jpg"]) <= SAME_PHOTO_BITS
    assert {one["level"] for one in body["images"]} == {"same_photo"}
    assert (await archive.rows())["p/5.jpg"]["perceptual_hash"] == FLAT


class OneVector(HashModel):
    """A model that gives all pictures the same vector."""

    async def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.tile(unit(b"", self.dim), (len(batch), 1))


async def test_embeddings_of_another_model_are_not_compared(world: World, archive: Archive) -> None:
    await archive.tag(arrival(1))
    await archive.pool.execute(
        "INSERT INTO embeddings (sha256, model, preprocessing, embedding) "
        "VALUES ('\\x00', 'other@1', 'exact-1', '[1,0]')"
    )
    async with world.client(Scope.READ) as client:
        assert (await client.get(path_of(1))).json() == {"images": [], "is_complete": True}


async def test_groups_of_the_same_bytes_are_paged(world: World, archive: Archive) -> None:
    archive.blobs.contents = {f"file:p/{n}.jpg": picture(n % 3) for n in range(8)}
    await archive.tag(*(arrival(number) for number in range(8)), arrival(50))
    async with world.client(Scope.READ) as client:
        groups, _ = await walk(client, "identical")
        unnamed = await client.get("/duplicates")
        wrong = await client.get("/duplicates?cursor=zz")

    assert sorted(sorted(group["image_paths"]) for group in groups) == [
        ["p/0.jpg", "p/3.jpg", "p/6.jpg"],
        ["p/1.jpg", "p/4.jpg", "p/7.jpg"],
        ["p/2.jpg", "p/5.jpg"],
    ]
    assert unnamed.json()["groups"] == groups
    assert (unnamed.json()["next"], unnamed.json()["is_complete"]) == (None, True)
    assert wrong.status_code == 422


async def test_pairs_of_the_same_photo_are_paged_and_each_stands_once(
    world: World, archive: Archive
) -> None:
    archive.blobs.contents = {"file:p/2.jpg": picture(1)}
    for number in range(1, 12):
        await archive.tag(arrival(number))
    await archive.tag(arrival(12, owner="bob"))
    for number, towards, cosine, value in (
        (3, 1, 0.91, LOOKS ^ 1),  # of the same photo as 1, and as 2, whose bytes are those of 1
        (4, 1, 0.99, LOOKS ^ 3),  # as 1 and as 3: once, beside the oldest
        (5, 1, 0.99, LOOKS ^ 0xFFFF),  # looks unlike
        (6, 1, 0.80, LOOKS),  # means something else
        (7, 1, 0.99, None),
        (8, 1, 0.99, FLAT),
        (9, 1, 0.99, LOOKS),  # taken at another time
        (11, 10, 0.98, ~LOOKS & (2**63 - 1)),
        (12, 1, 0.99, LOOKS),  # not alice's
    ):
        await turn(archive, number, towards=towards, cosine=cosine)
        await looks(archive, number, value)
    for number in (1, 2):
        await looks(archive, number, LOOKS)
    await looks(archive, 10, ~LOOKS & (2**63 - 1))
    for number in (1, 2, 3, 4):
        await taken(archive, number, 0)
    await taken(archive, 9, 5)

    async with world.client(Scope.READ, owner="alice") as client:
        groups, pages = await walk(client, "same_photo")
        wrong = await client.get("/duplicates?level=alike")
        foreign_cursor = await client.get(f"/duplicates?level=same_photo&cursor={'f' * 64}")

    assert [group["image_paths"] for group in groups] == [
        ["p/1.jpg", "p/3.jpg"],
        ["p/1.jpg", "p/4.jpg"],
        ["p/10.jpg", "p/11.jpg"],
    ]
    assert groups[0]["image_ids"][1] == str(image_id_of("file:p/3.jpg"))
    assert [group["hash_distance"] for group in groups] == [1, 2, 0]
    assert groups[0]["cosine"] == pytest.approx(0.91, abs=0.002)
    assert {(group["level"], group["sha256"]) for group in groups} == {("same_photo", None)}
    assert pages > 3
    assert wrong.status_code == 422
    assert (foreign_cursor.json()["groups"], foreign_cursor.json()["next"]) == ([], None)


async def test_a_pair_behind_many_that_only_look_alike_leaves_the_report_incomplete(
    world: World, archive: Archive
) -> None:
    count = MAX_EARLIER + 2
    for number in range(1, count + 1):
        await archive.tag(arrival(number))
        await looks(archive, number, LOOKS)
    async with world.client(Scope.READ) as client:
        await turn(archive, count, towards=count - 1, cosine=0.99)
        dropped = (await client.get("/duplicates?level=same_photo")).json()
        await turn(archive, count, towards=1, cosine=0.99)
        found = (await client.get("/duplicates?level=same_photo")).json()

    assert (dropped["groups"], dropped["is_complete"]) == ([], False)
    assert [group["image_paths"] for group in found["groups"]] == [["p/1.jpg", f"p/{count}.jpg"]]
    assert found["is_complete"] is True, "the oldest of its pairs is found: it has no other"


async def test_the_report_is_incomplete_from_the_limit_on_and_knows_the_oldest(
    archive: Archive,
) -> None:
    archive.blobs.contents = {"file:p/2.jpg": picture(1)}
    for number in range(1, 5):
        await archive.tag(arrival(number))
        await looks(archive, number, LOOKS + number)

    known = {
        limit: await same_photos.hashes(archive.pool, owner=None, limit=limit)
        for limit in (3, 4, 5)
    }

    assert {limit: (len(one.ids) // 8, one.is_complete) for limit, one in known.items()} == {
        3: (2, False),
        4: (3, False),
        5: (3, True),
    }
    assert np.frombuffer(known[3].values, ">i8").tolist() == [LOOKS + 1, LOOKS + 3]


async def test_hashes_are_read_by_id_and_no_further_than_the_limit(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO images (image_id, uri, path, status)"
        " SELECT gen_random_uuid(), 'u', 'p' || n, 'tagged' FROM generate_series(1, 10000) n"
    )
    await pool.execute(
        "INSERT INTO tagged_images (image_id, image_path, tags, sha256, width, height, model,"
        " preprocessing, top_k, perceptual_hash)"
        " SELECT image_id, path, '[]', sha256(path::bytea), 1, 1, 'm', 'p', 1, 1 FROM images"
    )
    await pool.execute("ANALYZE images, tagged_images")

    rows = await pool.fetch(f"EXPLAIN {same_photos._HASHES}", None, 100)

    plan = "\n".join(row[0] for row in rows)
    assert "using tagged_images_pkey" in plan
    assert "Seq Scan" not in plan


async def test_photos_tagged_by_unlike_models_are_no_pair(world: World, archive: Archive) -> None:
    await archive.tag(arrival(1), arrival(2))
    await turn(archive, 2, towards=1, cosine=0.99)
    for number in (1, 2):
        await looks(archive, number, LOOKS)
    async with world.client(Scope.READ) as client:
        assert len((await walk(client, "same_photo"))[0]) == 1
        await archive.pool.execute(
            "INSERT INTO embeddings (sha256, model, preprocessing, embedding) "
            "SELECT sha256, 'other@1', preprocessing, '[1,0]' FROM tagged_images "
            "WHERE image_path = $1",
            "p/2.jpg",
        )
        await archive.pool.execute(
            "UPDATE tagged_images SET model = 'other@1' WHERE image_path = $1", "p/2.jpg"
        )
        assert (await walk(client, "same_photo"))[0] == []


async def walk(client: httpx.AsyncClient, level: str) -> tuple[list[dict[str, Any]], int]:
    """Return all groups of a level, one a page, and the number of pages."""
    groups, cursor, pages = [], "", 0
    while True:
        page = await page_of(client, cursor, level=level)
        groups += page["groups"]
        pages += 1
        if page["next"] is None:
            return groups, pages
        cursor = page["next"]


async def page_of(client: httpx.AsyncClient, cursor: str, level: str) -> dict[str, Any]:
    wanted = {"limit": "1", "level": level}
    answer = await client.get("/duplicates", params=wanted | ({"cursor": cursor} if cursor else {}))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(
    ("identical", "cosine", "bits", "seconds", "level"),
    [
        (True, 1.0, 0, 500, "identical"),
        (True, 1.0, None, None, "identical"),
        (False, 0.90, 0, None, "same_photo"),
        (False, 0.90, SAME_PHOTO_BITS, None, "same_photo"),
        (False, 1.0, SAME_PHOTO_BITS + 1, None, None),
        (False, 0.97, None, None, "same_photo"),
        (False, 0.899, 0, None, None),
        (False, 0.969, None, None, None),
        (False, 0.90, 0, 0, "same_photo"),
        (False, 0.97, None, 0, "same_photo"),
        (False, 0.99, SAME_PHOTO_BITS + 1, 0, "burst"),
        (False, 0.96, None, 0, "burst"),
        (False, 0.90, 0, 60, "burst"),
        (False, 0.90, 30, 60, "burst"),
        (False, 0.99, None, 59, "burst"),
        (False, 0.89, 0, 1, None),
        (False, 0.99, 0, 61, None),
    ],
)
def test_levels_follow_from_hash_cosine_and_time(
    *, identical: bool, cosine: float, bits: int | None, seconds: int | None, level: str | None
) -> None:
    other = None if seconds is None else NOON.replace(minute=seconds // 60, second=seconds % 60)
    value = None if bits is None else LOOKS ^ ((1 << bits) - 1)
    told = level_of(
        Look(LOOKS, NOON, None),
        Look(value, other, None),
        is_identical=identical,
        cosine=cosine,
    )
    assert told == level


@pytest.mark.parametrize(
    ("one", "other", "bits"),
    [
        (LOOKS, LOOKS, 0),
        (LOOKS, LOOKS ^ (1 << 62 | 1), 2),
        (LOOKS, None, None),
        (None, None, None),
        (LOOKS, FLAT, None),
        (FLAT, FLAT, None),
    ],
)
def test_hashes_that_say_nothing_are_not_compared(
    one: int | None, other: int | None, bits: int | None
) -> None:
    assert hash_distance(one, other) == hash_distance(other, one) == bits
