"""Hundreds of pages of text that look alike: what is found among them, and what waits meanwhile."""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest

from core.storage.finding import bursts, duplicates, same_photos
from core.storage.finding.duplicates import level_of
from core.storage.pool import Pool
from core.vision.decoding.writing.lines import MAX_LINES
from ingress.auth.api_keys import Scope
from schemas.image import image_id_of
from tests.integration.ingress.world import World

_IMAGES = """
INSERT INTO images (image_id, uri, path, status, taken_at)
SELECT image_id, 'file:' || path, path, 'tagged', '2026-05-01Z'
FROM unnest($1::uuid[], $2::text[]) AS p (image_id, path)
"""
_TAGGED = """
INSERT INTO tagged_images (image_id, image_path, tags, sha256, width, height, model, preprocessing,
                           top_k, perceptual_hash, text_lines)
SELECT image_id, path, '[]', sha256(path::bytea), 1, 1, 'm@1', 'exact-1', 1, 5, text
FROM unnest($1::uuid[], $2::text[], $3::bytea[]) WITH ORDINALITY AS p (image_id, path, text, n)
ORDER BY n
"""
_EMBEDDINGS = """
INSERT INTO embeddings (sha256, model, preprocessing, embedding)
SELECT sha256, model, preprocessing, '[1,0]' FROM tagged_images
"""


def text(number: int) -> bytes:
    """Return the lines of a full page, which are like those of no other number."""
    return random.Random(number).randbytes(8 * MAX_LINES)


def again(page: bytes) -> bytes:
    """Return the lines of a page that was scanned once more: here and there a bit is another."""
    lines = np.frombuffer(page, np.uint8).copy()
    lines[::8] ^= 1
    return lines.tobytes()


async def tagged(pool: Pool, texts: list[bytes]) -> None:
    """Tag letters p/1.jpg, p/2.jpg, … that have one hash and one embedding."""
    paths = [f"p/{number}.jpg" for number in range(1, len(texts) + 1)]
    ids = [image_id_of(f"file:{path}") for path in paths]
    await pool.execute(_IMAGES, ids, paths)
    await pool.execute(_TAGGED, ids, paths, texts)
    await pool.execute(_EMBEDDINGS)


async def similar(client: httpx.AsyncClient, number: int, limit: int) -> tuple[list[str], bool]:
    image_id = image_id_of(f"file:p/{number}.jpg")
    answer = await client.get(f"/images/{image_id}/similar", params={"limit": limit})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return [one["image_path"] for one in found["images"]], found["is_complete"]


async def test_a_letter_behind_many_of_its_letterhead_is_found_scanned_twice(world: World) -> None:
    letters = [text(number) for number in range(1, 26)]
    await tagged(world.pool, [*letters, again(letters[20 - 1])])

    async with world.client(Scope.READ) as client:
        answer = await client.get("/duplicates", params={"level": "same_photo", "limit": 100})

    found = answer.json()
    assert [group["image_paths"] for group in found["groups"]] == [["p/20.jpg", "p/26.jpg"]]
    assert (found["next"], found["is_complete"]) == (None, True)


async def test_where_more_pages_are_near_than_are_looked_at_is_told(world: World) -> None:
    letters = [text(number) for number in range(1, 115)]
    await tagged(world.pool, [*letters, again(letters[-1]), again(letters[0])])

    async with world.client(Scope.READ) as client:
        missed = await similar(client, 114, limit=1)
        enough = await similar(client, 116, limit=1)
        all_of_them = await similar(client, 114, limit=2)

    assert missed == ([], False)
    assert enough == (["p/1.jpg"], True)
    assert all_of_them == (["p/115.jpg"], True)


class Heart:
    """A task on the event loop that beats as long as the loop goes on.

    Attributes:
        beats: how often it has beaten.
        compared: comparisons that it went on beside.
        is_held_up: it did not beat while images were compared.
    """

    def __init__(self) -> None:
        self.beats = 0
        self.compared = 0
        self.is_held_up = False
        self._beaten = threading.Condition()

    @contextmanager
    def beating(self) -> Iterator[None]:
        task = asyncio.get_running_loop().create_task(self._beat())
        try:
            yield
        finally:
            task.cancel()

    async def _beat(self) -> None:
        while True:
            with self._beaten:
                self.beats += 1
                self._beaten.notify_all()
            await asyncio.sleep(0.001)

    def level_of(self, *looks: Any, **known: Any) -> Any:
        """Compare two images as ever, once the heart has beaten: on the loop, it never does."""
        with self._beaten:
            before = self.beats
            if not self.is_held_up:
                self.is_held_up = not self._beaten.wait_for(lambda: self.beats > before, timeout=20)
            self.compared += not self.is_held_up
        return level_of(*looks, **known)


@pytest.mark.parametrize(
    ("module", "path"),
    [
        (duplicates, f"/images/{image_id_of('file:p/1.jpg')}/similar"),
        (bursts, "/duplicates?level=burst"),
        (same_photos, "/duplicates?level=same_photo"),
    ],
    ids=["similar", "burst", "same photo"],
)
async def test_the_event_loop_goes_on_while_pages_are_compared(
    world: World, monkeypatch: pytest.MonkeyPatch, module: ModuleType, path: str
) -> None:
    count, heart = 10, Heart()
    await tagged(world.pool, [text(number) for number in range(count)])
    await world.pool.execute("UPDATE tagged_images SET exif_datetime = '2026-05-01 12:00'")
    monkeypatch.setattr(module, "level_of", heart.level_of)

    async with world.client(Scope.READ) as client:
        with heart.beating():
            answer = await client.get(path)

    assert answer.status_code == 200, answer.text
    assert not heart.is_held_up
    assert heart.compared >= count - 1
