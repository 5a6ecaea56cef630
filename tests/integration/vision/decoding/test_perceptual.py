"""Perceptual hashes of real photos, through the decoder: which changes alter their bits."""

import io

import pytest
from PIL import Image

from core.settings import MIB
from core.storage.finding.duplicates import SAME_PHOTO_BITS
from core.vision.decoding import pixels
from core.vision.decoding.decoder import DecodePool
from core.vision.decoding.perceptual import FLAT, perceptual_hash
from core.vision.decoding.pool.answers import Decoded
from core.vision.decoding.worker_process import PoolLimits
from core.vision.decoding.worker_protocol import PixelFormat
from standalone.demo.photos import copy_free_photos
from tests.fakes import pictures
from tests.integration.vision.decoding.test_pixels import LIMITS, ORIENTATION, decoders, turned_back

__all__ = ["decoders"]
FORM = PixelFormat(224, 224)
Photos = dict[str, bytes]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Return the photos of installed packages, by name."""
    paths = copy_free_photos(tmp_path_factory.mktemp("photos"))
    return {path.stem: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def hashes(photos: Photos) -> dict[str, int]:
    return {name: hashed(data) for name, data in photos.items()}


def hashed(data: bytes, form: PixelFormat = FORM) -> int:
    return perceptual_hash(pixels.decode(data, form, LIMITS).grey)


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
@pytest.mark.parametrize("quality", [60, 80])
def test_a_photo_saved_again_is_the_same_photo(
    photos: Photos, hashes: dict[str, int], form: str, quality: int
) -> None:
    for name, data in photos.items():
        again = pictures.encoded(opened(data), form, quality=quality)
        assert (hashes[name] ^ hashed(again)).bit_count() <= SAME_PHOTO_BITS, name


@pytest.mark.parametrize("factor", [0.25, 0.77, 1.5])
def test_a_photo_in_another_size_is_the_same_photo(
    photos: Photos, hashes: dict[str, int], factor: float
) -> None:
    for name, data in photos.items():
        image = opened(data)
        size = (round(image.width * factor), round(image.height * factor))
        other = pictures.encoded(image.resize(size), "JPEG", quality=80)
        assert (hashes[name] ^ hashed(other)).bit_count() <= SAME_PHOTO_BITS, name


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_photo_that_lies_on_its_side_is_hashed_as_it_is_seen(
    photos: Photos, hashes: dict[str, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    for name in ("astronaut", "chelsea-the-cat", "flower"):
        lying = turned_back(opened(photos[name]), orientation)
        told = pictures.encoded(lying, "JPEG", quality=92, exif=exif.tobytes())
        untold = pictures.encoded(lying, "JPEG", quality=92)
        assert (hashes[name] ^ hashed(told)).bit_count() <= SAME_PHOTO_BITS
        assert (hashes[name] ^ hashed(untold)).bit_count() > SAME_PHOTO_BITS


def test_unlike_photos_are_far_apart(hashes: dict[str, int]) -> None:
    assert len(hashes) >= 10
    for name, one in hashes.items():
        for other_name, other in hashes.items():
            if name < other_name:
                assert (one ^ other).bit_count() > 2 * SAME_PHOTO_BITS, (name, other_name)


@pytest.mark.parametrize(
    "form",
    [
        PixelFormat(224, 224, fast=False),
        PixelFormat(64, 64),
        PixelFormat(256, 256, resize_mode="squash"),
        PixelFormat(224, 224, resize_mode="longest"),
        PixelFormat(384, 384, interpolation="bilinear"),
    ],
    ids=["exact", "small", "squash", "longest", "large"],
)
def test_the_hash_does_not_depend_on_what_the_model_wants_to_see(
    photos: Photos, hashes: dict[str, int], form: PixelFormat
) -> None:
    for name, data in photos.items():
        assert (hashes[name] ^ hashed(data, form)).bit_count() <= 2, name


def test_all_of_the_picture_counts_also_what_the_model_does_not_see() -> None:
    wide = pictures.photo(2, (960, 320))
    painted = wide.copy()
    painted.paste("white", (0, 0, 200, 320))  # the model's square begins at 320
    one, other = (pictures.encoded(image, "PNG") for image in (wide, painted))

    shown = [pixels.decode(data, FORM, LIMITS) for data in (one, other)]

    assert shown[0].pixels == shown[1].pixels
    assert (hashed(one) ^ hashed(other)).bit_count() > SAME_PHOTO_BITS


def test_pictures_of_one_colour_are_flat() -> None:
    for colour in ("black", "white", (90, 120, 40)):
        blank = pictures.encoded(Image.new("RGB", (320, 240), colour), "JPEG")
        assert hashed(blank) == FLAT


async def test_the_pool_gives_the_hash_with_the_pixels(
    photos: Photos, hashes: dict[str, int]
) -> None:
    limits = PoolLimits(workers=1, timeout_s=10.0, memory_bytes=1024 * MIB)
    async with DecodePool(limits, FORM) as pool:
        for name in ("coffee", "rocket"):
            decoded = await pool.decode(photos[name])
            assert isinstance(decoded, Decoded)
            assert decoded.perceptual_hash == hashes[name]
