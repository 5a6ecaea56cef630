"""Images that are alike, found by their bytes and by their embeddings."""

from datetime import datetime
from typing import Any

import httpx
import numpy as np
import pytest

from core.storage import image_tags
from core.storage.duplicates import level_of
from core.storage.rescoring import from_wire
from ingress.api_keys import Scope
from schemas.image import image_id_of
from tests.fakes.ingress import World
from tests.integration.tagging.archive import Archive, arrival, picture
from tests.integration.tagging.test_http import world

__all__ = ["world"]
NOON = datetime(2026, 5, 1, 12)  # noqa: DTZ001 - EXIF times have no zone


def path_of(number: int) -> str:
    return f"/images/{image_id_of(f'file:p/{number}.jpg')}/similar"


async def turn(archive: Archive, number: int, towards: int, cosine: float) -> None:
    """Give an image an embedding at this cosine to another one's."""
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
        image_tags.vector_text(turned.tobytes()),
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
    for number, cosine in ((3, 0.985), (4, 0.93), (5, 0.93), (6, 0.95), (8, 0.99)):
        await turn(archive, number, towards=1, cosine=cosine)
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
    assert body["is_complete"] is True
    assert (missing.status_code, foreign.status_code) == (404, 404)


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
    groups, cursor = [], ""
    async with world.client(Scope.READ) as client:
        while True:
            page = await page_of(client, cursor)
            groups += page["groups"]
            if page["next"] is None:
                break
            cursor = page["next"]
        wrong = await client.get("/duplicates?cursor=zz")

    assert sorted(sorted(group["image_paths"]) for group in groups) == [
        ["p/0.jpg", "p/3.jpg", "p/6.jpg"],
        ["p/1.jpg", "p/4.jpg", "p/7.jpg"],
        ["p/2.jpg", "p/5.jpg"],
    ]
    assert wrong.status_code == 422


async def page_of(client: httpx.AsyncClient, cursor: str) -> dict[str, Any]:
    answer = await client.get(
        "/duplicates", params={"limit": 1} | ({"cursor": cursor} if cursor else {})
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(
    ("identical", "cosine", "seconds", "level"),
    [
        (True, 1.0, 500, "identical"),
        (False, 0.97, None, "same_photo"),
        (False, 0.969, None, None),
        (False, 0.97, 0, "same_photo"),
        (False, 0.90, 60, "burst"),
        (False, 0.99, 59, "burst"),
        (False, 0.89, 1, None),
        (False, 0.99, 61, None),
    ],
)
def test_levels_follow_from_cosine_and_time(
    *, identical: bool, cosine: float, seconds: int | None, level: str | None
) -> None:
    other = None if seconds is None else NOON.replace(minute=seconds // 60, second=seconds % 60)
    assert level_of(is_identical=identical, cosine=cosine, taken=NOON, other=other) == level
