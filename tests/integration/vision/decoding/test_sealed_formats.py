"""Each format decodes in a sealed process as in an open one: nothing is loaded too late."""

import io
from collections.abc import Iterator

import pillow_heif
import pytest
from PIL import Image, ImageCms

from core.settings import MIB
from core.tags import ThumbSize
from core.vision.decoding.decoder import DecodePool
from core.vision.decoding.pool.answers import Decoded, OutgoingCopy
from core.vision.decoding.worker_process import PoolLimits
from tests.fakes import pictures
from tests.integration.vision.decoding import escapes, hostile

LIMITS = PoolLimits(workers=1, timeout_s=60.0, memory_bytes=1024 * MIB)


def of_each_kind() -> Iterator[tuple[str, bytes]]:
    """Yield a picture of each format, and of each codec and mode inside of it."""
    image = pictures.photo(3)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0110] = 6, "Leica", "M3"
    for form in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"):
        yield form, pictures.encoded(image, form, exif=exif.tobytes())
    for form in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        yield f"{form} with a profile", pictures.encoded(image, form, icc_profile=profile)
    for form in ("GIF", "BMP"):
        yield form, pictures.encoded(image, form)
    for form in ("GIF", "WEBP", "PNG"):
        frames = [pictures.photo(seed) for seed in (4, 5)]
        moving = pictures.encoded(image, form, save_all=True, append_images=frames)
        yield f"moving {form}", moving
    yield "progressive JPEG", pictures.encoded(image, "JPEG", progressive=True)
    yield "CMYK JPEG", pictures.encoded(image.convert("CMYK"), "JPEG", icc_profile=profile)
    yield "lossless WebP", pictures.encoded(image.convert("RGBA"), "WEBP", lossless=True)
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        yield f"PNG of {mode}", pictures.encoded(image.convert("L").convert(mode), "PNG")
    for mode in ("CMYK", "LAB", "YCbCr", "I;16", "F"):
        kept = image if mode in {"CMYK", "YCbCr"} else image.convert("L")
        yield (
            f"TIFF of {mode}",
            pictures.encoded(lab(image) if mode == "LAB" else kept.convert(mode), "TIFF"),
        )
    for codec in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "lzma", "zstd"):
        yield f"TIFF by {codec}", pictures.encoded(image, "TIFF", compression=codec)
    yield "TIFF by group4", pictures.encoded(image.convert("1"), "TIFF", compression="group4")
    heic = io.BytesIO()
    pillow_heif.from_pillow(image).save(heic, quality=90, exif=exif.tobytes())
    yield "HEIC", heic.getvalue()


def lab(image: Image.Image) -> Image.Image:
    """Return a picture of L, a and b, as scanners' software writes."""
    return Image.merge("LAB", image.split())


async def everything(pool: DecodePool, data: bytes) -> tuple[object, ...]:
    """Return all that a worker can make of a picture, for comparison."""
    picture = await pool.decode(data)
    thumbs = [await pool.thumb_soon(data, size) for size in ThumbSize]
    made = [await pool.outgoing_copy(data), *thumbs]
    seen = (
        (
            picture.pixels.tobytes(),
            picture.camera,
            picture.exif_datetime,
            picture.perceptual_hash,
            picture.thumb,
            picture.colour,
        )
        if isinstance(picture, Decoded)
        else str(picture)
    )
    return seen, *(each if isinstance(each, OutgoingCopy) else str(each) for each in made)


async def test_each_format_gives_the_same_with_the_locks_as_without() -> None:
    async with (
        DecodePool(LIMITS, operations=escapes.sealed) as sealed,
        DecodePool(LIMITS, operations=escapes.unsealed) as unsealed,
    ):
        for name, data in of_each_kind():
            expected = await everything(unsealed, data)
            assert await everything(sealed, data) == expected, name
            if name != "TIFF of LAB":
                assert isinstance(expected[1], OutgoingCopy), (name, expected)
        assert sealed.replaced == 0


async def test_no_module_is_loaded_once_a_worker_is_ready() -> None:
    async with DecodePool(LIMITS, operations=hostile.operations) as pool:
        before = await pool.outgoing_copy(b"modules")
        for _, data in of_each_kind():
            await everything(pool, data)
        assert await pool.outgoing_copy(b"modules") == before


@pytest.mark.parametrize("form", ["HEIC", "AVIF"])
async def test_several_pictures_of_a_kind_that_uses_threads_decode_one_after_the_other(
    form: str,
) -> None:
    data = dict(of_each_kind())[form]
    async with DecodePool(LIMITS) as pool:
        for _ in range(10):
            assert isinstance(await pool.decode(data), Decoded)
        assert pool.replaced == 0
