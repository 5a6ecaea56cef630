"""Each photo gets the tags of its own pixels, also when the tagging process is killed."""

import hashlib
import json
import random

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from core.relevance.defaults import DEFAULT_LABELS
from core.settings import DecodeSettings, TaggingSettings
from core.tags import Tagged, TagRequest
from core.vision.opening import open_taggers
from tests.e2e.archive import RunningArchive
from tests.fakes.pictures import encoded
from tests.faults.harness.load import in_background, upload_all, wait_until_tagged
from tests.measured import Measured
from tests.servers import run_apart

PHOTOS = 2000
TORN_EVERY = 97
KILLS = 4
CATCH_UP_S = 600.0
PREFIX = "own-"
_STORED = """
SELECT i.image_id::text, t.sha256, t.tags::text, e.embedding::text
FROM images i JOIN tagged_images t USING (image_id)
     JOIN embeddings e ON e.sha256 = t.sha256 AND e.model = t.model
WHERE starts_with(i.path, $1)
"""
_REASONS = """
SELECT image_id::text, reason FROM images WHERE starts_with(path, $1) AND status = 'failed'
"""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_two_thousand_photos_through_kills_and_torn_files_have_each_their_own_tags(
    shaken: RunningArchive, measured: Measured
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    photos = [_photo(number) for number in range(PHOTOS)]
    for place in range(TORN_EVERY // 2, PHOTOS, TORN_EVERY):
        photos[place] = _torn(photos[place])
    assert len(set(photos)) == PHOTOS
    chance.shuffle(photos)
    whole = {hashlib.sha256(photo).digest(): photo for photo in photos if photo[-2:] == b"\xff\xd9"}

    def upload_in_pieces() -> list[str]:
        ids: list[str] = []
        while len(ids) < PHOTOS:  # batches consist of what is on the topic at the time
            piece = photos[len(ids) : len(ids) + chance.randint(1, 120)]
            ids += upload_all(shaken, piece, f"{PREFIX}{len(ids)}-")
        return ids

    with in_background(upload_in_pieces) as uploaded:
        for number in range(KILLS):
            wait_until_tagged(shaken, PREFIX, number * len(whole) // KILLS + 1, CATCH_UP_S)
            pid = shaken.kill("tagging-0")
            shaken.wait_until_restarted("tagging-0", pid)
        ids = uploaded()
    wait_until_tagged(shaken, PREFIX, len(whole), CATCH_UP_S)

    shaken.wait_for(
        lambda: len(shaken.sql(_REASONS, PREFIX)) == PHOTOS - len(whole), 60, "torn ones are left"
    )
    assert {row["reason"] for row in shaken.sql(_REASONS, PREFIX)} == {"truncated"}
    digest_of = {
        one: hashlib.sha256(photo).digest() for one, photo in zip(ids, photos, strict=True)
    }
    rows = shaken.sql(_STORED, PREFIX)
    assert {row["image_id"]: row["sha256"] for row in rows} == {
        one: digest for one, digest in digest_of.items() if digest in whole
    }
    expected = _tag_alone(list(whole.values()))
    own = _matrix([np.array(json.loads(row["embedding"])) for row in rows])
    alone = _matrix([expected[row["sha256"]][0] for row in rows])
    cosines = own @ alone.T
    nearest = cosines.argmax(axis=1)
    assert (nearest == np.arange(len(rows))).all(), "the vector of another photo"
    assert cosines.diagonal().min() > 0.999
    best = [json.loads(row["tags"])[0]["tag"] for row in rows]
    same = np.mean([tag == expected[row["sha256"]][1] for tag, row in zip(best, rows, strict=True)])
    measured(
        f"seed {seed}: {len(rows)} photos, {PHOTOS - len(rows)} torn, {KILLS} kills; least cosine"
        f" to the photo tagged alone {cosines.diagonal().min():.5f}, best tag the same {same:.2%}"
    )
    assert same > 0.99  # another engine may round differently


def _photo(seed: int) -> bytes:
    """Return a small JPEG of random shapes, each different to the model.

    Soft patches of colour are all the same to the bundled one: cosines of 0.999 and more.
    """
    chance = random.Random(seed)
    image = Image.new("RGB", (160, 120), _colour(chance))
    draw = ImageDraw.Draw(image)
    for _ in range(chance.randint(2, 8)):
        left, top = chance.randrange(150), chance.randrange(100)
        box = left, top, left + chance.randint(5, 90), top + chance.randint(5, 90)
        match chance.randrange(3):
            case 0:
                draw.ellipse(box, fill=_colour(chance))
            case 1:
                draw.rectangle(box, fill=_colour(chance))
            case _:
                draw.line(box, fill=_colour(chance), width=chance.randint(1, 12))
    return encoded(image, "JPEG")


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


def _torn(photo: bytes) -> bytes:
    """Return a photo with a sixteenth of its data: too few pixels to be tagged as a cut one.

    Not a quarter: where the upper half is of one colour, that much of the data holds it all.
    """
    pixels = photo.index(b"\xff\xda")  # behind the tables, which are the same in all photos
    return photo[: pixels + (len(photo) - pixels) // 16]


def _matrix(rows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    matrix = np.stack(rows)
    unit: NDArray[np.float64] = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return unit


def _tag_alone(photos: list[bytes]) -> dict[bytes, tuple[NDArray[np.float64], str]]:
    """Return SHA-256 -> vector and best tag by the same model here, in batches of one size."""

    async def run() -> dict[bytes, tuple[NDArray[np.float64], str]]:
        settings = TaggingSettings(model="demo", device="cpu", precision="fp32", engine="torch")
        async with open_taggers(settings, DecodeSettings(), max_image_bytes=10_000_000) as both:
            tagger = both.ordinary
            await tagger.use_labels(DEFAULT_LABELS, 1)
            found = {}
            for result in await tagger.tag_all(photos, [TagRequest()] * len(photos)):
                assert isinstance(result, Tagged)
                vector = np.frombuffer(result.tags.embedding, "<f2").astype(np.float64)
                found[result.tags.sha256] = vector, result.tags.tags[0].tag
            return found

    return run_apart(run())
